//! What a container changed of its image's files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::dir::Dir;
use super::{Error, find};
use crate::fs::PathError;
use crate::layer::{Entry, EntryKind, Lower, walk_tree};
use crate::snapshot::View;
use crate::store::Store;

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The path is new.
    Added,
    /// The path has another content, kind or metadata, or something in it changed.
    Changed,
    /// The path is gone.
    Deleted,
}

/// The paths that the container `text` changed, with what became of each, sorted.
pub fn diff(store: &Store, text: &str) -> Result<Vec<(Change, PathBuf)>, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let image = View::open(store, row.snapshot)?;
    let mut changes = Changes {
        image: &image,
        found: BTreeMap::new(),
    };
    walk_tree::<Error>(&dir.path("fs"), &mut |entry, _| Ok(changes.take(entry)?))?;
    let absolute = |(path, change): (PathBuf, Change)| (change, Path::new("/").join(path));
    Ok(changes.found.into_iter().map(absolute).collect())
}

struct Changes<'a> {
    image: &'a View,
    found: BTreeMap<PathBuf, Change>,
}

impl Changes<'_> {
    fn take(&mut self, entry: &Entry) -> Result<(), PathError> {
        if entry.path.as_os_str().is_empty() {
            return self.hidden(&entry.path);
        }
        let before = self.image.entry(&entry.path)?;
        let change = match (&entry.kind, &before) {
            // The mark of a name that never was: of a file that came and went.
            (EntryKind::Whiteout, None) => return Ok(()),
            (EntryKind::Whiteout, Some(_)) => Change::Deleted,
            (_, None) => Change::Added,
            (_, Some(before)) if is_same_directory(before, entry) => return Ok(()),
            (_, Some(_)) => Change::Changed,
        };
        self.note(&entry.path, change);
        match (&entry.kind, before) {
            (EntryKind::Directory { opaque: true }, Some(before)) if before.is_directory() => {
                self.hidden(&entry.path)
            }
            _ => Ok(()),
        }
    }

    /// Notes a change, and that the directories above have changed with it.
    fn note(&mut self, path: &Path, change: Change) {
        self.found.insert(path.to_owned(), change);
        for above in path.ancestors().skip(1) {
            if !above.as_os_str().is_empty() {
                self.found
                    .entry(above.to_owned())
                    .or_insert(Change::Changed);
            }
        }
    }

    /// What an opaque directory hides is gone, unless it is there again: then the
    /// walk finds it later and says what became of it.
    fn hidden(&mut self, path: &Path) -> Result<(), PathError> {
        for name in self.image.list(path)? {
            self.note(&path.join(name), Change::Deleted);
        }
        Ok(())
    }
}

/// Whether overlayfs only copied a directory up because of what is in it.
fn is_same_directory(before: &Entry, now: &Entry) -> bool {
    let plain = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.mtime);
    before.is_directory() && now.is_directory() && plain(before) == plain(now)
}
