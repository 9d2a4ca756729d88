//! What of `/proc` and `/sys` is hidden or read-only.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsmount, fsopen,
    move_mount, open_tree,
};

use super::super::failure::{During, Step};
use super::place;
use super::rootfs::{BOTH_EMPTY, CLONE_OPEN};
use crate::sys::mount::{Attributes, set_attributes};

/// Paths that are not to be seen. Source: moby, oci/defaults.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
/// Each processor's heat, which tells what the neighbours compute.
const PROCESSORS: &str = "/sys/devices/system/cpu";
const HEAT: &str = "thermal_throttle";
/// Paths that are not to be written. Source: moby, oci/defaults.
pub(in crate::sandbox) const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// The paths that are not to be seen on this machine.
pub(in crate::sandbox) fn masked() -> Vec<String> {
    let mut paths = MASKED.map(str::to_owned).to_vec();
    let entries = std::fs::read_dir(PROCESSORS)
        .into_iter()
        .flatten()
        .flatten();
    let heat = entries.map(|entry| entry.path().join(HEAT));
    let known = heat.filter(|path| path.exists());
    paths.extend(known.map(|path| path.display().to_string()));
    paths.sort_unstable();
    paths
}

/// Hides and protects them. `null` is the working `/dev/null`.
pub(super) fn apply(null: &OwnedFd) -> Step<()> {
    for path in READ_ONLY {
        let step = || format!("make `{path}` read-only");
        if let Some(place) = find(path).during_with(step)? {
            protect(&place).during_with(step)?;
        }
    }
    let mut mask = Mask { null, empty: None };
    for path in MASKED {
        mask.hide(path)?;
    }
    // Processors either have it or not, all of them.
    if find(&format!("{PROCESSORS}/cpu0/{HEAT}")).is_ok_and(|found| found.is_some()) {
        let entries = std::fs::read_dir(PROCESSORS).during("list the processors")?;
        for entry in entries.flatten() {
            mask.hide(&format!("{}/{HEAT}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Opens a path; nothing when this kernel has no such thing. A link on the way
/// is an error: it would be hidden in the wrong place.
fn find(path: &str) -> rustix::io::Result<Option<OwnedFd>> {
    match place::without_links(path) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(err) => Err(err),
    }
}

fn protect(place: &OwnedFd) -> std::io::Result<()> {
    let tree = open_tree(place.as_fd(), "", CLONE_OPEN | OpenTreeFlags::AT_RECURSIVE)?;
    let read_only = Attributes {
        set: libc::MOUNT_ATTR_RDONLY,
        recursive: true,
        ..Attributes::default()
    };
    set_attributes(tree.as_fd(), &read_only)?;
    move_mount(tree.as_fd(), "", place.as_fd(), "", BOTH_EMPTY)?;
    Ok(())
}

/// What is seen instead: `/dev/null` for a file, an empty directory for a directory.
struct Mask<'a> {
    null: &'a OwnedFd,
    /// The mount of the first directory that was hidden.
    empty: Option<OwnedFd>,
}

impl Mask<'_> {
    fn hide(&mut self, path: &str) -> Step<()> {
        let step = || format!("hide `{path}`");
        let Some(place) = find(path).during_with(step)? else {
            return Ok(());
        };
        let is_directory = place::is_directory(&place).during_with(step)?;
        self.cover(&place, is_directory).during_with(step)
    }

    fn cover(&mut self, place: &OwnedFd, is_directory: bool) -> rustix::io::Result<()> {
        let onto = |tree: BorrowedFd<'_>| move_mount(tree, "", place.as_fd(), "", BOTH_EMPTY);
        let source = match (is_directory, &self.empty) {
            (false, _) => self.null.as_fd(),
            (true, Some(empty)) => empty.as_fd(),
            (true, None) => {
                let empty = empty()?;
                onto(empty.as_fd())?;
                self.empty = Some(empty);
                return Ok(());
            }
        };
        onto(open_tree(source, "", CLONE_OPEN)?.as_fd())
    }
}

/// An empty file system, one for all directories: the first is hidden by the mount
/// itself, the others by copies of it. Before Linux 6.15 only a mount that is
/// attached can be copied.
fn empty() -> rustix::io::Result<OwnedFd> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
