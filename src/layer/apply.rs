//! One entry after another onto a layer directory.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, linkat, makedev, mkdirat, mknodat, openat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::pack::{OPAQUE, WHITEOUT};
use super::resolve::{self, Found, Missing, Tree, is_whiteout};
use super::{Entry, EntryKind, Lower, TarReader, UnpackError, attributes, xattr};
use crate::fs::{At, PathError, remove_at};

/// A layer directory that is being filled.
///
/// One directory at a time is the current one. Its time is noted when it becomes
/// so and put back when it ceases to be, so that the times of directories come
/// out right without a list of them.
pub(super) struct Target<'a> {
    root: OwnedFd,
    path: &'a Path,
    lower: &'a dyn Lower,
    whiteouts: bool,
    current: Option<Current>,
    /// Files that only stand here because a hard link in this layer names them.
    copied_up: HashSet<PathBuf>,
    opaque_root: bool,
}

struct Current {
    path: PathBuf,
    fd: OwnedFd,
    mtime: Timespec,
}

impl<'a> Target<'a> {
    pub(super) fn open(
        path: &'a Path,
        lower: &'a dyn Lower,
        whiteouts: bool,
    ) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
        Ok(Self {
            root,
            path,
            lower,
            whiteouts,
            current: None,
            copied_up: HashSet::new(),
            opaque_root: false,
        })
    }

    /// Applies an entry, whose content `tar` reads if it is a regular file.
    pub(super) fn apply(
        &mut self,
        entry: &Entry,
        tar: &mut TarReader<'_>,
    ) -> Result<(), UnpackError> {
        let Some((parent, name)) = split(&entry.path) else {
            return self.apply_root(entry);
        };
        let bytes = name.as_bytes();
        if self.whiteouts && bytes.starts_with(WHITEOUT) {
            return match bytes {
                OPAQUE => self.apply_opaque(parent),
                // Notes of the old aufs driver to itself.
                _ if bytes[WHITEOUT.len()..].starts_with(WHITEOUT) => Ok(()),
                _ => self.whiteout(entry, parent, OsStr::from_bytes(&bytes[WHITEOUT.len()..])),
            };
        }
        if !self.copied_up.is_empty() {
            self.copied_up.remove(&entry.path);
        }
        match &entry.kind {
            EntryKind::File { .. } => self.file(entry, parent, name, tar),
            EntryKind::Directory { .. } => self.directory(entry, parent, name),
            EntryKind::Symlink(target) => {
                self.enter(parent)?;
                let dir = self.dir();
                let link = || Ok(symlinkat(target, dir, name)?);
                self.create(entry, name, &link)
            }
            EntryKind::HardLink(target) => self.hard_link(entry, target, tar),
            EntryKind::CharDevice { major: 0, minor: 0 } if self.whiteouts => {
                self.whiteout(entry, parent, name)
            }
            EntryKind::CharDevice { major: 0, minor: 0 } | EntryKind::Whiteout => Err(refuse(
                entry,
                "a device 0:0 is a whiteout, which only a layer can hold",
            )),
            EntryKind::CharDevice { major, minor } => {
                self.node(entry, FileType::CharacterDevice, *major, *minor)
            }
            EntryKind::BlockDevice { major, minor } => {
                self.node(entry, FileType::BlockDevice, *major, *minor)
            }
            EntryKind::Fifo => self.node(entry, FileType::Fifo, 0, 0),
        }
    }

    /// Ends the work; whether the layer hides everything beneath it.
    pub(super) fn finish(mut self) -> Result<bool, PathError> {
        self.leave()?;
        Ok(self.opaque_root)
    }

    fn apply_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if !entry.is_directory() {
            // Some archives begin with a nameless entry of another kind; nothing
            // can replace the root, so it says nothing.
            return Ok(());
        }
        self.leave()?;
        attributes::to_open(self.root.as_fd(), entry).at("change", self.path)?;
        Ok(())
    }

    fn apply_opaque(&mut self, parent: &Path) -> Result<(), UnpackError> {
        self.enter(parent)?;
        let dir = self.dir();
        xattr::set_opaque(dir).at("mark", self.path.join(parent))?;
        self.opaque_root |= parent.as_os_str().is_empty();
        Ok(())
    }

    /// Makes `parent` the current directory.
    fn enter(&mut self, parent: &Path) -> Result<(), UnpackError> {
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.path != parent)
        {
            self.leave()?;
            let found = self.tree().resolve(parent, Missing::Make)?;
            let Found::Here(fd) = found else {
                return Err(UnpackError::Entry {
                    path: parent.to_owned(),
                    why: "it cannot be made",
                });
            };
            let mtime = attributes::mtime(fd.as_fd()).at("read", self.path.join(parent))?;
            self.current = Some(Current {
                path: parent.to_owned(),
                fd,
                mtime,
            });
        }
        Ok(())
    }

    /// The current directory, or the root while there is none.
    fn dir(&self) -> BorrowedFd<'_> {
        match &self.current {
            Some(current) => current.fd.as_fd(),
            None => self.root.as_fd(),
        }
    }

    fn leave(&mut self) -> Result<(), PathError> {
        if let Some(current) = self.current.take() {
            attributes::set_mtime(current.fd.as_fd(), current.mtime)
                .at("set the time of", self.path.join(&current.path))?;
        }
        Ok(())
    }

    fn tree(&self) -> Tree<'_> {
        Tree {
            root: self.root.as_fd(),
            path: self.path,
            lower: self.lower,
            follow_lower: !self.whiteouts,
        }
    }

    fn file(
        &mut self,
        entry: &Entry,
        parent: &Path,
        name: &OsStr,
        content: &mut dyn BufRead,
    ) -> Result<(), UnpackError> {
        let path = self.path.join(&entry.path);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        self.enter(parent)?;
        let dir = self.dir();
        let open = || openat(dir, name, flags, attributes::plain_mode(entry));
        let file = match open() {
            Err(Errno::EXIST) => {
                clear(dir, name).at("remove", &path)?;
                open()
            }
            other => other,
        };
        let mut file = File::from(file.at("create", &path)?);
        loop {
            let bytes = content.fill_buf().map_err(UnpackError::Damaged)?;
            let length = bytes.len();
            if length == 0 {
                break;
            }
            file.write_all(bytes).at("write", &path)?;
            content.consume(length);
        }
        attributes::to_open(file.as_fd(), entry).at("change", &path)?;
        Ok(())
    }

    fn directory(&mut self, entry: &Entry, parent: &Path, name: &OsStr) -> Result<(), UnpackError> {
        let path = self.path.join(&entry.path);
        self.enter(parent)?;
        let dir = self.dir();
        let make = || mkdirat(dir, name, attributes::plain_mode(entry));
        let mut is_opaque = false;
        let mut is_old = false;
        match make() {
            Err(Errno::EXIST) => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).at("read", &path)?;
                is_old = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                if !is_old {
                    // What was here had hidden or removed what lies beneath.
                    is_opaque = true;
                    clear(dir, name).at("remove", &path)?;
                    make().at("create", &path)?;
                }
            }
            other => other.at("create", &path)?,
        }
        let fd = resolve::open(dir, Path::new(name)).at("open", &path)?;
        if is_old {
            xattr::clear(fd.as_fd()).at("change", &path)?;
        }
        if is_opaque {
            xattr::set_opaque(fd.as_fd()).at("mark", &path)?;
        }
        attributes::to_open(fd.as_fd(), entry).at("change", &path)?;
        Ok(())
    }

    fn node(
        &mut self,
        entry: &Entry,
        kind: FileType,
        major: u32,
        minor: u32,
    ) -> Result<(), UnpackError> {
        let Some((parent, name)) = split(&entry.path) else {
            return Ok(());
        };
        let mode = attributes::plain_mode(entry);
        self.enter(parent)?;
        let dir = self.dir();
        let make = || Ok(mknodat(dir, name, kind, mode, makedev(major, minor))?);
        match self.create(entry, name, &make) {
            // Without root's rights a device cannot be made; nor could it be used.
            Err(UnpackError::File(err))
                if err.source.kind() == io::ErrorKind::PermissionDenied
                    && kind != FileType::Fifo =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Makes what cannot be opened in the current directory, with its attributes.
    fn create(
        &self,
        entry: &Entry,
        name: &OsStr,
        make: &dyn Fn() -> io::Result<()>,
    ) -> Result<(), UnpackError> {
        let path = self.path.join(&entry.path);
        match make() {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                clear(self.dir(), name).at("remove", &path)?;
                make()
            }
            other => other,
        }
        .at("create", &path)?;
        let name = CString::new(name.as_bytes())
            .map_err(io::Error::from)
            .at("create", &path)?;
        attributes::to_named(self.dir(), &name, entry).at("change", &path)?;
        Ok(())
    }

    fn whiteout(&mut self, entry: &Entry, parent: &Path, name: &OsStr) -> Result<(), UnpackError> {
        if name.is_empty() || name == "." || name == ".." {
            return Err(refuse(entry, "it removes no name"));
        }
        let hidden = parent.join(name);
        let path = self.path.join(&hidden);
        if self.copied_up.remove(&hidden) {
            self.enter(parent)?;
            let dir = self.dir();
            unlinkat(dir, name, AtFlags::empty()).at("remove", &path)?;
        }
        self.enter(parent)?;
        let dir = self.dir();
        match mknodat(
            dir,
            name,
            FileType::CharacterDevice,
            Mode::empty(),
            makedev(0, 0),
        ) {
            Err(Errno::EXIST) => {
                let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).at("read", &path)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                    let fd = resolve::open(dir, Path::new(name)).at("open", &path)?;
                    xattr::set_opaque(fd.as_fd()).at("mark", &path)?;
                }
                Ok(())
            }
            other => Ok(other.at("create", &path)?),
        }
    }

    fn hard_link(
        &mut self,
        entry: &Entry,
        target: &Path,
        tar: &mut TarReader<'_>,
    ) -> Result<(), UnpackError> {
        let (Some((target_parent, target_name)), Some((parent, name))) =
            (split(target), split(&entry.path))
        else {
            return Err(refuse(entry, "it links to the root"));
        };
        if target == entry.path {
            return Err(refuse(entry, "it links to itself"));
        }
        let path = self.path.join(&entry.path);
        let from = if let Some(from) = self.link_source(entry, target_parent, target_name)? {
            from
        } else {
            self.copy_up(entry, target, tar)?;
            self.dir().try_clone_to_owned().at("open", &path)?
        };
        self.enter(parent)?;
        let dir = self.dir();
        let link = || linkat(&from, target_name, dir, name, AtFlags::empty());
        match link() {
            Err(Errno::EXIST) => {
                clear(dir, name).at("remove", &path)?;
                link()
            }
            other => other,
        }
        .at("link", &path)?;
        Ok(())
    }

    /// The directory of this layer in which the target of a hard link stands, if
    /// it does.
    fn link_source(
        &self,
        entry: &Entry,
        parent: &Path,
        name: &OsStr,
    ) -> Result<Option<OwnedFd>, UnpackError> {
        let Found::Here(fd) = self.tree().resolve(parent, Missing::Report)? else {
            return Ok(None);
        };
        match statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_whiteout(&stat) => Err(refuse(entry, "it links to nothing")),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                Err(refuse(entry, "it links to a directory"))
            }
            Ok(_) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(err) => Err(err)
                .at("read", self.path.join(parent).join(name))
                .map_err(Into::into),
        }
    }

    /// Brings the file `target` of the lower layers into this one, so that `link`
    /// can be a further name of it.
    fn copy_up(
        &mut self,
        link: &Entry,
        target: &Path,
        tar: &mut TarReader<'_>,
    ) -> Result<(), UnpackError> {
        let (path, hidden) = match self.tree().resolve(target, Missing::Report)? {
            Found::Here(_) => (target.to_owned(), false),
            Found::Gone { path, hidden } => (path, hidden),
        };
        let lower = if hidden {
            None
        } else {
            self.lower.entry(&path)?
        };
        let Some(mut lower) = lower else {
            return Err(refuse(link, "it links to nothing"));
        };
        target.clone_into(&mut lower.path);
        let Some((parent, name)) = split(target) else {
            return Ok(());
        };
        match &lower.kind {
            EntryKind::File { size, .. } => {
                tar.count_bytes(*size)?;
                let file = self.lower.open(&path)?;
                let mut content = io::BufReader::with_capacity(128 << 10, file);
                self.file(&lower, parent, name, &mut content)?;
            }
            EntryKind::Symlink(to) => {
                self.enter(parent)?;
                let dir = self.dir();
                let make = || Ok(symlinkat(to, dir, name)?);
                self.create(&lower, name, &make)?;
            }
            _ => return Err(refuse(link, "it links to what is no file")),
        }
        self.copied_up.insert(target.to_owned());
        Ok(())
    }
}

/// Removes whatever is called `name` in `dir`.
fn clear(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => remove_at(dir, name),
        other => Ok(other?),
    }
}

/// The parent and the name of a clean path; `None` for the root.
fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

fn refuse(entry: &Entry, why: &'static str) -> UnpackError {
    UnpackError::Entry {
        path: entry.path.clone(),
        why,
    }
}
