//! Finding and making the directories that an archive's paths lead through.
//!
//! The usual case is one `openat2` that refuses links. Where that does not lead
//! to a directory, the path is walked component by component, and only then are
//! links followed and missing directories made.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, mkdirat, openat2, readlinkat, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::{Entry, EntryKind, Lower, UnpackError, attributes, xattr};
use crate::fs::{At, PathError};

/// Longest path handed to the kernel at once; its own limit is 4,096 with the NUL.
const PATH: usize = 4_000;
/// Most links followed in one path, as the kernel's own limit.
const LINKS: usize = 40;

/// What to do where there is no directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make it.
    Make,
    /// Say so.
    Report,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) enum Found {
    /// To a directory of this layer.
    Here(OwnedFd),
    /// To nothing in this layer.
    Gone {
        /// The path with the links of this layer followed.
        path: PathBuf,
        /// Whether this layer hides what lies beneath.
        hidden: bool,
    },
}

/// The tree in which paths are looked up.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a> {
    /// The layer directory.
    pub root: BorrowedFd<'a>,
    /// Its path, for messages.
    pub path: &'a Path,
    /// What lies beneath.
    pub lower: &'a dyn Lower,
    /// Whether links of the lower layers are followed too.
    pub follow_lower: bool,
}

/// A directory on the way.
struct Place {
    fd: OwnedFd,
    path: PathBuf,
    hidden: bool,
}

/// Opens the directory `dir` beneath `root`; links are refused.
pub(super) fn open(root: BorrowedFd<'_>, dir: &Path) -> rustix::io::Result<OwnedFd> {
    if dir.as_os_str().len() <= PATH {
        return open_child(root, dir.as_os_str());
    }
    let mut fd = open_child(root, OsStr::new(""))?;
    let mut piece = PathBuf::new();
    for component in dir {
        if piece.as_os_str().len() + component.len() >= PATH {
            fd = open_child(fd.as_fd(), piece.as_os_str())?;
            piece.clear();
        }
        piece.push(component);
    }
    open_child(fd.as_fd(), piece.as_os_str())
}

fn open_child(dir: BorrowedFd<'_>, path: &OsStr) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() {
        OsStr::new(".")
    } else {
        path
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(dir, path, flags, Mode::empty(), resolve)
}

/// Whether this is overlayfs' spelling of a whiteout.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

impl Tree<'_> {
    /// Looks up the directory `dir`, following links inside the layer.
    pub(super) fn resolve(self, dir: &Path, missing: Missing) -> Result<Found, UnpackError> {
        match open(self.root, dir) {
            Ok(fd) => return Ok(Found::Here(fd)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(err) => return Err(err).at("open", self.path.join(dir)).map_err(Into::into),
        }
        let mut place = self.top()?;
        let mut todo: Vec<OsString> = components(dir);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                // A link led here; what it climbs over is looked up again.
                place.path.pop();
                todo.extend(components(&place.path));
                place = self.top()?;
                continue;
            }
            let path = place.path.join(&name);
            let link = match open_child(place.fd.as_fd(), &name) {
                Ok(fd) => {
                    place = self.place(fd, path, place.hidden)?;
                    continue;
                }
                Err(Errno::NOENT) => match self.lower_entry(&place, &path)? {
                    Some(Entry {
                        kind: EntryKind::Symlink(target),
                        ..
                    }) if self.follow_lower => target,
                    _ if missing == Missing::Report => return Ok(gone(path, todo, place.hidden)),
                    lower => {
                        let fd = self.make(&place, &name, lower.as_ref())?;
                        place = self.place(fd, path, place.hidden)?;
                        continue;
                    }
                },
                Err(Errno::NOTDIR | Errno::LOOP) => match self.obstacle(&place, &name)? {
                    Obstacle::Link(target) => target,
                    Obstacle::Whiteout if missing == Missing::Report => {
                        return Ok(gone(path, todo, true));
                    }
                    Obstacle::Whiteout => {
                        let fd = self.replace_whiteout(&place, &name)?;
                        place = self.place(fd, path, true)?;
                        continue;
                    }
                    Obstacle::Other => {
                        return Err(UnpackError::Entry {
                            path: dir.to_owned(),
                            why: "it is used as a directory, but is none",
                        });
                    }
                },
                Err(err) => {
                    return Err(err)
                        .at("open", self.path.join(path))
                        .map_err(Into::into);
                }
            };
            links += 1;
            if links > LINKS {
                return Err(UnpackError::Entry {
                    path: dir.to_owned(),
                    why: "too many symbolic links in its path",
                });
            }
            if link.is_absolute() {
                place = self.top()?;
            }
            todo.extend(components(&link));
        }
        Ok(Found::Here(place.fd))
    }

    fn top(self) -> Result<Place, PathError> {
        let fd = open_child(self.root, OsStr::new("")).at("open", self.path)?;
        self.place(fd, PathBuf::new(), false)
    }

    fn place(self, fd: OwnedFd, path: PathBuf, hidden: bool) -> Result<Place, PathError> {
        let hidden = hidden || xattr::is_opaque(fd.as_fd()).at("read", self.path.join(&path))?;
        Ok(Place { fd, path, hidden })
    }

    fn lower_entry(self, place: &Place, path: &Path) -> Result<Option<Entry>, PathError> {
        if place.hidden {
            return Ok(None);
        }
        self.lower.entry(path)
    }

    /// Makes a directory that the archive leaves out.
    fn make(
        self,
        place: &Place,
        name: &OsStr,
        lower: Option<&Entry>,
    ) -> Result<OwnedFd, PathError> {
        let path = place.path.join(name);
        let plain = Entry {
            path: path.clone(),
            kind: EntryKind::Directory { opaque: false },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            xattrs: Vec::new(),
        };
        let entry = lower.filter(|entry| entry.is_directory()).unwrap_or(&plain);
        let make = || -> io::Result<OwnedFd> {
            let mtime = attributes::mtime(place.fd.as_fd())?;
            mkdirat(&place.fd, name, attributes::plain_mode(entry))?;
            let fd = open_child(place.fd.as_fd(), name)?;
            attributes::to_open(fd.as_fd(), entry)?;
            attributes::set_mtime(place.fd.as_fd(), mtime)?;
            Ok(fd)
        };
        make().at("create", self.path.join(path))
    }

    /// Makes a directory where the archive had removed one.
    fn replace_whiteout(self, place: &Place, name: &OsStr) -> Result<OwnedFd, PathError> {
        let path = self.path.join(&place.path).join(name);
        unlinkat(&place.fd, name, AtFlags::empty()).at("remove", &path)?;
        let fd = self.make(place, name, None)?;
        let mtime = attributes::mtime(fd.as_fd()).at("read", &path)?;
        xattr::set_opaque(fd.as_fd())
            .and_then(|()| attributes::set_mtime(fd.as_fd(), mtime))
            .at("mark", &path)?;
        Ok(fd)
    }

    fn obstacle(self, place: &Place, name: &OsStr) -> Result<Obstacle, PathError> {
        let path = self.path.join(&place.path).join(name);
        let stat = statat(&place.fd, name, AtFlags::SYMLINK_NOFOLLOW).at("read", &path)?;
        if is_whiteout(&stat) {
            return Ok(Obstacle::Whiteout);
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(Obstacle::Other);
        }
        let target = readlinkat(&place.fd, name, Vec::new()).at("read", &path)?;
        Ok(Obstacle::Link(
            OsString::from_vec(target.into_bytes()).into(),
        ))
    }
}

/// What stands where a directory should be.
enum Obstacle {
    Link(PathBuf),
    Whiteout,
    Other,
}

/// The components of a path, last first; `.` and the root are nothing.
fn components(path: &Path) -> Vec<OsString> {
    let mut names: Vec<_> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    names.reverse();
    names
}

fn gone(mut path: PathBuf, mut todo: Vec<OsString>, hidden: bool) -> Found {
    // Above nothing there is nothing to climb to.
    let hidden = hidden || todo.iter().any(|name| name.as_bytes() == b"..");
    while let Some(name) = todo.pop() {
        path.push(name);
    }
    Found::Gone { path, hidden }
}
