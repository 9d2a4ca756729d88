//! The root file system: overlay, standard mounts, those of the specification, masks.

use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::super::Spec;
use super::super::failure::{During, Step};
use super::shared::Memory;
use super::stdio::{Open, Streams, open_ptmx};
use super::{Work, devices, masks, mounts, overlay, standard, sysctl};
use crate::sys::mount::{Attributes, set_attributes};

/// `CAP_SYS_ADMIN` of linux/capability.h.
const SYS_ADMIN: u8 = 21;

/// From a descriptor's own place to a descriptor's own place.
pub(super) const BOTH_EMPTY: MoveMountFlags =
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH.union(MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH);
/// A copy of the mount that a descriptor is in, from that place on.
pub(super) const CLONE: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);
/// The same, of the place itself that is open.
pub(super) const CLONE_OPEN: OpenTreeFlags = CLONE.union(OpenTreeFlags::AT_EMPTY_PATH);

/// Makes the sandbox's root file system and makes it the root of this process,
/// which is alone in its mount namespace. Opens the terminal on the way.
/// With `devices`, device nodes work that are made inside.
pub(super) fn enter<'a>(
    spec: &Spec,
    streams: Streams<'a>,
    memory: &Memory,
    devices: bool,
    work: &Work,
) -> Step<Open<'a>> {
    // Every mode below is meant as it is written.
    rustix::process::umask(rustix::fs::Mode::empty());
    let trusted = spec.capabilities.contains(&SYS_ADMIN) || devices;
    let host_devices = if spec.particulars.host_devices {
        devices::of_host()
    } else {
        Vec::new()
    };
    // What is on the host is opened while it can be seen and still hears of what
    // is mounted there, which some of it is meant to.
    let sources = mounts::open_sources(&spec.mounts, trusted)?;
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).during("make the mounts private")?;
    let place = spec.rootfs.mountpoint.as_path();
    let sources = mounts::make_rest(&spec.mounts, sources, place, trusted)?;
    let root = overlay::mount(&spec.rootfs.overlay, place, trusted)?;
    pivot(&root)?;
    standard::proc()?;
    let dev = devices::mount(memory, trusted)?;
    devices::make(&dev, &host_devices)?;
    let streams = streams.open(|| open_ptmx(dev.as_fd(), "pts/ptmx"), spec.terminal, work)?;
    if let Open::Terminal(terminal) = &streams {
        devices::console(&dev, terminal)?;
    }
    let writable = spec.capabilities.contains(&SYS_ADMIN) && !spec.mask_paths;
    standard::sys(&mountinfo, writable)?;
    sysctl::set(spec)?;
    // Before a volume can be mounted over it.
    let null = devices::null(&dev)?;
    for source in sources {
        source.attach()?;
    }
    if spec.mask_paths {
        masks::apply(&null)?;
    }
    Ok(streams)
}

/// Makes the open directory, a mount, the root, and forgets the old one.
///
/// Source: pivot_root(2), "pivot_root(".", ".")".
pub(in crate::sandbox) fn pivot(root: &OwnedFd) -> Step<()> {
    const STEP: &str = "change the root";
    rustix::process::fchdir(root).during(STEP)?;
    rustix::process::pivot_root(".", ".").during(STEP)?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).during("leave the host's root")?;
    rustix::process::chdir("/").during(STEP)
}

/// Makes the root file system read-only, but not what is mounted in it.
pub(super) fn make_read_only() -> Step<()> {
    const STEP: &str = "make the root file system read-only";
    let root = super::place::without_links("/").during(STEP)?;
    let read_only = Attributes {
        set: libc::MOUNT_ATTR_RDONLY,
        ..Attributes::default()
    };
    set_attributes(root.as_fd(), &read_only).during(STEP)
}
