//! `/proc`, `/sys` and the cgroup tree.

use std::ffi::{CStr, CString};

use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};

use super::super::failure::{During, Step};
use super::place;
use crate::sys::cgroup::Hierarchies;

const SAFE: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Mounts a file system on a directory of the root. An image in which it is a
/// link is refused: programs would not find it where they look.
pub(super) fn mount(
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: Option<&CStr>,
) -> Step<()> {
    let step = || format!("mount `{target}`");
    match place::without_links(target) {
        Ok(place) if place::is_directory(&place).during_with(step)? => {}
        Ok(_) => return Err(Errno::NOTDIR).during_with(step),
        // An image may have removed it.
        Err(Errno::NOENT) => {
            rustix::fs::mkdirat(CWD, target, Mode::from_raw_mode(0o755)).during_with(step)?;
        }
        Err(err) => return Err(err).during_with(step),
    }
    // Nobody else is in this mount namespace, so it is still the same directory.
    rustix::mount::mount(kind, target, kind, flags, options).during_with(step)
}

/// Mounts `/proc`, of the own pid namespace.
pub(super) fn proc() -> Step<()> {
    mount("/proc", "proc", SAFE, None)
}

/// Mounts `/sys`, of the own network namespace, and the cgroup tree in it.
/// `mountinfo` is the host's.
pub(super) fn sys(mountinfo: &str, writable: bool) -> Step<()> {
    let mut flags = SAFE;
    flags.set(MountFlags::RDONLY, !writable);
    mount("/sys", "sysfs", flags, None)?;
    let mounts = Hierarchies::mounts(mountinfo);
    match mounts.as_slice() {
        // A host without cgroups, or with them elsewhere.
        [] => Ok(()),
        [(name, kind, _)] if name.is_empty() => {
            // A group of the sandbox's own cgroup namespace.
            tolerate(rustix::mount::mount(
                *kind,
                "/sys/fs/cgroup",
                *kind,
                flags,
                None,
            ))
            .during("mount `/sys/fs/cgroup`")
        }
        mounts => hierarchies(mounts, flags),
    }
}

/// Version 1: a directory for each hierarchy, and a link for each controller of
/// those that are mounted together.
fn hierarchies(mounts: &[(String, &str, String)], flags: MountFlags) -> Step<()> {
    const TOP: &str = "/sys/fs/cgroup";
    const STEP: &str = "mount `/sys/fs/cgroup`";
    rustix::mount::mount("tmpfs", TOP, "tmpfs", SAFE, c"mode=755,size=4k").during(STEP)?;
    for (name, kind, options) in mounts.iter().filter(|(name, ..)| !name.is_empty()) {
        let target = format!("{TOP}/{name}");
        rustix::fs::mkdirat(CWD, &target, Mode::from_raw_mode(0o755)).during(STEP)?;
        let Ok(options) = CString::new(options.as_str()) else {
            continue;
        };
        let options = (!options.is_empty()).then_some(options.as_c_str());
        tolerate(rustix::mount::mount(
            *kind,
            target.as_str(),
            *kind,
            flags,
            options,
        ))
        .during(STEP)?;
        for controller in name.split(',').filter(|controller| controller != name) {
            rustix::fs::symlinkat(name.as_str(), CWD, format!("{TOP}/{controller}"))
                .during(STEP)?;
        }
    }
    mount_remount(TOP, flags | MountFlags::BIND, "").during(STEP)
}

/// A hierarchy that cannot be shown is left out, as Docker does.
fn tolerate(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::PERM | Errno::INVAL | Errno::NODEV | Errno::BUSY | Errno::NOENT) => Ok(()),
        result => result,
    }
}
