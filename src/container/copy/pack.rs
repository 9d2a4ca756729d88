//! A file or a tree to a tar, while it may change.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::CopyOut;
use crate::fs::{At, PathError, Root};
use crate::layer::{Entry, EntryKind, PackOptions, Packer};

/// Deepest tree that is copied: each level holds a descriptor.
const DEPTH: usize = 900;
/// The one attribute that makes a program work or not.
const CAPABILITY: &str = "security.capability";

type Out<'a> = &'a mut (dyn Write + Send);

/// Packs what is at a path beneath `root`.
pub(super) fn pack(root: &Root, what: &CopyOut, out: Out<'_>) -> Result<(), PathError> {
    let flags = if what.follow {
        OFlags::PATH
    } else {
        OFlags::PATH | OFlags::NOFOLLOW
    };
    let place = root.open_at(&what.path, flags, Mode::empty())?;
    let open = |flags| {
        root.open_at(&what.path, flags, Mode::empty())
            .map_err(|err| err.source)
    };
    pack_place(place, &open, what, out)
}

/// Packs what is at a path outside.
pub(super) fn pack_path(what: &CopyOut, out: Out<'_>) -> Result<(), PathError> {
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, !what.follow);
    let place = rustix::fs::open(&what.path, flags, Mode::empty()).at("open", &what.path)?;
    let open = |flags| Ok(rustix::fs::open(&what.path, flags, Mode::empty())?);
    pack_place(place, &open, what, out)
}

/// Packs everything in a directory.
pub(super) fn pack_root(root: &OwnedFd, out: Out<'_>) -> Result<(), PathError> {
    let mut work = Work::new(out);
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(root, ".", open, Mode::empty()).at("open", "/")?;
    work.children(&dir, Path::new(""), 0)?;
    work.finish()
}

/// Opens the path again, to read.
type Open<'a> = dyn Fn(OFlags) -> io::Result<OwnedFd> + 'a;

fn pack_place(
    place: OwnedFd,
    open_again: &Open<'_>,
    what: &CopyOut,
    out: Out<'_>,
) -> Result<(), PathError> {
    let mut work = Work::new(out);
    let stat = rustix::fs::fstat(&place).at("look at", &what.path)?;
    let name = what.name.as_deref();
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(&place, ".", open, Mode::empty()).at("open", &what.path)?;
        if let Some(name) = name {
            let kind = EntryKind::Directory { opaque: false };
            work.add(name, kind, &stat, Vec::new(), &mut io::empty())?;
        }
        work.children(&dir, name.unwrap_or(Path::new("")), 0)?;
    } else {
        let item = Item::Open(place, open_again);
        work.item(&item, name.unwrap_or(Path::new("file")), &stat)?;
    }
    work.finish()
}

/// Something that is no directory.
enum Item<'a> {
    /// As a name in a directory.
    Named(BorrowedFd<'a>, CString),
    /// As an open place, and the way to it: a place itself cannot be read.
    Open(OwnedFd, &'a Open<'a>),
}

impl Item<'_> {
    fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let fd = match self {
            Self::Named(dir, name) => openat(
                dir,
                name.as_c_str(),
                flags | OFlags::NOFOLLOW,
                Mode::empty(),
            )?,
            Self::Open(_, open) => open(flags)?,
        };
        let file = File::from(fd);
        if file.metadata()?.is_file() {
            Ok(file)
        } else {
            // Something else has taken its place.
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn target(&self) -> io::Result<PathBuf> {
        let target = match self {
            Self::Named(dir, name) => readlinkat(dir, name.as_c_str(), Vec::new())?,
            Self::Open(place, _) => readlinkat(place, "", Vec::new())?,
        };
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }
}

struct Work<'a> {
    packer: Packer<Out<'a>>,
    /// The first path of each file that has further names.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<'a> Work<'a> {
    fn new(out: Out<'a>) -> Self {
        let options = PackOptions {
            plain_names: true,
            ..PackOptions::default()
        };
        Self {
            packer: Packer::new(out, options),
            links: HashMap::new(),
        }
    }

    fn finish(self) -> Result<(), PathError> {
        self.packer.finish().map(drop).at("write", "the archive")
    }

    fn children(&mut self, dir: &OwnedFd, path: &Path, depth: usize) -> Result<(), PathError> {
        if depth > DEPTH {
            return Err(rustix::io::Errno::NAMETOOLONG).at("enter", path);
        }
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(dir).at("list", path)? {
            let entry = entry.at("list", path)?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        for name in names {
            let below = path.join(OsStr::from_bytes(name.as_bytes()));
            let stat = match statat(dir, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
                // It went meanwhile.
                Err(rustix::io::Errno::NOENT) => continue,
                result => result.at("look at", &below)?,
            };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let child = match openat(dir, name.as_c_str(), flags, Mode::empty()) {
                    Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => continue,
                    result => result.at("open", &below)?,
                };
                let kind = EntryKind::Directory { opaque: false };
                self.add(&below, kind, &stat, Vec::new(), &mut io::empty())?;
                self.children(&child, &below, depth + 1)?;
            } else {
                self.item(&Item::Named(dir.as_fd(), name), &below, &stat)?;
            }
        }
        Ok(())
    }

    fn item(&mut self, item: &Item<'_>, path: &Path, stat: &Stat) -> Result<(), PathError> {
        let device = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        let (major, minor) = device;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => return self.file(item, path, stat),
            FileType::Symlink => match item.target() {
                Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
                result => EntryKind::Symlink(result.at("read the link", path)?),
            },
            FileType::CharacterDevice => EntryKind::CharDevice { major, minor },
            FileType::BlockDevice => EntryKind::BlockDevice { major, minor },
            FileType::Fifo => EntryKind::Fifo,
            // A socket means nothing without its owner.
            _ => return Ok(()),
        };
        self.add(path, kind, stat, Vec::new(), &mut io::empty())
    }

    fn file(&mut self, item: &Item<'_>, path: &Path, stat: &Stat) -> Result<(), PathError> {
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                let kind = EntryKind::HardLink(first.clone());
                return self.add(path, kind, stat, Vec::new(), &mut io::empty());
            }
            self.links.insert(key, path.to_owned());
        }
        let file = match item.open() {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            result => result.at("open", path)?,
        };
        let size = stat.st_size.unsigned_abs();
        let mut value = [0; 64];
        let length = rustix::fs::fgetxattr(&file, CAPABILITY, &mut value[..]).unwrap_or(0);
        let xattrs = if length > 0 {
            vec![(CAPABILITY.to_owned(), value[..length].to_vec())]
        } else {
            Vec::new()
        };
        let kind = EntryKind::File {
            size,
            content: None,
        };
        self.add(path, kind, stat, xattrs, &mut Exact::new(&file, size))
    }

    fn add(
        &mut self,
        path: &Path,
        kind: EntryKind,
        stat: &Stat,
        xattrs: Vec<(String, Vec<u8>)>,
        content: &mut dyn Read,
    ) -> Result<(), PathError> {
        let entry = Entry {
            path: path.to_owned(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: stat.st_mtime,
            xattrs,
        };
        self.packer.entry(&entry, content).at("pack", path)
    }
}

/// Exactly so many bytes of a file that may change: what it has beyond them is
/// left, zeros stand for what it lacks.
#[derive(Debug)]
pub(in crate::container) struct Exact<'a> {
    file: &'a File,
    left: u64,
}

impl<'a> Exact<'a> {
    /// The first `size` bytes of `file`.
    pub(in crate::container) fn new(file: &'a File, size: u64) -> Self {
        Self { file, left: size }
    }
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let buffer = &mut buffer[..most];
        let mut length = (&mut &*self.file).read(buffer)?;
        if length == 0 {
            buffer.fill(0);
            length = most;
        }
        self.left -= length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_shrinks_is_filled_up() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let mut bytes = Vec::new();
        Exact::new(&file, 5).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"abc\0\0");
        std::io::Seek::rewind(&mut file).unwrap();
        let mut bytes = Vec::new();
        Exact::new(&file, 2).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"ab");
    }
}
