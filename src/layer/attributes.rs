//! Owner, mode, xattrs and time of an entry, onto what was just made.

use std::ffi::CStr;
use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat, fchmod,
    fchown, fstat, futimens, statat, utimensat,
};
use rustix::io::Errno;

use super::xattr::{self, Holder};
use super::{Entry, EntryKind};

/// The permission bits of an entry, for the call that makes it. The process'
/// mask may take some away and setuid comes only after the owner, so that
/// [`to_open`] looks again.
pub(super) fn plain_mode(entry: &Entry) -> Mode {
    Mode::from_raw_mode(entry.mode & 0o777)
}

/// Gives the open file or directory `fd` the attributes of `entry`.
///
/// What is right already is left alone: a look costs a tenth of a change. The
/// order matters, as a change of owner clears setuid bits and capabilities.
pub(super) fn to_open(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    let stat = fstat(fd)?;
    if is_other_owner(&stat, entry) {
        let (uid, gid) = owner(entry);
        forgive(fchown(fd, uid, gid))?;
    }
    if needs_mode(&stat, entry) {
        fchmod(fd, Mode::from_raw_mode(entry.mode))?;
    }
    if !entry.xattrs.is_empty() {
        xattr::write(Holder::Open(fd), &entry.xattrs)?;
    }
    Ok(futimens(fd, &times(entry.mtime))?)
}

/// Gives `name` in `dir`, which cannot be opened, the attributes of `entry`.
/// Links are not followed.
pub(super) fn to_named(dir: BorrowedFd<'_>, name: &CStr, entry: &Entry) -> io::Result<()> {
    let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if is_other_owner(&stat, entry) {
        let (uid, gid) = owner(entry);
        forgive(chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW))?;
    }
    if !matches!(entry.kind, EntryKind::Symlink(_)) {
        if needs_mode(&stat, entry) {
            chmodat(dir, name, Mode::from_raw_mode(entry.mode), AtFlags::empty())?;
        }
        if !entry.xattrs.is_empty() {
            xattr::write(Holder::Named(dir, name), &entry.xattrs)?;
        }
    }
    Ok(utimensat(
        dir,
        name,
        &times(entry.mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// The modification time of a directory, to be put back after changes in it.
pub(super) fn mtime(fd: BorrowedFd<'_>) -> io::Result<Timespec> {
    let stat = fstat(fd)?;
    Ok(Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: stat.st_mtime_nsec.try_into().unwrap_or(0),
    })
}

/// Sets the modification time of a directory.
pub(super) fn set_mtime(fd: BorrowedFd<'_>, mtime: Timespec) -> io::Result<()> {
    let times = Timestamps {
        last_modification: mtime,
        ..times(0)
    };
    Ok(futimens(fd, &times)?)
}

fn is_other_owner(stat: &Stat, entry: &Entry) -> bool {
    (stat.st_uid, stat.st_gid) != (entry.uid, entry.gid)
}

fn needs_mode(stat: &Stat, entry: &Entry) -> bool {
    stat.st_mode & 0o7777 != entry.mode || entry.mode > 0o777
}

fn owner(entry: &Entry) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(entry.uid)),
        Some(Gid::from_raw(entry.gid)),
    )
}

/// Without root's rights, or with a number that the user namespace does not
/// map, files stay their maker's.
fn forgive(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::INVAL) => Ok(()),
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        other => other,
    }
}

fn times(mtime: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime,
            tv_nsec: 0,
        },
    }
}
