//! Places inside the root file system, opened and made without leaving it.
//!
//! The process' root is the sandbox's already, so no link leads out; magic links
//! of `/proc`, which would, are never followed. Volumes may be changed by other
//! sandboxes meanwhile, which is why places are descriptors, not paths.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// Most links on a way. Source: the kernel's own limit, path_resolution(7).
const LINKS: usize = 40;
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What is made when the place is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Directory,
    File,
}

/// Opens a directory.
pub(super) fn existing_directory(path: &Path) -> Result<OwnedFd> {
    open(path, OFlags::DIRECTORY, ResolveFlags::empty())
}

/// Opens a directory; what is missing of the path is made, mode 0755.
pub(super) fn directory(path: &Path) -> Result<OwnedFd> {
    match existing_directory(path) {
        Err(Errno::NOENT) => walk(path, Missing::Directory),
        result => result,
    }
}

/// Opens whatever is there; what is missing is made, at the end an empty file.
pub(super) fn file(path: &Path) -> Result<OwnedFd> {
    match open(path, OFlags::empty(), ResolveFlags::empty()) {
        Err(Errno::NOENT) => walk(path, Missing::File),
        result => result,
    }
}

/// Opens a place on whose path there is no link.
pub(super) fn without_links(path: &str) -> Result<OwnedFd> {
    open(Path::new(path), OFlags::NOFOLLOW, ResolveFlags::NO_SYMLINKS)
}

fn open(path: &Path, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
    let path = Path::new("/").join(path);
    let resolve = resolve | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(CWD, &path, PLACE | flags, Mode::empty(), resolve)
}

/// Goes along the path component by component and makes what is missing. Links
/// are read, also dangling ones: what they name is what is missing.
fn walk(path: &Path, missing: Missing) -> Result<OwnedFd> {
    let root = || rustix::fs::open("/", PLACE | OFlags::DIRECTORY, Mode::empty());
    let mut above: Vec<OwnedFd> = Vec::new();
    let mut here = root()?;
    let mut ahead: VecDeque<OsString> = components(path.as_os_str());
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            here = above.pop().map_or_else(root, Ok)?;
            continue;
        }
        let last = ahead.is_empty();
        let next = match rustix::fs::openat(&here, &name, PLACE | OFlags::NOFOLLOW, Mode::empty()) {
            Err(Errno::NOENT) => {
                let as_file = last && missing == Missing::File;
                make(&here, &name, as_file)?;
                let flags = PLACE | OFlags::NOFOLLOW;
                rustix::fs::openat(&here, &name, flags, Mode::empty())?
            }
            result => result?,
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&next)?.st_mode) {
            FileType::Directory => above.push(std::mem::replace(&mut here, next)),
            FileType::Symlink => {
                links += 1;
                if links > LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&next, "", Vec::new())?;
                if target.as_bytes().starts_with(b"/") {
                    above.clear();
                    here = root()?;
                }
                let mut target = components(OsStr::from_bytes(target.as_bytes()));
                target.append(&mut ahead);
                ahead = target;
            }
            _ if last => return Ok(next),
            _ => return Err(Errno::NOTDIR),
        }
    }
    Ok(here)
}

fn make(dir: &OwnedFd, name: &OsStr, as_file: bool) -> Result<()> {
    let made = if as_file {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    } else {
        rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))
    };
    match made {
        // Another sandbox made it in a volume at the same time.
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

/// The components but for `.` and empty ones; `..` stays.
fn components(path: &OsStr) -> VecDeque<OsString> {
    path.as_bytes()
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(|name| OsStr::from_bytes(name).to_owned())
        .collect()
}

/// Whether an open place is a directory.
pub(super) fn is_directory(place: &OwnedFd) -> Result<bool> {
    let stat = rustix::fs::statat(place.as_fd(), "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}
