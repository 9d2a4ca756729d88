//! Removing trees, however deep and however forbidding.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, chmodat, fchmod, openat, unlinkat};
use rustix::io::Errno;

use super::{At, Descent, PathError};

/// Removes `path` and everything beneath it, never following a link; a missing
/// path is fine. Directories that forbid it are first made writable.
///
/// Depth costs neither stack nor descriptors. A mount point beneath `path` is an
/// error and its content stays untouched.
pub fn remove_tree(path: &Path) -> Result<(), PathError> {
    let name = CString::new(path.as_os_str().as_bytes())
        .map_err(io::Error::from)
        .at("remove", path)?;
    remove(CWD, &name).at("remove", path)
}

/// Removes `name` in the directory `dir` and everything beneath it, as
/// [`remove_tree`] does. `name` is one path component.
pub fn remove_at(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_bytes())?;
    remove(dir.as_fd(), &name)
}

fn remove(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(err) => return Err(err.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let root = match openat(parent, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            openat(parent, name, flags, Mode::empty())
        }
        other => other,
    };
    match root {
        Ok(root) => empty(Descent::new(root))?,
        Err(Errno::NOENT) => return Ok(()),
        Err(err) => return Err(err.into()),
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(err) => Err(err.into()),
    }
}

/// Removes everything beneath the root of `descent`.
fn empty(mut descent: Descent) -> io::Result<()> {
    // One list of directories still to be emptied per level on the way down.
    let mut waiting = vec![sweep(&descent)?];
    while let Some(directories) = waiting.last_mut() {
        let Some(name) = directories.last() else {
            waiting.pop();
            descent.leave()?;
            if let Some(name) = waiting.last_mut().and_then(Vec::pop) {
                unlink(descent.dir(), &name, AtFlags::REMOVEDIR)?;
            }
            continue;
        };
        match enter(&mut descent, name) {
            Ok(()) => waiting.push(sweep(&descent)?),
            Err(err) if err.kind() == io::ErrorKind::NotFound => {
                directories.pop();
            }
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Removes what is no directory from the current one and returns the rest.
fn sweep(descent: &Descent) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    descent.names(&mut |name, is_directory| names.push((name.to_owned(), is_directory)))?;
    let mut directories = Vec::new();
    for (name, is_directory) in names {
        if is_directory {
            directories.push(name);
            continue;
        }
        match unlink(descent.dir(), &name, AtFlags::empty()) {
            Ok(()) => {}
            // Some file systems do not tell the kind in a listing.
            Err(Errno::ISDIR) => directories.push(name),
            Err(err) => return Err(err.into()),
        }
    }
    Ok(directories)
}

fn unlink(dir: BorrowedFd<'_>, name: &CStr, flags: AtFlags) -> rustix::io::Result<()> {
    let result = match unlinkat(dir, name, flags) {
        Err(Errno::ACCESS) => {
            fchmod(dir, Mode::RWXU)?;
            unlinkat(dir, name, flags)
        }
        other => other,
    };
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn enter(descent: &mut Descent, name: &CStr) -> io::Result<()> {
    match descent.enter(name) {
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
            // Only the owner gets here, and in a directory that is being removed.
            chmodat(descent.dir(), name, Mode::RWXU, AtFlags::empty())?;
            descent.enter(name)
        }
        other => other,
    }
}
