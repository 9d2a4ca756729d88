//! One entry of the new layer on disk: made, moved or linked, and given its metadata.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, Uid};

use super::place::Plan;
use super::write::Job;
use crate::fs::{At, PathError};
use crate::layer::{Entry, EntryKind};
use crate::oci::Digest;

/// Links the file of an earlier layer that is the same in every respect;
/// whether there was one.
pub(super) fn link_earlier(
    entry: &Entry,
    digest: Option<Digest>,
    job: &Job<'_>,
    target: &Path,
) -> bool {
    let (Some(earlier), Some(digest)) = (job.earlier, digest) else {
        return false;
    };
    if !earlier.files.holds(entry, digest) {
        return false;
    }
    let source = earlier.dir.join(&entry.path);
    // A full or vanished inode is no misfortune: the file is copied then.
    rustix::fs::linkat(CWD, &source, CWD, target, AtFlags::empty()).is_ok()
}

/// Moves a file that nobody needs where it is to where the layer has it; whether
/// that could be done. `stat` is what it is, `file` the file itself.
pub(super) fn move_in(
    entry: &Entry,
    from: Option<PathBuf>,
    (file, stat): (&File, &Stat),
    target: &Path,
) -> Result<bool, PathError> {
    // One with several names may be wanted as several files.
    let Some(from) = from.filter(|_| stat.st_nlink == 1) else {
        return Ok(false);
    };
    if rustix::fs::renameat(CWD, &from, CWD, target).is_err() {
        return Ok(false);
    }
    set_metadata(entry, file, target, 0o777)?;
    Ok(true)
}

pub(super) fn create(entry: &Entry, target: &Path, umask: u32) -> Result<File, PathError> {
    let mode = entry.mode & 0o777 & !umask;
    File::options()
        .write(true)
        .create_new(true)
        .mode(mode | 0o200)
        .open(target)
        .at("create", target)
}

/// Owner before mode: changing the owner clears setuid.
pub(super) fn set_metadata(
    entry: &Entry,
    file: &File,
    target: &Path,
    umask: u32,
) -> Result<(), PathError> {
    if (entry.uid, entry.gid) != (0, 0) || umask == 0o777 || !is_root() {
        let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
        rustix::fs::fchown(file, Some(uid), Some(gid)).at("change the owner of", target)?;
    }
    if entry.mode & !0o777 != 0 || entry.mode & umask != 0 || entry.mode & 0o200 == 0 {
        rustix::fs::fchmod(file, Mode::from_raw_mode(entry.mode))
            .at("change the mode of", target)?;
    }
    for (name, value) in &entry.xattrs {
        rustix::fs::fsetxattr(file, name.as_str(), value, rustix::fs::XattrFlags::empty())
            .at("set an attribute of", target)?;
    }
    rustix::fs::futimens(file, &times(entry.mtime)).at("set the time of", target)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

pub(super) fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok())
        .unwrap_or(0o777)
}

/// Makes the directories, parents first, open to us until they are finished.
pub(super) fn make_directories(plan: &Plan, target: &Path) -> Result<(), PathError> {
    for (path, placed) in plan {
        if matches!(placed.entry.kind, EntryKind::Directory { .. }) {
            let dir = target.join(path);
            rustix::fs::mkdir(&dir, Mode::from_raw_mode(0o700)).at("create", &dir)?;
        }
    }
    Ok(())
}

/// Gives the directories their metadata, children first, so that the times stay.
pub(super) fn finish_directories(plan: &Plan, target: &Path) -> Result<(), PathError> {
    for (path, placed) in plan.iter().rev() {
        if matches!(placed.entry.kind, EntryKind::Directory { .. }) {
            let dir = target.join(path);
            let file = File::open(&dir).at("open", &dir)?;
            set_metadata(&placed.entry, &file, &dir, 0o777)?;
        }
    }
    Ok(())
}

/// Makes what is no regular file and no directory.
pub(super) fn make_special(
    entry: &Entry,
    kind: &EntryKind,
    job: &Job<'_>,
    target: &Path,
) -> Result<(), PathError> {
    use rustix::fs::{FileType, makedev, mknodat};
    let node = |kind: FileType, device: u64| {
        mknodat(CWD, target, kind, Mode::from_raw_mode(entry.mode), device).at("create", target)
    };
    match kind {
        EntryKind::File { .. } | EntryKind::Directory { .. } => return Ok(()),
        EntryKind::Symlink(link) => {
            rustix::fs::symlink(link, target).at("create", target)?;
        }
        EntryKind::HardLink(first) => {
            let first: PathBuf = job.target.join(first);
            return rustix::fs::linkat(CWD, &first, CWD, target, AtFlags::empty())
                .at("link", target);
        }
        EntryKind::CharDevice { major, minor } => {
            node(FileType::CharacterDevice, makedev(*major, *minor))?;
        }
        EntryKind::BlockDevice { major, minor } => {
            node(FileType::BlockDevice, makedev(*major, *minor))?;
        }
        EntryKind::Fifo => node(FileType::Fifo, 0)?,
        EntryKind::Whiteout => node(FileType::CharacterDevice, 0)?,
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    rustix::fs::chownat(CWD, target, Some(uid), Some(gid), flags)
        .at("change the owner of", target)?;
    if !matches!(kind, EntryKind::Symlink(_)) {
        rustix::fs::chmod(target, Mode::from_raw_mode(entry.mode))
            .at("change the mode of", target)?;
    }
    rustix::fs::utimensat(CWD, target, &times(entry.mtime), flags).at("set the time of", target)
}
