//! COPY and ADD: select files, place them, write the layer.

mod archives;
mod disk;
mod files;
mod filter;
mod glob;
mod owner;
mod place;
mod same;
mod select;
mod source;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub(in crate::build) use same::same_beneath;

use place::{Content, Ownership, Placer};
use select::{Selection, select};
use source::SourceTree;

use super::{AccountError, FIXED_TIME, Tools, users};
use crate::build::graph::{CopyOp, CopySource, VertexId};
use crate::context;
use crate::dockerfile::Span;
use crate::fs::PathError;
use crate::layer::{EntryKind, Packed, UnpackError};
use crate::oci::Digest;
use crate::snapshot::{self, Active, View};
use crate::store::{self, SnapshotId, Store};

/// Why files cannot be copied.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum CopyError {
    /// A source is missing, or ignored.
    #[error("{path:?}: not found")]
    NotFound {
        /// As BuildKit shows it, from the root of the source.
        path: String,
        /// Its place in the Dockerfile.
        span: Option<Span>,
    },
    /// A wildcard is malformed.
    #[error("syntax error in pattern {pattern:?}")]
    BadPattern {
        /// The pattern.
        pattern: String,
        /// Its place in the Dockerfile.
        span: Option<Span>,
    },
    /// A directory would land on something else.
    #[error("cannot copy to non-directory: {0}")]
    NotADirectory(String),
    /// A file would land on a directory.
    #[error("cannot replace to directory {0} with file")]
    IsADirectory(String),
    /// Several sources and a destination that is no directory.
    #[error(
        "When using {0} with more than one source file, the destination must be a directory and end with a /"
    )]
    SeveralSources(&'static str),
    /// A user or group is unknown.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// An archive is refused.
    #[error("cannot extract {path:?}")]
    Archive {
        /// The archive.
        path: String,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

impl From<store::Error> for CopyError {
    fn from(err: store::Error) -> Self {
        Self::Snapshot(err.into())
    }
}

/// A copy whose sources are found.
pub(in crate::build) struct Prepared<'a> {
    op: &'a CopyOp,
    /// The trees of [`CopyOp::trees`]; a step's is missing where only contexts are looked at.
    trees: Vec<Option<Source<'a>>>,
    selection: Selection,
    /// The tree whose users the names of `--chown` are, where that is not the parent.
    users: Option<View>,
}

enum Source<'a> {
    Context(&'a context::Context),
    Step(View),
}

impl Source<'_> {
    fn tree(&self) -> &dyn SourceTree {
        match self {
            Self::Context(context) => *context,
            Self::Step(step) => step,
        }
    }
}

/// What a copy made.
pub(in crate::build) struct Copied {
    /// The new tree.
    pub(in crate::build) result: SnapshotId,
    /// The digests of what was copied.
    pub(in crate::build) files: Files,
}

/// The digests of what was copied.
#[derive(Debug, Clone)]
pub(in crate::build) struct Files {
    /// Of the files from contexts, for the cache key, if there are such sources.
    pub(in crate::build) of_contexts: Option<Digest>,
    /// What is kept beside the key, to tell whether the steps that it works with
    /// still give the same.
    pub(in crate::build) notes: Notes,
}

/// Notes for a cache record, by name.
pub(in crate::build) type Notes = Vec<(&'static str, String)>;

impl<'a> Prepared<'a> {
    /// Finds the sources of `op`. `input` knows the trees of the steps it copies from.
    pub(in crate::build) fn new(
        op: &'a CopyOp,
        tools: &Tools<'a>,
        input: impl Fn(Option<VertexId>) -> Option<SnapshotId>,
    ) -> Result<Self, CopyError> {
        let open = |from| Ok::<_, CopyError>(View::open(tools.store, input(from))?);
        let mut prepared = Self::find(op, tools, |from| open(from).map(Some))?;
        prepared.users = op.users.map(|users| open(Some(users))).transpose()?;
        Ok(prepared)
    }

    /// Finds only the sources that come from contexts: no step need be there.
    pub(in crate::build) fn of_contexts(
        op: &'a CopyOp,
        tools: &Tools<'a>,
    ) -> Result<Self, CopyError> {
        Self::find(op, tools, |_| Ok(None))
    }

    fn find(
        op: &'a CopyOp,
        tools: &Tools<'a>,
        step: impl Fn(Option<VertexId>) -> Result<Option<View>, CopyError>,
    ) -> Result<Self, CopyError> {
        let open = |tree: CopySource| match tree {
            CopySource::Context(id) => Ok(Some(Source::Context(tools.context(id)))),
            CopySource::Vertex(from) => Ok::<_, CopyError>(step(from)?.map(Source::Step)),
        };
        let trees: Vec<_> = op.trees().into_iter().map(open).collect::<Result<_, _>>()?;
        let found: Vec<_> = trees
            .iter()
            .map(|tree| tree.as_ref().map(Source::tree))
            .collect();
        let selection = select(op, &found)?;
        Ok(Self {
            op,
            trees,
            selection,
            users: None,
        })
    }

    /// The digest of all that was found; reads what is not known yet.
    pub(in crate::build) fn digest(&mut self) -> Result<Digest, CopyError> {
        let trees = present(&self.trees);
        source::digest_all(&trees, self.selection.entries_mut())?;
        Ok(self.selection.digest(self.op, |_| true))
    }

    /// The digests of all that was copied.
    fn files(&mut self) -> Result<Files, CopyError> {
        let notes = self.notes()?;
        let contexts = |tree| matches!(tree, CopySource::Context(_));
        let of_contexts = self.op.reads_context().then(|| {
            // Every digest is known: the notes have seen to it.
            self.selection.digest(self.op, contexts)
        });
        Ok(Files { of_contexts, notes })
    }

    /// What tells whether the steps that it works with still give the same.
    pub(in crate::build) fn notes(&mut self) -> Result<Notes, CopyError> {
        let all = self.digest()?;
        let mut notes = Notes::new();
        if !self.op.from().is_empty() {
            notes.push(("@files", all.to_string()));
        }
        if let Some(users) = &self.users
            && let Some((uid, gid)) = self.owner(users)?
        {
            notes.push(("@owner", format!("{uid}:{gid}")));
        }
        Ok(notes)
    }

    /// Copies onto `parent`. `earlier` is the result of an earlier build of this
    /// instruction, whose files may be linked.
    pub(in crate::build) fn run(
        mut self,
        tools: &Tools<'_>,
        parent: Option<SnapshotId>,
        earlier: Option<SnapshotId>,
    ) -> Result<Copied, CopyError> {
        let store = tools.store;
        let below = View::open(store, parent)?;
        let ownership = Ownership {
            owner: self.owner(&below)?,
            mode: self.op.chmod.as_ref(),
        };
        let active = Active::begin(store, parent)?;
        let mut placer = Placer::new(&below, ownership, FIXED_TIME);
        let (destination, is_dir) = placer.destination(&self.op.destination)?;
        let several = self.op.patterns.len() + self.op.inline.len() > 1;
        if several && !is_dir {
            return Err(CopyError::SeveralSources(self.op.instruction));
        }
        let archives = self.unpack_archives(&active)?;
        let mut trees = present(&self.trees);
        for (number, item) in self.selection.items.iter().enumerate() {
            match archives.get(&number) {
                Some(archive) => {
                    archive.place(&mut placer, trees.len(), &destination)?;
                    trees.push(archive);
                }
                None => placer.place(item.clone(), &destination, is_dir)?,
            }
        }
        for file in &self.op.inline {
            placer.place_inline(&file.name, &file.content, &destination, is_dir)?;
        }
        let mut plan = std::mem::take(&mut placer.plan);
        place::set_times(&mut plan, &|mtime| tools.clamp(mtime));
        let list = earlier.and_then(|id| files::FileList::load(&list_path(store, id)));
        let dir = earlier
            .map(|id| snapshot::layer_dir(store, id))
            .unwrap_or_default();
        let reuse = list
            .as_ref()
            .map(|files| write::Earlier { dir: &dir, files });
        let written = write::write(&mut plan, &trees, &active.fs(), reuse.as_ref())?;
        for archive in archives.values() {
            archive.remove()?;
        }
        let files = self.learn(&plan)?;
        files::FileList::of(&plan).save(&active.dir().join("files"))?;
        let diff = (written.packed.diff_id, written.packed.size);
        let row = active.commit(written.bytes, Some(diff), Some(tree_digest(&plan)))?;
        Ok(Copied {
            result: row.id,
            files,
        })
    }

    /// Takes over the digests that writing has learnt, and returns the digest of all.
    fn learn(&mut self, plan: &place::Plan) -> Result<Files, CopyError> {
        let learnt: HashMap<(usize, &Path), Digest> = plan
            .values()
            .filter_map(|placed| match (&placed.content, &placed.entry.kind) {
                (
                    Content::Tree { tree, path },
                    EntryKind::File {
                        content: Some(digest),
                        ..
                    },
                ) => Some(((*tree, path.as_path()), *digest)),
                _ => None,
            })
            .collect();
        for (tree, entry) in self.selection.entries_mut() {
            if let EntryKind::File {
                content: content @ None,
                ..
            } = &mut entry.kind
            {
                *content = learnt.get(&(tree, entry.path.as_path())).copied();
            }
        }
        self.files()
    }

    /// `--chown` as numbers, by the users of the tree that is copied onto, or of
    /// the one that was named for it.
    fn owner(&self, below: &View) -> Result<Option<(u32, u32)>, CopyError> {
        let Some(chown) = &self.op.chown else {
            return Ok(None);
        };
        let users = users(self.users.as_ref().unwrap_or(below))?;
        Ok(Some(owner::resolve(chown, &users)?))
    }

    /// Whether archives that a source names are extracted.
    fn unpacks(&self, pattern: usize) -> bool {
        match self.op.patterns.get(pattern).map(|pattern| pattern.source) {
            Some(CopySource::Context(_)) => self.op.unpack,
            Some(CopySource::Vertex(_)) => self.op.unpack_remote,
            None => false,
        }
    }
}

/// The trees by number. Nothing was selected from one that is missing, which an
/// empty tree stands for.
fn present<'t>(trees: &'t [Option<Source<'_>>]) -> Vec<&'t dyn SourceTree> {
    let tree = |tree: &'t Option<Source<'_>>| -> &'t dyn SourceTree {
        tree.as_ref().map_or(&source::Nothing, Source::tree)
    };
    trees.iter().map(tree).collect()
}

/// The digest of the new layer, from what is known of its files.
fn tree_digest(plan: &place::Plan) -> Digest {
    let mut hasher = snapshot::TreeHasher::new();
    for placed in plan.values() {
        let content = match placed.entry.kind {
            EntryKind::File { content, .. } => content,
            _ => None,
        };
        hasher.entry(&placed.entry, content);
    }
    hasher.finish()
}

fn list_path(store: &Store, id: SnapshotId) -> PathBuf {
    store.paths().snapshots().join(id.to_string()).join("files")
}

/// Digests of the files of a layer, by their paths in it.
pub(in crate::build) type FileDigests = HashMap<PathBuf, Digest>;

/// The digests that were kept when COPY or ADD made a layer.
pub(in crate::build) fn file_digests(store: &Store, id: SnapshotId) -> Option<FileDigests> {
    files::FileList::load(&list_path(store, id)).map(files::FileList::digests)
}

/// A layer of directories alone, as WORKDIR makes it.
pub(in crate::build) struct LayerDirectories<'a>(Placer<'a>);

impl<'a> LayerDirectories<'a> {
    pub(in crate::build) fn new(below: &'a View, owner: Option<(u32, u32)>, now: i64) -> Self {
        Self(Placer::new(below, Ownership { owner, mode: None }, now))
    }

    /// Adds a directory and its missing parents.
    pub(in crate::build) fn add(&mut self, path: &Path) -> Result<(), CopyError> {
        self.0.directory(path)
    }

    /// Writes the layer.
    pub(in crate::build) fn write(
        mut self,
        target: &Path,
        clamp: &dyn Fn(i64) -> i64,
    ) -> Result<Packed, CopyError> {
        place::set_times(&mut self.0.plan, clamp);
        Ok(write::write(&mut self.0.plan, &[], target, None)?.packed)
    }
}
