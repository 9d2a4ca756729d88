//! The mounts of the specification.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::super::failure::{During, Step};
use super::super::{Mount, MountKind, Reach};
use super::rootfs::{BOTH_EMPTY, CLONE};
use super::{place, trees};
use crate::sys::mount::{Attributes, set_attributes};
use crate::sys::process::descriptor_path;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A mount that is ready to be attached.
#[derive(Debug)]
pub(in crate::sandbox) struct Source<'a> {
    tree: OwnedFd,
    target: &'a Path,
    is_directory: bool,
}

/// Opens what is to be mounted from the host, on the host's side of things; `None`
/// for what [`make_rest`] makes. With `devices`, device nodes in directories work.
pub(in crate::sandbox) fn open_sources(
    mounts: &[Mount],
    devices: bool,
) -> Step<Vec<Option<Source<'_>>>> {
    mounts
        .iter()
        .map(|mount| match &mount.kind {
            MountKind::Bind {
                source,
                propagation,
                reach,
            } => bind(mount, source, propagation.as_deref(), *reach, devices).map(Some),
            MountKind::Beneath { root, path } => {
                let step = || format!("mount `{}` of `{}`", path.display(), root.display());
                let root = rustix::fs::open(root, DIRECTORY, Mode::empty()).during_with(step)?;
                let tree = trees::part(&root, path).during_with(step)?;
                trees::restrict(&tree, mount.read_only, devices).during_with(step)?;
                source(mount, tree).map(Some)
            }
            MountKind::Tmpfs { .. }
            | MountKind::FileSystem { .. }
            | MountKind::Tree { .. }
            | MountKind::Device(_)
            | MountKind::File { .. } => Ok(None),
        })
        .collect()
}

/// Makes what comes from nowhere on the host, once mounts here are nobody else's.
/// `place` is an empty directory.
pub(in crate::sandbox) fn make_rest<'a>(
    mounts: &'a [Mount],
    sources: Vec<Option<Source<'a>>>,
    place: &Path,
    devices: bool,
) -> Step<Vec<Source<'a>>> {
    let make = |(mount, open): (&'a Mount, Option<Source<'a>>)| {
        if let Some(open) = open {
            return Ok(open);
        }
        let tree = match &mount.kind {
            MountKind::Bind { .. } | MountKind::Beneath { .. } => {
                Err(Errno::INVAL).during("open a source")?
            }
            MountKind::Tmpfs { options } => tmpfs(mount, options)?,
            MountKind::FileSystem {
                kind,
                device,
                options,
                path,
            } => {
                let whole = file_system(mount, kind, Some(device), options)?;
                if path.as_os_str().is_empty() {
                    whole
                } else {
                    trees::part_of(mount, &whole, path, place, devices)?
                }
            }
            MountKind::Device(node) => trees::device(mount, node, place)?,
            MountKind::Tree { overlay, path } => trees::tree(mount, overlay, path, place, devices)?,
            MountKind::File {
                content,
                mode,
                uid,
                gid,
            } => {
                let file = trees::File {
                    content,
                    mode: *mode,
                    uid: *uid,
                    gid: *gid,
                };
                trees::file(mount, &file, place)?
            }
        };
        source(mount, tree)
    };
    mounts.iter().zip(sources).map(make).collect()
}

/// What a tree is for its mount point.
fn source(mount: &Mount, tree: OwnedFd) -> Step<Source<'_>> {
    let stat = rustix::fs::fstat(&tree).during("look at a source")?;
    Ok(Source {
        tree,
        target: &mount.target,
        is_directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
    })
}

fn bind<'a>(
    mount: &'a Mount,
    source: &Path,
    propagation: Option<&str>,
    reach: Reach,
    devices: bool,
) -> Step<Source<'a>> {
    let step = || format!("bind `{}`", source.display());
    let beneath = match reach {
        Reach::Top => OpenTreeFlags::empty(),
        Reach::All | Reach::TopReadOnly => OpenTreeFlags::AT_RECURSIVE,
    };
    let tree = open_tree(CWD, source, CLONE | beneath).during_with(step)?;
    let stat = rustix::fs::fstat(&tree).during_with(step)?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let (propagation, recursive) = kind(propagation).during_with(step)?;
    let mut attributes = Attributes {
        recursive: true,
        ..Attributes::default()
    };
    if mount.read_only && reach != Reach::TopReadOnly {
        attributes.set |= libc::MOUNT_ATTR_RDONLY;
    }
    // A device node that is named itself is meant to work.
    if is_directory && !devices {
        attributes.set |= libc::MOUNT_ATTR_NODEV;
    }
    if recursive {
        attributes.propagation = propagation;
    }
    set_attributes(tree.as_fd(), &attributes).during_with(step)?;
    if mount.read_only && reach == Reach::TopReadOnly {
        let attributes = Attributes {
            set: libc::MOUNT_ATTR_RDONLY,
            ..Attributes::default()
        };
        set_attributes(tree.as_fd(), &attributes).during_with(step)?;
    }
    if !recursive {
        let attributes = Attributes {
            propagation,
            ..Attributes::default()
        };
        set_attributes(tree.as_fd(), &attributes).during_with(step)?;
    }
    Ok(Source {
        tree,
        target: &mount.target,
        is_directory,
    })
}

/// The propagation of that name, and whether it is meant for what is beneath too.
fn kind(name: Option<&str>) -> rustix::io::Result<(u64, bool)> {
    let name = name.unwrap_or("rprivate");
    let (name, recursive) = name
        .strip_prefix('r')
        .map_or((name, false), |name| (name, true));
    let flag = match name {
        "private" => libc::MS_PRIVATE,
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        _ => return Err(Errno::INVAL),
    };
    Ok((flag, recursive))
}

fn tmpfs(mount: &Mount, options: &str) -> Step<OwnedFd> {
    file_system(mount, "tmpfs", Some("tmpfs"), options)
}

/// Makes a mount of a file system with options in mount(8)'s spelling.
fn file_system(mount: &Mount, kind: &str, device: Option<&str>, options: &str) -> Step<OwnedFd> {
    let step = || format!("make a {kind} for `{}`", mount.target.display());
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).during_with(step)?;
    if let Some(device) = device {
        fsconfig_set_string(context.as_fd(), "source", device).during_with(step)?;
    }
    let mut attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    attributes.set(MountAttrFlags::MOUNT_ATTR_RDONLY, mount.read_only);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "noexec" => attributes |= MountAttrFlags::MOUNT_ATTR_NOEXEC,
            "exec" => attributes -= MountAttrFlags::MOUNT_ATTR_NOEXEC,
            "ro" => attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY,
            "noatime" => attributes |= MountAttrFlags::MOUNT_ATTR_NOATIME,
            "strictatime" => attributes |= MountAttrFlags::MOUNT_ATTR_STRICTATIME,
            "nodiratime" => attributes |= MountAttrFlags::MOUNT_ATTR_NODIRATIME,
            "rw" | "nosuid" | "nodev" | "relatime" => {}
            option => {
                let set = match option.split_once('=') {
                    Some((name, value)) => fsconfig_set_string(context.as_fd(), name, value),
                    None => fsconfig_set_flag(context.as_fd(), option),
                };
                set.during_with(|| format!("set the {kind} option `{option}`"))?;
            }
        }
    }
    fsconfig_create(context.as_fd()).during_with(step)?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).during_with(step)
}

impl Source<'_> {
    /// Mounts it at a path of the host's, which is made.
    pub(super) fn stage(self, at: &Path) -> Step<()> {
        let step = || format!("prepare the mount on `{}`", self.target.display());
        let made = if self.is_directory {
            std::fs::create_dir(at)
        } else {
            std::fs::File::create_new(at).map(drop)
        };
        made.during_with(step)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(self.tree.as_fd(), "", CWD, at, flags).during_with(step)
    }

    /// Mounts it on its target, which is made if missing.
    pub(in crate::sandbox) fn attach(self) -> Step<()> {
        let step = || format!("mount on `{}`", self.target.display());
        if !self
            .target
            .components()
            .any(|part| matches!(part, std::path::Component::Normal(_)))
        {
            return Err(Errno::INVAL).during_with(step);
        }
        let place = if self.is_directory {
            place::directory(self.target)
        } else {
            place::file(self.target)
        };
        let place =
            place.during_with(|| format!("open the mount point `{}`", self.target.display()))?;
        check_place(&self.tree, &place, self.target)?;
        move_mount(self.tree.as_fd(), "", place.as_fd(), "", BOTH_EMPTY).during_with(step)
    }
}

/// `statfs` magic of procfs. Source: linux/magic.h.
const PROC: u64 = 0x9fa0;
/// What may be shown otherwise than it is: it tells how large the machine is.
///
/// Source: runc `libcontainer/rootfs_linux.go`, what it lets be mounted in `/proc`.
const IN_PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
];

/// Refuses what would be mounted over processes' files, by a link too: what
/// confines a program is written there.
fn check_place(tree: &OwnedFd, place: &OwnedFd, target: &Path) -> Step<()> {
    let is_proc = |fd: &OwnedFd| -> rustix::io::Result<bool> {
        Ok(u64::try_from(rustix::fs::fstatfs(fd)?.f_type) == Ok(PROC))
    };
    let step = || format!("look at `{}`", target.display());
    if !is_proc(place).during_with(step)? {
        return Ok(());
    }
    let own = descriptor_path(place.as_raw_fd());
    let real = std::fs::read_link(own).during_with(step)?;
    if IN_PROC.iter().any(|known| real == Path::new(known)) {
        return Ok(());
    }
    let inside = real != Path::new("/proc");
    if !inside && is_proc(tree).during_with(step)? {
        return Ok(());
    }
    let why = if inside {
        "it is inside /proc"
    } else {
        "it is not of type proc"
    };
    Err(Errno::PERM)
        .during_with(|| format!("\"{}\" cannot be mounted because {why}", target.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn propagation_names_are_dockers() {
        assert_eq!(kind(None), Ok((libc::MS_PRIVATE, true)));
        assert_eq!(kind(Some("private")), Ok((libc::MS_PRIVATE, false)));
        assert_eq!(kind(Some("rslave")), Ok((libc::MS_SLAVE, true)));
        assert_eq!(kind(Some("shared")), Ok((libc::MS_SHARED, false)));
        assert_eq!(kind(Some("other")), Err(Errno::INVAL));
    }
}
