//! A stack read as one tree, without a mount.

mod directories;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Dir, FileType, Mode, OFlags, Statx};
use rustix::io::Errno;

use self::directories::{Directories, Found};
use super::stack::{layer_dirs, root_dir};
use super::{Error, attributes};
use crate::fs::{At, PathError};
use crate::layer::{Entry, EntryKind, Lower};
use crate::store::{SnapshotId, Store};

/// Most links that one path may pass through. The kernel allows 40; BuildKit 255.
const LINK_LIMIT: usize = 255;
/// Longest path that links may make, in bytes. The kernel's own bound is 4,096.
const PATH_LIMIT: usize = 1 << 16;

/// The merged tree of a stack of layers: whiteouts, opaque directories and
/// replaced entries are applied as overlayfs does. Reading only.
///
/// What it learns of directories it remembers, within bounds, so that walking
/// a tree costs few system calls. It may be moved and shared between threads.
#[derive(Debug)]
pub struct View {
    directories: Directories,
    /// Which layer has the root's metadata.
    root: usize,
}

impl View {
    /// Opens the stack under `top`; `None` is an empty tree.
    pub fn open(store: &Store, top: Option<SnapshotId>) -> Result<Self, Error> {
        let layers = layer_dirs(store, top)?;
        let root = root_dir(store, top)?;
        let root = layers.iter().position(|dir| Some(dir) == root.as_ref());
        Ok(Self {
            directories: Directories::new(layers),
            root: root.unwrap_or(0),
        })
    }

    /// The tree of these layer directories, top first: for a stack whose top is no
    /// snapshot, such as a container's own layer. They must not change meanwhile.
    pub fn of_layers(layers: Vec<PathBuf>) -> Self {
        Self {
            directories: Directories::new(layers),
            root: 0,
        }
    }

    /// The layer directories, top first.
    pub fn layers(&self) -> &[PathBuf] {
        self.directories.layers()
    }

    /// Follows links in every component of `path` inside the tree, the last one
    /// included when `follow_last`; returns the path without links, relative to the root.
    /// Absolute targets start at the root again and `..` stops there.
    /// Components that do not exist are kept as they are.
    ///
    /// # Errors
    /// `ELOOP` after 255 links, `ENAMETOOLONG` when they make a path of more than 64 KiB.
    pub fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, PathError> {
        let mut resolved = PathBuf::new();
        let mut links = 0;
        // What is still to be walked, the next component last.
        let mut pending = Vec::new();
        push_components(&mut pending, path);
        while let Some(name) = pending.pop() {
            if name == ".." {
                resolved.pop();
                continue;
            }
            let target = match self.directories.find(&resolved, &name)? {
                Some(found)
                    if found.file_type() == FileType::Symlink
                        && (follow_last || !pending.is_empty()) =>
                {
                    self.target(&resolved, &name, &found)?
                }
                _ => {
                    resolved.push(name);
                    continue;
                }
            };
            links += 1;
            if links > LINK_LIMIT {
                return Err(Errno::LOOP).at("resolve", path);
            }
            if target.is_absolute() {
                resolved.clear();
            }
            push_components(&mut pending, &target);
            let length: usize = pending.iter().map(|name| name.len() + 1).sum();
            if length + resolved.as_os_str().len() > PATH_LIMIT {
                return Err(Errno::NAMETOOLONG).at("resolve", path);
            }
        }
        Ok(resolved)
    }

    /// The names in the directory `path` (links not followed), sorted by bytes, merged.
    pub fn list(&self, path: &Path) -> Result<Vec<OsString>, PathError> {
        let path = directories::plain(path)?;
        let Some(directory) = self.directories.directory(&path)? else {
            let missing = self.locate(&path)?.is_none();
            let err = if missing { Errno::NOENT } else { Errno::NOTDIR };
            return Err(err).at("list", path);
        };
        // Whether each name is there: a whiteout takes the name as well.
        let mut names = BTreeMap::new();
        for part in Directories::parts(&directory) {
            let shown = || self.layers()[directory.layer(part)].join(&path);
            let handle = self.directories.handle(&directory, part)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let open = rustix::fs::openat(&handle, ".", flags, Mode::empty());
            let reader = open.and_then(Dir::new).at("list", shown())?;
            for entry in reader {
                let entry = entry.at("list", shown())?;
                let bytes = entry.file_name().to_bytes();
                if matches!(bytes, b"." | b"..") {
                    continue;
                }
                let name = OsStr::from_bytes(bytes);
                if names.contains_key(name) {
                    continue;
                }
                // Only a device can be a whiteout, so the rest needs no look.
                let device = matches!(
                    entry.file_type(),
                    FileType::CharacterDevice | FileType::Unknown
                );
                let whiteout = device
                    && directories::look(&handle, name)
                        .at("read", shown().join(name))?
                        .is_none_or(|stat| directories::is_whiteout(&stat));
                names.insert(name.to_owned(), !whiteout);
            }
        }
        let there = names.into_iter().filter(|(_, there)| *there);
        Ok(there.map(|(name, _)| name).collect())
    }

    /// Reads the regular file at `path`, following links inside the tree, up to `limit`
    /// bytes; `None` when there is none.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, PathError> {
        let path = self.resolve(path, true)?;
        if self.locate(&path)?.is_none() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        self.open(&path)?
            .take(limit)
            .read_to_end(&mut bytes)
            .at("read", path)?;
        Ok(Some(bytes))
    }

    /// Where the entry at `path` (links not followed) lies on disk: the file in
    /// the topmost layer that has it. For opening and for hard-linking.
    pub fn locate(&self, path: &Path) -> Result<Option<PathBuf>, PathError> {
        let path = directories::plain(path)?;
        let layer = match split(&path) {
            Some((parent, name)) => self.directories.find(parent, name)?.map(|f| f.layer),
            None => (!self.layers().is_empty()).then_some(0),
        };
        Ok(layer.map(|layer| self.layers()[layer].join(&path)))
    }

    /// What the entry at `path` (links not followed) is, without owner and
    /// attributes: cheaper than [`Lower::entry`]. `None` when there is none.
    pub fn kind(&self, path: &Path) -> Result<Option<EntryKind>, PathError> {
        let path = directories::plain(path)?;
        let Some((parent, name)) = split(&path) else {
            let opaque = false;
            return Ok((!self.layers().is_empty()).then_some(EntryKind::Directory { opaque }));
        };
        match self.directories.find(parent, name)? {
            Some(found) => self.kind_of(parent, name, &found),
            None => Ok(None),
        }
    }

    fn kind_of(
        &self,
        parent: &Path,
        name: &OsStr,
        found: &Found,
    ) -> Result<Option<EntryKind>, PathError> {
        let (major, minor) = (found.stat.stx_rdev_major, found.stat.stx_rdev_minor);
        Ok(Some(match found.file_type() {
            FileType::RegularFile => EntryKind::File {
                size: found.stat.stx_size,
                content: None,
            },
            FileType::Directory => EntryKind::Directory { opaque: false },
            FileType::Symlink => EntryKind::Symlink(self.target(parent, name, found)?),
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            // Sockets are in no layer; one that a RUN step left is not there.
            _ => return Ok(None),
        }))
    }

    fn target(&self, parent: &Path, name: &OsStr, found: &Found) -> Result<PathBuf, PathError> {
        let holder = self.directories.holder(found)?;
        let target = rustix::fs::readlinkat(holder, name, Vec::new())
            .at("read", self.directories.disk(found.layer, parent, name))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// The tree's root: what the topmost layer says of it that was made for its parent.
    fn root(&self) -> Result<Option<Entry>, PathError> {
        let Some(top) = self.layers().get(self.root) else {
            return Ok(None);
        };
        let Some(directory) = self.directories.directory(Path::new(""))? else {
            return Ok(None);
        };
        let handle = self.directories.handle(&directory, self.root)?;
        let here = OsStr::new(".");
        let Some(stat) = directories::look(&handle, here).at("read", top)? else {
            return Ok(None);
        };
        let xattrs = attributes::of(&handle, here).at("read the attributes of", top)?;
        let kind = EntryKind::Directory { opaque: false };
        Ok(Some(entry_of(PathBuf::new(), kind, &stat, xattrs)))
    }
}

/// A file that has several names: its layer, and its number there.
pub type FileId = (usize, u64);

impl View {
    /// The entry at `path` like [`Lower::entry`], and for a regular file that has
    /// further names what tells them. Names in different layers are never of one file.
    pub fn entry_and_file(
        &self,
        path: &Path,
    ) -> Result<Option<(Entry, Option<FileId>)>, PathError> {
        let path = directories::plain(path)?;
        let Some((parent, name)) = split(&path) else {
            return Ok(self.root()?.map(|root| (root, None)));
        };
        let Some(found) = self.directories.find(parent, name)? else {
            return Ok(None);
        };
        let Some(kind) = self.kind_of(parent, name, &found)? else {
            return Ok(None);
        };
        let holder = self.directories.holder(&found)?;
        let xattrs = attributes::of(&holder, name).at(
            "read the attributes of",
            self.directories.disk(found.layer, parent, name),
        )?;
        let several = found.stat.stx_nlink > 1 && matches!(kind, EntryKind::File { .. });
        let file = several.then_some((found.layer, found.stat.stx_ino));
        Ok(Some((entry_of(path, kind, &found.stat, xattrs), file)))
    }
}

impl Lower for View {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError> {
        let found = self.entry_and_file(path)?;
        Ok(found.map(|(entry, _)| entry))
    }

    fn open(&self, path: &Path) -> Result<File, PathError> {
        let path = directories::plain(path)?;
        let found = match split(&path) {
            Some((parent, name)) => self.directories.find(parent, name)?.map(|f| (f, name)),
            None => return Err(Errno::ISDIR).at("open", path),
        };
        let Some((found, name)) = found else {
            return Err(Errno::NOENT).at("open", path);
        };
        match found.file_type() {
            FileType::RegularFile => {}
            FileType::Directory => return Err(Errno::ISDIR).at("open", path),
            // Opening a device or a pipe has effects of its own.
            _ => return Err(Errno::INVAL).at("open", path),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let holder = self.directories.holder(&found)?;
        rustix::fs::openat(holder, name, flags, Mode::empty())
            .map(File::from)
            .at("open", self.layers()[found.layer].join(&path))
    }
}

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    path.parent().zip(path.file_name())
}

/// Adds the components of `path` to what is still to be walked.
fn push_components(pending: &mut Vec<OsString>, path: &Path) {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    pending.extend(names);
}

fn entry_of(path: PathBuf, kind: EntryKind, stat: &Statx, xattrs: Vec<(String, Vec<u8>)>) -> Entry {
    Entry {
        path,
        kind,
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: stat.stx_mtime.tv_sec,
        xattrs,
    }
}
