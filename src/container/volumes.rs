//! Directories for volumes, and what an empty one starts with: the image's
//! content at its mount point.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    fsetxattr, futimens, makedev, mkdirat, mknodat, openat, symlinkat,
};

use super::Error;
use super::dir::Dir;
use super::record::AnonymousVolume;
use crate::fs::{At, Lock, PathError};
use crate::layer::{Entry, EntryKind, Lower};
use crate::snapshot::View;
use crate::store::Paths;

/// The directory of a container's anonymous volume; it goes with the container.
pub(super) fn anonymous(dir: &Dir, volume: &AnonymousVolume) -> PathBuf {
    dir.path("volumes").join(&volume.name)
}

/// The directory of a named volume.
pub(super) fn named(paths: &Paths, name: &str) -> PathBuf {
    paths.data().join("volumes").join(name).join("_data")
}

/// Makes the directory of an anonymous volume.
pub(super) fn make_anonymous(
    dir: &Dir,
    volume: &AnonymousVolume,
    image: &View,
    copy: bool,
) -> Result<(), Error> {
    let path = anonymous(dir, volume);
    std::fs::create_dir_all(&path).at("create", &path)?;
    if copy {
        fill(&path, image, &volume.target)?;
    }
    Ok(())
}

/// Makes the directory of a named volume, and fills it while it is empty. Two
/// containers that want a new volume at once fill it once.
pub(super) fn make_named(
    paths: &Paths,
    name: &str,
    image: &View,
    target: &str,
    copy: bool,
) -> Result<(), Error> {
    let path = named(paths, name);
    std::fs::create_dir_all(&path).at("create", &path)?;
    let lock = path.with_file_name("lock");
    let _filling = Lock::exclusive(&lock)?;
    let mut names = std::fs::read_dir(&path).at("list", &path)?;
    if copy && names.next().is_none() {
        fill(&path, image, target)?;
    }
    Ok(())
}

/// Copies the image's directory at `target` into the empty directory `path`,
/// with owners, modes, times and attributes.
fn fill(path: &Path, image: &View, target: &str) -> Result<(), Error> {
    let source = image.resolve(Path::new(target.trim_start_matches('/')), true)?;
    let Some(entry) = image.entry(&source)? else {
        return Ok(());
    };
    if !matches!(entry.kind, EntryKind::Directory { .. }) {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).at("open", path)?;
    copy_directory(image, &source, &fd, path)?;
    own(&fd, &entry).at("set the owner of", path)?;
    Ok(())
}

/// Another container may already write to this volume, so nothing is opened
/// here through a link, and no directory twice by name.
fn copy_directory(
    image: &View,
    source: &Path,
    fd: &OwnedFd,
    shown: &Path,
) -> Result<(), PathError> {
    for name in image.list(source)? {
        let from = source.join(&name);
        let Some(entry) = image.entry(&from)? else {
            continue;
        };
        let shown = shown.join(&name);
        copy_entry(image, &entry, &from, fd.as_fd(), &name, &shown)?;
    }
    Ok(())
}

fn copy_entry(
    image: &View,
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
            copy_directory(image, from, &fd, shown)?;
            return own(&fd, entry).at("set the owner of", shown);
        }
        EntryKind::File { .. } | EntryKind::HardLink(_) => {
            let flags =
                OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = openat(parent, name, flags, Mode::from(0o600)).at("create", shown)?;
            let mut file = std::fs::File::from(fd);
            io::copy(&mut image.open(from)?, &mut file).at("write", shown)?;
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
