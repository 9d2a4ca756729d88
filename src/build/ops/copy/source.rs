//! Where COPY takes files from: the build context, another step's tree, or an
//! unpacked archive. One face for all of them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

use crate::context::Context;
use crate::fs::{At, PathError};
use crate::layer::{Entry, EntryKind, Lower};
use crate::oci::{Digest, Hasher};
use crate::snapshot::{FileId, View};

/// A tree to copy from. Paths are relative to its root.
pub(super) trait SourceTree: Sync {
    /// The entry at `path`, links not followed.
    fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError>;
    /// The names in a directory, sorted by bytes.
    fn list(&self, path: &Path) -> Result<Vec<OsString>, PathError>;
    /// `path` without links in any component.
    fn resolve(&self, path: &Path) -> Result<PathBuf, PathError>;
    /// Everything beneath a directory, in canonical order, and beneath those
    /// directories in it that `into` says yes to.
    fn walk(&self, path: &Path, into: &dyn Fn(&Path) -> bool) -> Result<Vec<Entry>, PathError>;
    /// Opens a regular file.
    fn open(&self, path: &Path) -> Result<File, PathError>;
    /// Whether an ignore file leaves `path` out.
    fn is_ignored(&self, path: &Path) -> bool;
    /// Learns the digest of a file that was just read; `before` is its state before.
    fn learn(&self, path: &Path, file: &File, before: &Stat, digest: Digest);
    /// Where a regular file lies that may be moved away instead of copied.
    fn give(&self, _path: &Path) -> Option<PathBuf> {
        None
    }
}

impl SourceTree for Context {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError> {
        Self::entry(self, path)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, PathError> {
        Self::list(self, path)
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf, PathError> {
        Self::resolve(self, path)
    }

    fn walk(&self, path: &Path, into: &dyn Fn(&Path) -> bool) -> Result<Vec<Entry>, PathError> {
        self.walk_where(path, into)
    }

    fn open(&self, path: &Path) -> Result<File, PathError> {
        self.open_file(path)
    }

    fn is_ignored(&self, path: &Path) -> bool {
        Self::is_ignored(self, path)
    }

    fn learn(&self, path: &Path, file: &File, before: &Stat, digest: Digest) {
        self.remember(path, file.as_fd(), before, digest);
    }
}

impl SourceTree for View {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError> {
        Lower::entry(self, path)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, PathError> {
        Self::list(self, path)
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf, PathError> {
        Self::resolve(self, path, true)
    }

    fn walk(&self, path: &Path, into: &dyn Fn(&Path) -> bool) -> Result<Vec<Entry>, PathError> {
        let mut walk = Walk {
            view: self,
            found: Vec::new(),
            links: HashMap::new(),
            into,
        };
        walk.beneath(path)?;
        Ok(walk.found)
    }

    fn open(&self, path: &Path) -> Result<File, PathError> {
        Lower::open(self, path)
    }

    fn is_ignored(&self, _path: &Path) -> bool {
        false
    }

    fn learn(&self, _path: &Path, _file: &File, _before: &Stat, _digest: Digest) {}
}

/// A tree with nothing in it.
pub(super) struct Nothing;

impl SourceTree for Nothing {
    fn entry(&self, _path: &Path) -> Result<Option<Entry>, PathError> {
        Ok(None)
    }

    fn list(&self, _path: &Path) -> Result<Vec<OsString>, PathError> {
        Ok(Vec::new())
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf, PathError> {
        Ok(path.to_owned())
    }

    fn walk(&self, _path: &Path, _into: &dyn Fn(&Path) -> bool) -> Result<Vec<Entry>, PathError> {
        Ok(Vec::new())
    }

    fn open(&self, path: &Path) -> Result<File, PathError> {
        Err(std::io::Error::from(std::io::ErrorKind::NotFound)).at("open", path)
    }

    fn is_ignored(&self, _path: &Path) -> bool {
        false
    }

    fn learn(&self, _path: &Path, _file: &File, _before: &Stat, _digest: Digest) {}
}

/// A walk through a view.
struct Walk<'a> {
    view: &'a View,
    found: Vec<Entry>,
    /// The first name of each file that was met.
    links: HashMap<FileId, PathBuf>,
    into: &'a dyn Fn(&Path) -> bool,
}

impl Walk<'_> {
    fn beneath(&mut self, path: &Path) -> Result<(), PathError> {
        for name in self.view.list(path)? {
            let child = path.join(name);
            let Some((mut entry, file)) = self.view.entry_and_file(&child)? else {
                continue;
            };
            if let Some(file) = file {
                match self.links.get(&file) {
                    Some(first) => entry.kind = EntryKind::HardLink(first.clone()),
                    None => drop(self.links.insert(file, child.clone())),
                }
            }
            let is_dir = matches!(entry.kind, EntryKind::Directory { .. });
            self.found.push(entry);
            if is_dir && (self.into)(&child) {
                self.beneath(&child)?;
            }
        }
        Ok(())
    }
}

/// A file by its place on disk, for reading its whole content in one call.
pub(super) fn read_whole(mut file: &File, size: u64, path: &Path) -> Result<Vec<u8>, PathError> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    std::io::Read::read_to_end(&mut file, &mut bytes).at("read", path)?;
    Ok(bytes)
}

/// The digest of a file's content, read in pieces.
pub(super) fn digest_of(tree: &dyn SourceTree, path: &Path) -> Result<Digest, PathError> {
    let mut file = tree.open(path)?;
    let before = rustix::fs::fstat(&file).at("look at", path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match std::io::Read::read(&mut file, &mut buffer).at("read", path)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    let digest = hasher.finish();
    tree.learn(path, &file, &before, digest);
    Ok(digest)
}

/// Fills in the digest of every regular file that has none, on as many threads
/// as there are processors. Each entry comes with the number of its tree.
pub(super) fn digest_all(
    trees: &[&dyn SourceTree],
    entries: Vec<(usize, &mut Entry)>,
) -> Result<(), PathError> {
    let missing = |(_, entry): &(usize, &mut Entry)| {
        matches!(entry.kind, EntryKind::File { content: None, .. })
    };
    let mut entries: Vec<(usize, &mut Entry)> = entries.into_iter().filter(missing).collect();
    let work = |part: &mut [(usize, &mut Entry)]| -> Result<(), PathError> {
        for (tree, entry) in part {
            let digest = digest_of(trees[*tree], &entry.path)?;
            if let EntryKind::File { content, .. } = &mut entry.kind {
                *content = Some(digest);
            }
        }
        Ok(())
    };
    if entries.len() < 8 {
        return work(&mut entries);
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = entries.len().div_ceil(threads);
    std::thread::scope(|scope| {
        let parts: Vec<_> = entries
            .chunks_mut(share)
            .map(|part| scope.spawn(|| work(part)))
            .collect();
        let mut first = Ok(());
        for part in parts {
            let result = part.join().expect("hashing does not panic");
            if first.is_ok() {
                first = result;
            }
        }
        first
    })
}

/// The path of a source as the Dockerfile wrote it, made relative: `..` stops
/// at the root, `.` and empty parts vanish.
pub(super) fn clean(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// The last component of a path, or an empty name for the root.
pub(super) fn base_name(path: &Path) -> OsString {
    path.file_name().unwrap_or(OsStr::new("")).to_owned()
}
