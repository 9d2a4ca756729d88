//! COPY and ADD: select files, place them, write the layer.

mod files;
pub(in crate::build) mod glob;
mod place;
mod same;
mod select;
mod source;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(in crate::build) use same::same_beneath;

use place::{Content, Ownership, Placer};
use select::{Selection, select};
use source::SourceTree;

use super::{AccountError, FIXED_TIME, Tools, users};
use crate::build::graph::{CopyOp, CopySource, VertexId};
use crate::context::{self, is_archive};
use crate::dockerfile::Span;
use crate::fs::{At, PathError};
use crate::layer::{EntryKind, Packed, UnpackError};
use crate::oci::Digest;
use crate::snapshot::{self, Active, View};
use crate::store::{self, SnapshotId, Store};

/// How much of a file is looked at to tell whether it is an archive.
const ARCHIVE_HEAD: u64 = 1 << 20;

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
    #[error("cannot replace a directory with a file: {0}")]
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
#[derive(Debug, Clone, Copy)]
pub(in crate::build) struct Files {
    /// Of the files from contexts, for the cache key, if there are such sources.
    pub(in crate::build) of_contexts: Option<Digest>,
    /// Of all files, to tell whether a step that is copied from still yields the
    /// same, if there are such sources.
    pub(in crate::build) of_steps: Option<Digest>,
}

impl<'a> Prepared<'a> {
    /// Finds the sources of `op`. `input` knows the trees of the steps it copies from.
    pub(in crate::build) fn new(
        op: &'a CopyOp,
        tools: &Tools<'a>,
        input: impl Fn(Option<VertexId>) -> Option<SnapshotId>,
    ) -> Result<Self, CopyError> {
        Self::find(op, tools, |from| {
            Ok(Some(View::open(tools.store, input(from))?))
        })
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
        let all = self.digest()?;
        let contexts = |tree| matches!(tree, CopySource::Context(_));
        Ok(Files {
            of_contexts: self
                .op
                .reads_context()
                .then(|| self.selection.digest(self.op, contexts)),
            of_steps: Some(all).filter(|_| !self.op.from().is_empty()),
        })
    }

    /// Copies onto `parent`. `earlier` is the result of an earlier build of this
    /// instruction, whose files may be linked.
    pub(in crate::build) fn run(
        mut self,
        store: &Store,
        parent: Option<SnapshotId>,
        earlier: Option<SnapshotId>,
    ) -> Result<Copied, CopyError> {
        let below = View::open(store, parent)?;
        let ownership = Ownership {
            owner: self.owner(&below)?,
            mode: self.op.chmod,
        };
        let active = Active::begin(store, parent)?;
        let mut placer = Placer::new(&below, ownership, FIXED_TIME);
        let (destination, is_dir) = placer.destination(&self.op.destination)?;
        let several = self.op.patterns.len() + self.op.inline.len() > 1;
        if several && !is_dir {
            return Err(CopyError::SeveralSources(self.op.instruction));
        }
        let archives = if self.op.unpack {
            self.take_archives()?
        } else {
            Vec::new()
        };
        let unpacked = self.unpack(&archives, &active)?;
        let mut chosen = Selection::default();
        std::mem::swap(&mut chosen, &mut self.selection);
        let (kept, taken) = split(chosen, &archives);
        placer.place(duplicate(&kept), &destination, is_dir)?;
        let mut trees = present(&self.trees);
        for tree in &unpacked {
            place_archive(&mut placer, tree, trees.len(), &destination)?;
            trees.push(tree);
        }
        for file in &self.op.inline {
            placer.place_inline(&file.name, &file.content, &destination, is_dir)?;
        }
        let mut plan = std::mem::take(&mut placer.plan);
        let list = earlier.and_then(|id| files::FileList::load(&list_path(store, id)));
        let dir = earlier
            .map(|id| snapshot::layer_dir(store, id))
            .unwrap_or_default();
        let reuse = list
            .as_ref()
            .map(|files| write::Earlier { dir: &dir, files });
        let written = write::write(&mut plan, &trees, &active.fs(), reuse.as_ref())?;
        drop(unpacked);
        self.selection = kept;
        self.selection.items.extend(taken.items);
        let files = self.learn(&plan)?;
        remove_unpacked(&active)?;
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

    /// `--chown` as numbers, by the users of the tree that is copied onto.
    fn owner(&self, below: &View) -> Result<Option<(u32, u32)>, CopyError> {
        let Some(chown) = self.op.chown.as_deref().filter(|chown| !chown.is_empty()) else {
            return Ok(None);
        };
        let users = users(below)?;
        let (user, group) = match chown.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (chown, None),
        };
        let number = user.parse::<u32>().ok();
        let (uid, own) = match number {
            Some(uid) => (uid, uid),
            None if user.is_empty() => (0, 0),
            None => {
                let account = users.resolve(user).map_err(AccountError::from)?;
                (account.uid, account.gid)
            }
        };
        let gid = match group {
            None => own,
            Some(group) => users.group(group).map_err(AccountError::from)?,
        };
        Ok(Some((uid, gid)))
    }

    /// Which of the selected items are archives to extract, by number.
    fn take_archives(&self) -> Result<Vec<usize>, CopyError> {
        let mut found = Vec::new();
        for (number, item) in self.selection.items.iter().enumerate() {
            if !matches!(item.entry.kind, EntryKind::File { .. }) {
                continue;
            }
            let file = present(&self.trees)[item.tree].open(&item.entry.path)?;
            let mut head = Vec::new();
            file.take(ARCHIVE_HEAD)
                .read_to_end(&mut head)
                .at("read", &item.entry.path)?;
            if is_archive(&head) {
                found.push(number);
            }
        }
        Ok(found)
    }

    fn unpack(&self, archives: &[usize], active: &Active<'_>) -> Result<Vec<View>, CopyError> {
        let mut trees = Vec::new();
        for number in archives {
            let item = &self.selection.items[*number];
            let path = &item.entry.path;
            let file: File = present(&self.trees)[item.tree].open(path)?;
            let target = unpack_dir(active, *number);
            std::fs::create_dir(&target).at("create", &target)?;
            context::unpack_archive(file, &target).map_err(|err| match err {
                context::SourceError::Unpack(source) => CopyError::Archive {
                    path: format!("/{}", path.display()),
                    source,
                },
                context::SourceError::File(err) => CopyError::File(err),
            })?;
            trees.push(View::of_layers(vec![target]));
        }
        Ok(trees)
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

fn unpack_dir(active: &Active<'_>, number: usize) -> PathBuf {
    active.dir().join(format!("unpacked-{number}"))
}

fn remove_unpacked(active: &Active<'_>) -> Result<(), PathError> {
    let dir = active.dir();
    for entry in std::fs::read_dir(dir).at("list", dir)? {
        let entry = entry.at("list", dir)?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(b"unpacked-")
        {
            crate::fs::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// The items that are copied as they are, and the archives.
fn split(selection: Selection, archives: &[usize]) -> (Selection, Selection) {
    let (mut kept, mut taken) = (Selection::default(), Selection::default());
    for (number, item) in selection.items.into_iter().enumerate() {
        let side = if archives.contains(&number) {
            &mut taken
        } else {
            &mut kept
        };
        side.items.push(item);
    }
    (kept, taken)
}

fn duplicate(selection: &Selection) -> Selection {
    Selection {
        items: selection.items.clone(),
    }
}

/// Places what an archive held: links to directories in the image are followed,
/// as extracting onto the image would.
fn place_archive(
    placer: &mut Placer<'_>,
    tree: &View,
    number: usize,
    destination: &Path,
) -> Result<(), CopyError> {
    placer.directory(destination)?;
    for mut entry in SourceTree::walk(tree, Path::new(""))? {
        let source = entry.path.clone();
        entry.path = placer.follow(&destination.join(&source))?;
        if let EntryKind::HardLink(first) = &entry.kind {
            let target = placer.follow(&destination.join(first))?;
            let content = Content::Tree {
                tree: number,
                path: first.clone(),
            };
            let placed = placer.plan.get(&target);
            // Links in the image may have put it after this one, or in the way of
            // another entry, which then took its place.
            let is_there = placed.is_some_and(|placed| placed.content == content);
            entry.kind = match tree.kind(&source)? {
                Some(kind) if target >= entry.path || !is_there => kind,
                _ => EntryKind::HardLink(target),
            };
        }
        placer.put_over(
            entry,
            Content::Tree {
                tree: number,
                path: source,
            },
        )?;
    }
    Ok(())
}

fn list_path(store: &Store, id: SnapshotId) -> PathBuf {
    store.paths().snapshots().join(id.to_string()).join("files")
}

/// How the files of two results of one instruction differ, for `--explain-cache`.
pub(in crate::build) fn differences(
    store: &Store,
    old: SnapshotId,
    new: SnapshotId,
) -> Vec<String> {
    let load = |id| files::FileList::load(&list_path(store, id));
    match (load(old), load(new)) {
        (Some(old), Some(new)) => old.differences(&new, 10),
        _ => Vec::new(),
    }
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
    pub(in crate::build) fn write(mut self, target: &Path) -> Result<Packed, CopyError> {
        Ok(write::write(&mut self.0.plan, &[], target, None)?.packed)
    }
}
