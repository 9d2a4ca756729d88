//! Archives that ADD extracts: told by their content, unpacked beside the new
//! layer, and moved into it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use super::place::{Content, Placer};
use super::source::SourceTree;
use super::{CopyError, Prepared, present};
use crate::context::{self, is_archive};
use crate::fs::{At, PathError};
use crate::layer::{Entry, EntryKind};
use crate::oci::Digest;
use crate::snapshot::{Active, View};

/// How much of a file is looked at to tell whether it is an archive.
const ARCHIVE_HEAD: u64 = 1 << 20;

/// What an archive held.
pub(super) struct Unpacked {
    view: View,
    dir: PathBuf,
}

impl Prepared<'_> {
    /// Unpacks the archives among what was selected, by the item's number.
    pub(super) fn unpack_archives(
        &self,
        active: &Active<'_>,
    ) -> Result<BTreeMap<usize, Unpacked>, CopyError> {
        let mut unpacked = BTreeMap::new();
        let trees = present(&self.trees);
        for (number, item) in self.selection.items.iter().enumerate() {
            let path = &item.entry.path;
            if !matches!(item.entry.kind, EntryKind::File { .. }) || !self.unpacks(item.pattern) {
                continue;
            }
            let file = trees[item.tree].open(path)?;
            let mut head = Vec::new();
            (&file)
                .take(ARCHIVE_HEAD)
                .read_to_end(&mut head)
                .at("read", path)?;
            if is_archive(&head) {
                let dir = active.dir().join(format!("unpacked-{number}"));
                unpacked.insert(
                    number,
                    Unpacked::new(path, trees[item.tree].open(path)?, dir)?,
                );
            }
        }
        Ok(unpacked)
    }
}

impl Unpacked {
    fn new(path: &Path, file: File, dir: PathBuf) -> Result<Self, CopyError> {
        std::fs::create_dir(&dir).at("create", &dir)?;
        context::unpack_archive(file, &dir).map_err(|err| match err {
            context::SourceError::Unpack(source) => CopyError::Archive {
                path: format!("/{}", path.display()),
                source,
            },
            context::SourceError::File(err) => CopyError::File(err),
        })?;
        let view = View::of_layers(vec![dir.clone()]);
        Ok(Self { view, dir })
    }

    /// Places everything, as tree number `number`: links to directories in the
    /// image are followed, as extracting onto the image would.
    pub(super) fn place(
        &self,
        placer: &mut Placer<'_>,
        number: usize,
        destination: &Path,
    ) -> Result<(), CopyError> {
        placer.directory(destination)?;
        for mut entry in self.walk(Path::new(""), &|_| true)? {
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
                entry.kind = match self.view.kind(&source)? {
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

    /// Removes what nobody took.
    pub(super) fn remove(&self) -> Result<(), PathError> {
        crate::fs::remove_tree(&self.dir)
    }
}

impl SourceTree for Unpacked {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError> {
        SourceTree::entry(&self.view, path)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, PathError> {
        SourceTree::list(&self.view, path)
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf, PathError> {
        SourceTree::resolve(&self.view, path)
    }

    fn walk(&self, path: &Path, into: &dyn Fn(&Path) -> bool) -> Result<Vec<Entry>, PathError> {
        SourceTree::walk(&self.view, path, into)
    }

    fn open(&self, path: &Path) -> Result<File, PathError> {
        SourceTree::open(&self.view, path)
    }

    fn is_ignored(&self, _path: &Path) -> bool {
        false
    }

    fn learn(&self, _path: &Path, _file: &File, _before: &Stat, _digest: Digest) {}

    fn give(&self, path: &Path) -> Option<PathBuf> {
        Some(self.dir.join(path))
    }
}
