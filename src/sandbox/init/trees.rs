//! Mounts that are made here rather than taken from the host: paths inside
//! layers of their own, and files in memory.
//!
//! A part of a mount can only be taken while the mount is attached somewhere. So
//! each is attached for that moment where the root file system comes later, in
//! this process' own mount namespace, which must not tell the host any more.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, ResolveFlags, Uid, makedev, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsmount, fsopen, move_mount, open_tree,
};

use super::super::failure::{During, Step};
use super::super::{DeviceNode, Mount, Overlay, SecretBytes};
use super::overlay;
use super::rootfs::CLONE_OPEN;
use crate::sys::mount::{Attributes, set_attributes};

/// Takes the path inside the layers.
pub(super) fn tree(
    mount: &Mount,
    layers: &Overlay,
    path: &Path,
    place: &Path,
    devices: bool,
) -> Step<OwnedFd> {
    let step = || format!("mount `/{}`", path.display());
    let root = overlay::mount(layers, place, devices)?;
    let taken = part(&root, path).during_with(step);
    detach(place)?;
    let taken = taken?;
    restrict(&taken, mount.read_only, devices).during_with(step)?;
    Ok(taken)
}

/// Takes the path in a mount that is attached nowhere yet.
pub(super) fn part_of(
    mount: &Mount,
    whole: &OwnedFd,
    path: &Path,
    place: &Path,
    devices: bool,
) -> Step<OwnedFd> {
    let step = || format!("mount `/{}`", path.display());
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(whole.as_fd(), "", CWD, place, flags).during_with(step)?;
    let taken = part(whole, path).during_with(step);
    detach(place)?;
    let taken = taken?;
    restrict(&taken, mount.read_only, devices).during_with(step)?;
    Ok(taken)
}

/// A mount of the path beneath an open directory of an attached mount. Links are
/// followed, but never out of that directory.
pub(super) fn part(root: &OwnedFd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let inside = loop {
        match openat2(root, path, PLACE, Mode::empty(), resolve) {
            // A rename elsewhere raced with a `..` in the path.
            Err(Errno::AGAIN) => {}
            result => break result?,
        }
    };
    open_tree(inside.as_fd(), "", CLONE_OPEN)
}

/// Takes away what is not wanted of a new mount.
pub(super) fn restrict(tree: &OwnedFd, read_only: bool, devices: bool) -> std::io::Result<()> {
    let mut set = 0;
    if read_only {
        set |= libc::MOUNT_ATTR_RDONLY;
    }
    if !devices {
        set |= libc::MOUNT_ATTR_NODEV;
    }
    let attributes = Attributes {
        set,
        propagation: libc::MS_PRIVATE,
        ..Attributes::default()
    };
    set_attributes(tree.as_fd(), &attributes)
}

/// What a file in memory is.
pub(super) struct File<'a> {
    pub(super) content: &'a SecretBytes,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Makes the file.
pub(super) fn file(mount: &Mount, file: &File<'_>, place: &Path) -> Step<OwnedFd> {
    let step = || format!("make the file for `{}`", mount.target.display());
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).during_with(step)?;
    // Kernels before 6.4 do not know it.
    let _swapped = fsconfig_set_flag(context.as_fd(), "noswap");
    fsconfig_create(context.as_fd()).during_with(step)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes);
    let root = root.during_with(step)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root.as_fd(), "", CWD, place, flags).during_with(step)?;
    let taken = write(&root, file)
        .and_then(|()| Ok(rustix::fs::openat(&root, NAME, PLACE, Mode::empty())?))
        .and_then(|inside| Ok(open_tree(inside.as_fd(), "", CLONE_OPEN)?))
        .during_with(step);
    detach(place)?;
    let taken = taken?;
    restrict(&taken, mount.read_only, false).during_with(step)?;
    Ok(taken)
}

/// Makes the device node, in a file system of its own, where it works although
/// nothing else of the sandbox' files takes devices.
pub(super) fn device(mount: &Mount, node: &DeviceNode, place: &Path) -> Step<OwnedFd> {
    let step = || format!("make the device `{}`", mount.target.display());
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).during_with(step)?;
    fsconfig_create(context.as_fd()).during_with(step)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes);
    let root = root.during_with(step)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root.as_fd(), "", CWD, place, flags).during_with(step)?;
    let taken = make_node(&root, node)
        .and_then(|()| rustix::fs::openat(&root, NAME, PLACE, Mode::empty()))
        .and_then(|inside| open_tree(inside.as_fd(), "", CLONE_OPEN))
        .during_with(step);
    detach(place)?;
    taken
}

fn make_node(root: &OwnedFd, node: &DeviceNode) -> rustix::io::Result<()> {
    let kind = match node.kind {
        'b' => FileType::BlockDevice,
        'p' => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let number = if kind == FileType::Fifo {
        0
    } else {
        makedev(node.major, node.minor)
    };
    let mode = Mode::from_bits_truncate(node.mode);
    rustix::fs::mknodat(root, NAME, kind, mode, number)?;
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    rustix::fs::chownat(root, NAME, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    // The umask has taken bits away by now, and changing the owner some more.
    rustix::fs::chmodat(root, NAME, mode, AtFlags::empty())
}

/// Its name where nobody sees it.
const NAME: &str = "file";
const PLACE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

fn write(root: &OwnedFd, file: &File<'_>) -> std::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let made = rustix::fs::openat(root, NAME, flags, Mode::RUSR)?;
    let mut made = std::fs::File::from(made);
    made.write_all(&file.content.0)?;
    let (uid, gid) = (Uid::from_raw(file.uid), Gid::from_raw(file.gid));
    // The owner first: changing it takes bits of the mode away.
    rustix::fs::fchown(&made, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&made, Mode::from_bits_truncate(file.mode))?;
    Ok(())
}

fn detach(place: &Path) -> Step<()> {
    rustix::mount::unmount(place, UnmountFlags::DETACH)
        .during_with(|| format!("leave `{}`", place.display()))
}
