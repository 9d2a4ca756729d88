//! A fresh `/dev`.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, makedev};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::super::DeviceNode;
use super::super::failure::{During, Step};
use super::rootfs::{BOTH_EMPTY, CLONE_OPEN};
use super::shared::Memory;
use super::{place, standard};
use crate::sys::mount::{Attributes, set_attributes};

/// Devices that every sandbox has: name, major, minor.
///
/// Source: runtime-spec, config-linux, "Default Devices"; the kernel's
/// admin-guide/devices.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// Links of every `/dev`: name, target.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// Mounts `/dev` and what is mounted beneath it, and returns it. Nodes that the
/// sandbox makes itself work only with `devices`.
pub(super) fn mount(memory: &Memory, devices: bool) -> Step<OwnedFd> {
    let flags = MountFlags::NOSUID | MountFlags::STRICTATIME;
    standard::mount("/dev", "tmpfs", flags, Some(c"mode=755,size=65536k"))?;
    let dev = place::without_links("/dev").during("open `/dev`")?;
    for (name, major, minor) in DEVICES {
        let device = makedev(major, minor);
        let mode = Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, device)
            .during_with(|| format!("make `/dev/{name}`"))?;
        if !devices {
            // A mount of its own, which keeps working when the rest stops.
            let path = format!("/dev/{name}");
            rustix::mount::mount_bind(&path, &path).during_with(|| format!("mount `{path}`"))?;
        }
    }
    for (name, target) in LINKS {
        rustix::fs::symlinkat(target, &dev, name).during_with(|| format!("make `/dev/{name}`"))?;
    }
    let shm = (!matches!(memory, Memory::None)).then_some("shm");
    for name in ["pts", "mqueue"].into_iter().chain(shm) {
        rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))
            .during_with(|| format!("make `/dev/{name}`"))?;
    }
    if !devices {
        let no_devices = Attributes {
            set: libc::MOUNT_ATTR_NODEV,
            ..Attributes::default()
        };
        set_attributes(dev.as_fd(), &no_devices).during("restrict `/dev`")?;
    }
    mount_beneath(memory)?;
    Ok(dev)
}

/// `/dev` is ours and fresh: paths beneath it lead nowhere else.
fn mount_beneath(memory: &Memory) -> Step<()> {
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC;
    let safe = quiet | MountFlags::NODEV;
    let pts = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    rustix::mount::mount("devpts", "/dev/pts", "devpts", quiet, pts).during("mount `/dev/pts`")?;
    match memory {
        Memory::None => {}
        Memory::Own(bytes) => {
            let shm = CString::new(format!("mode=1777,size={bytes}"));
            let shm = shm.map_err(io::Error::from).during("mount `/dev/shm`")?;
            rustix::mount::mount("shm", "/dev/shm", "tmpfs", safe, shm.as_c_str())
                .during("mount `/dev/shm`")?;
        }
        Memory::Of(tree) => {
            let place = place::without_links("/dev/shm").during("open `/dev/shm`")?;
            rustix::mount::move_mount(tree.as_fd(), "", place.as_fd(), "", BOTH_EMPTY)
                .during("mount `/dev/shm`")?;
        }
    }
    match rustix::mount::mount("mqueue", "/dev/mqueue", "mqueue", safe, None) {
        // A kernel without message queues.
        Err(Errno::NODEV) => Ok(()),
        result => result.during("mount `/dev/mqueue`"),
    }
}

/// A device node of the host.
#[derive(Debug)]
pub(in crate::sandbox) struct Node {
    /// Its path beneath `/dev`.
    path: PathBuf,
    stat: Stat,
}

/// Every device node of the host but terminals and what each `/dev` has of its own.
pub(in crate::sandbox) fn of_host() -> Vec<Node> {
    const OWN: [&str; 6] = ["pts", "shm", "mqueue", "fd", "console", ".lxc"];
    let mut nodes = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(dir) = pending.pop() {
        // A device may go while it is listed.
        let entries = std::fs::read_dir(Path::new("/dev").join(&dir));
        for entry in entries.into_iter().flatten().flatten() {
            let path = dir.join(entry.file_name());
            if OWN.iter().any(|own| path == Path::new(own)) {
                continue;
            }
            let Ok(stat) = rustix::fs::lstat(entry.path()) else {
                continue;
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => pending.push(path),
                FileType::CharacterDevice | FileType::BlockDevice => {
                    nodes.push(Node { path, stat });
                }
                _ => {}
            }
        }
    }
    nodes
}

impl Node {
    /// Where it is in `/dev`, and what it is.
    pub(in crate::sandbox) fn facts(&self) -> (PathBuf, DeviceNode) {
        let stat = &self.stat;
        let is_block = FileType::from_raw_mode(stat.st_mode) == FileType::BlockDevice;
        let node = DeviceNode {
            kind: if is_block { 'b' } else { 'c' },
            major: rustix::fs::major(stat.st_rdev),
            minor: rustix::fs::minor(stat.st_rdev),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
        };
        (Path::new("/dev").join(&self.path), node)
    }
}

/// Makes these nodes, with their owners and modes, where there is none of that name.
pub(super) fn make(dev: &OwnedFd, nodes: &[Node]) -> Step<()> {
    for node in nodes {
        let step = || format!("make `/dev/{}`", node.path.display());
        let mut above = PathBuf::new();
        for part in node.path.parent().into_iter().flat_map(Path::components) {
            above.push(part);
            match rustix::fs::mkdirat(dev, &above, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(err) => return Err(err).during_with(step),
            }
        }
        let kind = FileType::from_raw_mode(node.stat.st_mode);
        let mode = Mode::from_raw_mode(node.stat.st_mode & 0o7777);
        match rustix::fs::mknodat(dev, &node.path, kind, mode, node.stat.st_rdev) {
            Ok(()) => {}
            Err(Errno::EXIST) => continue,
            Err(err) => return Err(err).during_with(step),
        }
        let owner = (
            Uid::from_raw(node.stat.st_uid),
            Gid::from_raw(node.stat.st_gid),
        );
        rustix::fs::chownat(
            dev,
            &node.path,
            Some(owner.0),
            Some(owner.1),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .during_with(step)?;
    }
    Ok(())
}

/// The working `/dev/null`.
pub(super) fn null(dev: &OwnedFd) -> Step<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dev, "null", flags, Mode::empty()).during("open `/dev/null`")
}

/// Makes `/dev/console` the terminal.
pub(super) fn console(dev: &OwnedFd, terminal: &OwnedFd) -> Step<()> {
    const STEP: &str = "make `/dev/console`";
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(dev, "console", flags, Mode::from_raw_mode(0o600)).during(STEP)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(dev, "console", flags, Mode::empty()).during(STEP)?;
    let tree = rustix::mount::open_tree(terminal.as_fd(), "", CLONE_OPEN).during(STEP)?;
    rustix::mount::move_mount(tree.as_fd(), "", target.as_fd(), "", BOTH_EMPTY).during(STEP)
}
