//! The context's files, less what is ignored.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::{Memory, Patterns, Stamp};
use crate::fs::{At, PathError, Root};
use crate::layer::{Entry, EntryKind};
use crate::oci::{Digest, Hasher};

/// Deepest directory that is walked, in components.
pub(super) const DEPTH_LIMIT: usize = 1_000;
/// Most links that one path may go through, as the kernel has it.
const LINK_LIMIT: usize = 40;

/// A build context.
#[derive(Debug)]
pub struct Context {
    root: Root,
    pub(super) patterns: Patterns,
    memory: Memory,
}

/// A walk under way.
struct Walk<'a> {
    found: Vec<Entry>,
    /// Hard links that were met: the first path of each file.
    links: HashMap<(u64, u64), PathBuf>,
    /// Which directories to look into.
    into: &'a dyn Fn(&Path) -> bool,
}

impl Context {
    /// Opens the directory `dir`; what `patterns` match is not seen. Digests are
    /// remembered in the file `memory`.
    pub fn open(dir: &Path, patterns: Patterns, memory: PathBuf) -> Result<Self, PathError> {
        Ok(Self {
            root: Root::open(dir)?,
            patterns,
            memory: Memory::load(memory),
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// What the ignore file leaves out.
    pub fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// Whether the ignore file leaves `path` out.
    pub fn is_ignored(&self, path: &Path) -> bool {
        !path.as_os_str().is_empty() && self.patterns.matches(path)
    }

    /// Follows links in every component of `path` inside the context, the last
    /// one included. Components that do not exist are kept.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, PathError> {
        let mut todo: Vec<OsString> = reversed(path);
        let mut done = PathBuf::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            let here = done.join(&part);
            let Ok(target) = rustix::fs::readlinkat(&self.root, &here, Vec::new()) else {
                done = here;
                continue;
            };
            let target = PathBuf::from(OsStr::from_bytes(target.as_bytes()));
            links += 1;
            if links > LINK_LIMIT {
                return Err(rustix::io::Errno::LOOP)
                    .at("follow the links of", self.path().join(path));
            }
            if target.is_absolute() {
                done = PathBuf::new();
            }
            todo.extend(reversed(&target));
        }
        Ok(done)
    }

    /// The entry at `path`, links not followed; `None` when it is missing or ignored. A directory
    /// that is ignored counts as there when an exception may bring back something in it.
    pub fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError> {
        let parent = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().unwrap_or(OsStr::new("."));
        let Ok(dir) = self.open_dir(parent) else {
            return Ok(None);
        };
        let stat = match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
            Err(err) => return Err(err).at("look at", self.path().join(path)),
        };
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if self.is_ignored(path) && !(is_dir && self.patterns.may_reinclude_below(path)) {
            return Ok(None);
        }
        self.to_entry(&dir, name, path.to_owned(), &stat)
    }

    /// The names in the directory `path` that are not ignored, sorted by bytes.
    pub fn list(&self, path: &Path) -> Result<Vec<OsString>, PathError> {
        let names = self.names(&self.open_dir(path)?, path)?;
        let seen = |name: &OsString| {
            let child = path.join(name);
            !self.is_ignored(&child) || self.patterns.may_reinclude_below(&child)
        };
        Ok(names.into_iter().filter(seen).collect())
    }

    /// Everything beneath the directory `path` in canonical order, itself left
    /// out. Regular files carry their digest where it is remembered.
    pub fn walk(&self, path: &Path) -> Result<Vec<Entry>, PathError> {
        self.walk_where(path, &|_| true)
    }

    /// Like [`Self::walk`], but looks only into directories that `into` says yes to.
    pub fn walk_where(
        &self,
        path: &Path,
        into: &dyn Fn(&Path) -> bool,
    ) -> Result<Vec<Entry>, PathError> {
        let mut walk = Walk {
            found: Vec::new(),
            links: HashMap::new(),
            into,
        };
        let dir = self.open_dir(path)?;
        self.walk_into(&dir, path, &mut walk, 0)?;
        Ok(walk.found)
    }

    fn walk_into(
        &self,
        dir: &OwnedFd,
        path: &Path,
        walk: &mut Walk<'_>,
        depth: usize,
    ) -> Result<(), PathError> {
        if depth > DEPTH_LIMIT {
            return Err(rustix::io::Errno::NAMETOOLONG).at("walk", self.path().join(path));
        }
        for name in self.names(dir, path)? {
            let child = path.join(&name);
            let stat = match rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It vanished since the directory was read: as if it had never been there.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(err) => return Err(err).at("look at", self.path().join(&child)),
            };
            let ignored = self.is_ignored(&child);
            let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if ignored && !(is_dir && self.patterns.may_reinclude_below(&child)) {
                continue;
            }
            let Some(mut entry) = self.to_entry(dir, &name, child.clone(), &stat)? else {
                continue;
            };
            if stat.st_nlink > 1 && matches!(entry.kind, EntryKind::File { .. }) {
                let file = (stat.st_dev, stat.st_ino);
                match walk.links.get(&file) {
                    Some(first) => entry.kind = EntryKind::HardLink(first.clone()),
                    None => drop(walk.links.insert(file, child.clone())),
                }
            }
            let before = walk.found.len();
            walk.found.push(entry);
            if is_dir && (walk.into)(&child) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let below = rustix::fs::openat(dir, &name, flags, Mode::empty())
                    .at("open", self.path().join(&child))?;
                self.walk_into(&below, &child, walk, depth + 1)?;
                if ignored && walk.found.len() == before + 1 {
                    // No exception brought anything back, so the directory is not there either.
                    walk.found.pop();
                }
            }
        }
        Ok(())
    }

    /// Opens the regular file at `path`, links not followed.
    pub fn open_file(&self, path: &Path) -> Result<File, PathError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        self.root
            .open_at(path, flags, Mode::empty())
            .map(File::from)
    }

    /// Reads the file at `path`, following links inside the context; `None` when
    /// there is none. At most `limit` bytes.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, PathError> {
        let file = match self.root.open_file(path) {
            Ok(file) => file,
            Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(err),
        };
        let mut bytes = Vec::new();
        file.take(limit)
            .read_to_end(&mut bytes)
            .at("read", self.path().join(path))?;
        Ok(Some(bytes))
    }

    /// The digest of a regular file's content, remembered or read now.
    pub fn digest(&self, path: &Path) -> Result<Digest, PathError> {
        let mut file = self.open_file(path)?;
        let at = || self.path().join(path);
        let before = rustix::fs::fstat(&file).at("look at", at())?;
        let mut hasher = Hasher::new();
        std::io::copy(&mut file, &mut hasher).at("read", at())?;
        let digest = hasher.finish();
        self.remember(path, &file, &before, digest);
        Ok(digest)
    }

    /// Remembers `digest` for the open file at `path`, if it still is what it was `before` it was read.
    pub fn remember(&self, path: &Path, file: impl AsFd, before: &Stat, digest: Digest) {
        let after = rustix::fs::fstat(file).map(|stat| Stamp::of(&stat));
        if after == Ok(Stamp::of(before)) {
            self.memory.put(path, Stamp::of(before), digest);
        }
    }

    /// Writes what was learnt about digests.
    pub fn save(&mut self) {
        self.memory.save();
    }

    pub(super) fn open_dir(&self, path: &Path) -> Result<OwnedFd, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        self.root.open_at(path, flags, Mode::empty())
    }

    pub(super) fn names(&self, dir: &OwnedFd, path: &Path) -> Result<Vec<OsString>, PathError> {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).at("list", self.path().join(path))? {
            let entry = entry.at("list", self.path().join(path))?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The entry as COPY sees it: owned by root, without xattrs; a socket is an
    /// empty file and devices are not there at all.
    fn to_entry(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        path: PathBuf,
        stat: &Stat,
    ) -> Result<Option<Entry>, PathError> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {
                let content = self.memory.get(&path, &Stamp::of(stat));
                EntryKind::File {
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                    content,
                }
            }
            FileType::Directory => EntryKind::Directory { opaque: false },
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())
                    .at("read the link", self.path().join(&path))?;
                EntryKind::Symlink(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
            }
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::File {
                size: 0,
                content: Some(Digest::of(b"")),
            },
            _ => return Ok(None),
        };
        Ok(Some(Entry {
            path,
            kind,
            mode: stat.st_mode & 0o7777,
            uid: 0,
            gid: 0,
            mtime: stat.st_mtime,
            xattrs: Vec::new(),
        }))
    }
}

/// The plain and `..` components of a path, last first.
fn reversed(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    });
    let mut parts: Vec<OsString> = parts.collect();
    parts.reverse();
    parts
}
