//! Files out of a tree into a directory that is no layer.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    fsetxattr, futimens, makedev, mkdirat, mknodat, openat, symlinkat,
};

use super::View;
use crate::fs::{At as _, PathError};
use crate::layer::{Entry, EntryKind, Lower as _};

/// Copies the directory at `source` (links not followed) into the empty directory
/// `target`, with owners, modes, times and attributes, those of the directory
/// itself included. Hard links become files of their own.
///
/// # Errors
/// `ENOENT` when there is no directory at `source`.
pub fn copy_directory(view: &View, source: &Path, target: &Path) -> Result<(), PathError> {
    let entry = view
        .entry(source)?
        .ok_or(rustix::io::Errno::NOENT)
        .at("copy", source)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(target, flags, Mode::empty()).at("open", target)?;
    copy_beneath(view, source, &fd, target)?;
    own(&fd, &entry).at("set the owner of", target)
}

/// Somebody else may already write to that directory, so nothing is opened
/// here through a link, and no directory twice by name.
fn copy_beneath(view: &View, source: &Path, fd: &OwnedFd, shown: &Path) -> Result<(), PathError> {
    for name in view.list(source)? {
        let from = source.join(&name);
        let Some(entry) = view.entry(&from)? else {
            continue;
        };
        let shown = shown.join(&name);
        copy_entry(view, &entry, &from, fd.as_fd(), &name, &shown)?;
    }
    Ok(())
}

fn copy_entry(
    view: &View,
    entry: &Entry,
    from: &Path,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    shown: &Path,
) -> Result<(), PathError> {
    let node = |kind, device| mknodat(parent, name, kind, Mode::from(0o600), device);
    let special = match &entry.kind {
        EntryKind::Directory { .. } => {
            mkdirat(parent, name, Mode::from(0o700)).at("create", shown)?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(parent, name, flags, Mode::empty()).at("open", shown)?;
            copy_beneath(view, from, &fd, shown)?;
            return own(&fd, entry).at("set the owner of", shown);
        }
        EntryKind::File { .. } | EntryKind::HardLink(_) => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(parent, name, flags, Mode::from(0o600)).at("create", shown)?;
            let mut file = std::fs::File::from(fd);
            io::copy(&mut view.open(from)?, &mut file).at("write", shown)?;
            return own(&OwnedFd::from(file), entry).at("set the owner of", shown);
        }
        EntryKind::Symlink(target) => symlinkat(target.as_path(), parent, name),
        EntryKind::CharDevice { major, minor } => {
            node(FileType::CharacterDevice, makedev(*major, *minor))
        }
        EntryKind::BlockDevice { major, minor } => {
            node(FileType::BlockDevice, makedev(*major, *minor))
        }
        EntryKind::Fifo => node(FileType::Fifo, 0),
        EntryKind::Whiteout => return Ok(()),
    };
    special.at("create", shown)?;
    chownat(
        parent,
        name,
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
        AtFlags::SYMLINK_NOFOLLOW,
    )
    .at("set the owner of", shown)?;
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        let mode = Mode::from_bits_truncate(entry.mode);
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty()).at("set the mode of", shown)?;
    }
    Ok(())
}

/// The owner comes first: changing it takes set-user-ID bits away.
fn own(fd: &OwnedFd, entry: &Entry) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchown(fd, Some(uid), Some(gid))?;
    fchmod(fd, Mode::from_bits_truncate(entry.mode))?;
    for (name, value) in &entry.xattrs {
        fsetxattr(fd, name.as_str(), value, rustix::fs::XattrFlags::empty())?;
    }
    let time = Timespec {
        tv_sec: entry.mtime,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(futimens(fd, &times)?)
}
