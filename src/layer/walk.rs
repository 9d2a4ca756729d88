//! A layer directory as entries in canonical order.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::xattr::{Found, Holder, Reader};
use super::{Entry, EntryKind};
use crate::fs::{At, Descent, PathError};

/// What [`walk_tree`] calls for an entry; a regular file comes opened.
pub type Visit<'a, E> = dyn FnMut(&Entry, Option<&File>) -> Result<(), E> + 'a;

/// Calls `visit` for every entry of the layer directory `dir`, which is in
/// overlayfs spelling, in the order of its tar: depth first, the names of one
/// directory sorted by their bytes, a directory before its content. A regular
/// file comes opened for reading.
///
/// The root is visited only if it is opaque, as a directory with an empty path.
/// A further link to a file of the layer that was visited already is a
/// [`EntryKind::HardLink`] to its first path. Sockets are left out. The digest of
/// a file's content is not known here.
pub fn walk_tree<E: From<PathError>>(dir: &Path, visit: &mut Visit<'_, E>) -> Result<(), E> {
    let root = rustix::fs::open(
        dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at("open", dir)?;
    let mut walk = Walk {
        root: dir,
        descent: Descent::new(root),
        xattrs: Reader::new(),
        links: HashMap::new(),
    };
    let mut path = PathBuf::new();
    if let Some(entry) = walk.opaque_root()? {
        visit(&entry, None)?;
    }
    let mut levels = vec![walk.names(&path)?.into_iter()];
    while let Some(names) = levels.last_mut() {
        let Some(name) = names.next() else {
            levels.pop();
            walk.descent.leave().at("leave", dir.join(&path))?;
            path.pop();
            continue;
        };
        path.push(OsStr::from_bytes(name.to_bytes()));
        let found = walk.entry(&name, &path).at("read", dir.join(&path))?;
        let is_directory = matches!(&found, Some((entry, _)) if entry.is_directory());
        if let Some((entry, file)) = found {
            visit(&entry, file.as_ref())?;
        }
        if is_directory {
            levels.push(walk.names(&path)?.into_iter());
        } else {
            path.pop();
        }
    }
    Ok(())
}

struct Walk<'a> {
    root: &'a Path,
    descent: Descent,
    xattrs: Reader,
    /// The first path of each file that has further links somewhere.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Walk<'_> {
    /// The names in the current directory, sorted.
    fn names(&self, path: &Path) -> Result<Vec<CString>, PathError> {
        let mut names = Vec::new();
        self.descent
            .names(&mut |name, _| names.push(name.to_owned()))
            .at("list", self.root.join(path))?;
        names.sort_unstable();
        Ok(names)
    }

    fn opaque_root(&mut self) -> Result<Option<Entry>, PathError> {
        let found = self
            .xattrs
            .read(Holder::Open(self.descent.dir()))
            .at("read", self.root)?;
        if !found.opaque {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(self.descent.dir()).at("read", self.root)?;
        let kind = EntryKind::Directory { opaque: true };
        Ok(Some(entry(Path::new(""), kind, &stat, found)))
    }

    /// The entry `name` of the current directory, which becomes the current one
    /// if it is a directory itself; `None` for a socket.
    fn entry(&mut self, name: &CStr, path: &Path) -> io::Result<Option<(Entry, Option<File>)>> {
        let stat = statat(self.descent.dir(), name, AtFlags::SYMLINK_NOFOLLOW)?;
        let device = || {
            let (major, minor) = (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            );
            (major, minor)
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.file(name, path, &stat).map(Some),
            FileType::Directory => {
                self.descent.enter(name)?;
                let found = self.xattrs.read(Holder::Open(self.descent.dir()))?;
                let kind = EntryKind::Directory {
                    opaque: found.opaque,
                };
                return Ok(Some((entry(path, kind, &stat, found), None)));
            }
            FileType::Symlink => {
                let target = readlinkat(self.descent.dir(), name, Vec::new())?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                // None of the attributes that belong to a layer can be on a link.
                let kind = EntryKind::Symlink(target);
                return Ok(Some((entry(path, kind, &stat, Found::default()), None)));
            }
            FileType::CharacterDevice => match device() {
                (0, 0) => {
                    let found = Found::default();
                    return Ok(Some((entry(path, EntryKind::Whiteout, &stat, found), None)));
                }
                (major, minor) => EntryKind::CharDevice { major, minor },
            },
            FileType::BlockDevice => {
                let (major, minor) = device();
                EntryKind::BlockDevice { major, minor }
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket | FileType::Unknown => return Ok(None),
        };
        let found = self.xattrs.read(Holder::Named(self.descent.dir(), name))?;
        Ok(Some((entry(path, kind, &stat, found), None)))
    }

    fn file(&mut self, name: &CStr, path: &Path, stat: &Stat) -> io::Result<(Entry, Option<File>)> {
        if stat.st_nlink > 1 {
            let first = self.links.entry((stat.st_dev, stat.st_ino));
            if let std::collections::hash_map::Entry::Occupied(first) = first {
                let kind = EntryKind::HardLink(first.get().clone());
                return Ok((entry(path, kind, stat, Found::default()), None));
            }
            first.insert_entry(path.to_owned());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(self.descent.dir(), name, flags, Mode::empty())?);
        let found = self.xattrs.read(Holder::Open(file.as_fd()))?;
        if found.whiteout && stat.st_size == 0 {
            let kind = EntryKind::Whiteout;
            return Ok((entry(path, kind, stat, Found::default()), None));
        }
        let kind = EntryKind::File {
            size: stat.st_size.unsigned_abs(),
            content: None,
        };
        Ok((entry(path, kind, stat, found), Some(file)))
    }
}

fn entry(path: &Path, kind: EntryKind, stat: &Stat, found: Found) -> Entry {
    Entry {
        path: path.to_owned(),
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        xattrs: found.kept,
    }
}
