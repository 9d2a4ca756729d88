//! The root file system: overlay, standard mounts, devices, masks, pivot.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, makedev, mkdirat, mknodat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount,
    fsopen, mount, mount_change, mount_remount, move_mount, open_tree, unmount,
};

use super::init::Failure;
use super::{Mount, MountKind, Overlay, Spec};

type Step<T> = Result<T, Failure>;

/// Names what was tried when it fails.
pub(super) trait During<T> {
    fn during(self, step: &str) -> Step<T>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, step: &str) -> Step<T> {
        self.map_err(|err| Failure::step(step, &err.into()))
    }
}

/// Devices that every sandbox has: name, major, minor.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];
/// Links that every `/dev` has.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];
/// Paths that must not be seen. Source: Docker's default masked paths.
const MASKED: [&str; 13] = [
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
    "/sys/kernel/debug",
];
/// Paths that must not be written. Source: Docker's default read-only paths.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Mounts everything on `spec.rootfs.mountpoint` and makes it the root.
pub(super) fn enter(spec: &Spec) -> Step<()> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .during("make the mounts private")?;
    let root = &spec.rootfs.mountpoint;
    mount_overlay(&spec.rootfs.overlay, root)?;
    rustix::process::chdir(root).during("enter the root file system")?;
    standard(spec)?;
    for one in &spec.mounts {
        extra(one)?;
    }
    pivot()?;
    if spec.mask_paths {
        mask()?;
    }
    if spec.read_only {
        remount_read_only("/")?;
    }
    Ok(())
}

/// The overlay: by the new mount interface, which has no limit on the options'
/// length, or else by the old one.
fn mount_overlay(overlay: &Overlay, target: &Path) -> Step<()> {
    if overlay.volatile {
        // Left by a mount that was not unmounted cleanly; it would forbid this one.
        drop(std::fs::remove_dir_all(overlay.work.join("work/incompat")));
    }
    match new_overlay(overlay, target) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
            old_overlay(overlay, target)
        }
        other => other.during("mount the overlay"),
    }
}

fn new_overlay(overlay: &Overlay, target: &Path) -> Result<(), Errno> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for layer in &overlay.lower {
        fsconfig_set_string(context.as_fd(), "lowerdir+", layer.as_path())?;
    }
    fsconfig_set_string(context.as_fd(), "upperdir", overlay.upper.as_path())?;
    fsconfig_set_string(context.as_fd(), "workdir", overlay.work.as_path())?;
    for (name, value) in [
        ("index", "off"),
        ("metacopy", "off"),
        ("redirect_dir", "nofollow"),
        ("xino", "off"),
    ] {
        match fsconfig_set_string(context.as_fd(), name, value) {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(err) => return Err(err),
        }
    }
    if overlay.volatile {
        fsconfig_set_flag(context.as_fd(), "volatile")?;
    }
    fsconfig_create(context.as_fd())?;
    let mounted = fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    move_mount(
        mounted.as_fd(),
        "",
        CWD,
        target,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
}

fn old_overlay(overlay: &Overlay, target: &Path) -> Step<()> {
    let joined: Vec<String> = overlay
        .lower
        .iter()
        .map(|layer| layer.display().to_string())
        .collect();
    let volatile = if overlay.volatile { ",volatile" } else { "" };
    let options = format!(
        "lowerdir={},upperdir={},workdir={},index=off,metacopy=off{volatile}",
        joined.join(":"),
        overlay.upper.display(),
        overlay.work.display()
    );
    let options = CString::new(options)
        .map_err(io::Error::from)
        .during("mount the overlay")?;
    mount(
        "overlay",
        target,
        "overlay",
        MountFlags::empty(),
        options.as_c_str(),
    )
    .during("mount the overlay")
}

/// `/proc`, `/dev` and what is in it, `/sys`, cgroups. Relative to the new root.
fn standard(spec: &Spec) -> Step<()> {
    let safe = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    let at = |kind: &CStr, target: &str, flags: MountFlags, options: &CStr| {
        let place = beneath(Path::new(target), true)?;
        mount(kind, fd_path(&place), kind, flags, options).during(&format!("mount {target}"))
    };
    at(c"proc", "/proc", safe, c"")?;
    at(
        c"tmpfs",
        "/dev",
        MountFlags::NOSUID | MountFlags::STRICTATIME,
        c"mode=755,size=65536k",
    )?;
    devices()?;
    for dir in ["pts", "shm", "mqueue"] {
        mkdirat(CWD, format!("dev/{dir}"), Mode::from_raw_mode(0o755))
            .during(&format!("create /dev/{dir}"))?;
    }
    let pts = c"newinstance,ptmxmode=0666,mode=0620,gid=5";
    at(
        c"devpts",
        "/dev/pts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        pts,
    )?;
    let shm = CString::new(format!("mode=1777,size={}", spec.shm_bytes)).map_err(io::Error::from);
    at(
        c"tmpfs",
        "/dev/shm",
        safe,
        shm.during("mount /dev/shm")?.as_c_str(),
    )?;
    at(c"mqueue", "/dev/mqueue", safe, c"")?;
    sysfs(spec, safe)
}

fn devices() -> Step<()> {
    for (name, major, minor) in DEVICES {
        let path = format!("dev/{name}");
        let mode = Mode::from_raw_mode(0o666);
        mknodat(
            CWD,
            &path,
            FileType::CharacterDevice,
            mode,
            makedev(major, minor),
        )
        .during(&format!("create /{path}"))?;
    }
    for (target, name) in LINKS {
        rustix::fs::symlink(target, format!("dev/{name}"))
            .during(&format!("create /dev/{name}"))?;
    }
    Ok(())
}

fn sysfs(spec: &Spec, safe: MountFlags) -> Step<()> {
    let place = beneath(Path::new("/sys"), true)?;
    if spec.network == super::NetworkNamespace::Host {
        // A new sysfs needs a network namespace of our own; the host's is bound read-only.
        let tree = open_tree(
            CWD,
            "/sys",
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )
        .during("bind /sys")?;
        move_mount(tree.as_fd(), "", place.as_fd(), "", both_empty()).during("bind /sys")?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | safe;
        return mount_remount("sys", flags, "").during("make /sys read-only");
    }
    mount(
        c"sysfs",
        fd_path(&place),
        c"sysfs",
        safe | MountFlags::RDONLY,
        c"",
    )
    .during("mount /sys")?;
    cgroups(safe)
}

/// The cgroup tree, read-only: v2, or every v1 controller.
fn cgroups(safe: MountFlags) -> Step<()> {
    let flags = safe | MountFlags::RDONLY | MountFlags::RELATIME;
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return mount(c"cgroup2", "sys/fs/cgroup", c"cgroup2", flags, c"")
            .during("mount /sys/fs/cgroup");
    }
    mount(c"tmpfs", "sys/fs/cgroup", c"tmpfs", safe, c"mode=755").during("mount /sys/fs/cgroup")?;
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in mounts.lines() {
        let mut words = line.split(' ');
        let (Some(path), Some(kind), Some(options)) = (words.nth(1), words.next(), words.next())
        else {
            continue;
        };
        let Some(name) = path.strip_prefix("/sys/fs/cgroup/") else {
            continue;
        };
        if kind != "cgroup" || name.contains('/') {
            continue;
        }
        let wanted: Vec<&str> = options
            .split(',')
            .filter(|option| {
                !matches!(
                    *option,
                    "rw" | "ro" | "relatime" | "nosuid" | "nodev" | "noexec"
                )
            })
            .collect();
        let target = format!("sys/fs/cgroup/{name}");
        if mkdirat(CWD, &target, Mode::from_raw_mode(0o755)).is_err() {
            continue;
        }
        let options = CString::new(wanted.join(","))
            .map_err(io::Error::from)
            .during("mount a cgroup")?;
        // A controller that cannot be shown is left out, as Docker does.
        drop(mount(
            c"cgroup",
            target.as_str(),
            c"cgroup",
            flags,
            options.as_c_str(),
        ));
    }
    mount_remount("sys/fs/cgroup", MountFlags::RDONLY | safe, "mode=755")
        .during("make /sys/fs/cgroup read-only")
}

fn both_empty() -> MoveMountFlags {
    MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH
}

/// A mount of the specification.
fn extra(one: &Mount) -> Step<()> {
    let shown = one.target.display();
    match &one.kind {
        MountKind::Bind {
            source,
            propagation,
        } => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let step = format!("bind {} on {shown}", source.display());
            let tree = open_tree(CWD, source.as_path(), flags).during(&step)?;
            let is_dir = std::fs::metadata(source).during(&step)?.is_dir();
            let place = beneath(&one.target, is_dir)?;
            move_mount(tree.as_fd(), "", place.as_fd(), "", both_empty()).during(&step)?;
            let here = beneath(&one.target, is_dir)?;
            mount_change(fd_path(&here), propagation_flags(propagation.as_deref()))
                .during(&step)?;
            if one.read_only {
                remount_read_only(&fd_path(&here))?;
            }
            Ok(())
        }
        MountKind::Tmpfs { options } => {
            let step = format!("mount a tmpfs on {shown}");
            let place = beneath(&one.target, true)?;
            let options = CString::new(options.as_str())
                .map_err(io::Error::from)
                .during(&step)?;
            let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
            flags.set(MountFlags::RDONLY, one.read_only);
            mount(
                c"tmpfs",
                fd_path(&place),
                c"tmpfs",
                flags,
                options.as_c_str(),
            )
            .during(&step)
        }
    }
}

fn propagation_flags(name: Option<&str>) -> MountPropagationFlags {
    let recursive = MountPropagationFlags::REC;
    match name {
        Some("shared") => MountPropagationFlags::SHARED,
        Some("rshared") => MountPropagationFlags::SHARED | recursive,
        Some("slave") => MountPropagationFlags::DOWNSTREAM,
        Some("rslave") => MountPropagationFlags::DOWNSTREAM | recursive,
        Some("private") => MountPropagationFlags::PRIVATE,
        _ => MountPropagationFlags::PRIVATE | recursive,
    }
}

/// Makes the mount at `path` read-only, keeping what it forbids already.
fn remount_read_only(path: &str) -> Step<()> {
    let stat = rustix::fs::statvfs(path).during(&format!("look at {path}"))?;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    use rustix::fs::StatVfsMountFlags as Has;
    for (has, keep) in [
        (Has::NOSUID, MountFlags::NOSUID),
        (Has::NODEV, MountFlags::NODEV),
        (Has::NOEXEC, MountFlags::NOEXEC),
        (Has::NOATIME, MountFlags::NOATIME),
        (Has::NODIRATIME, MountFlags::NODIRATIME),
        (Has::RELATIME, MountFlags::RELATIME),
    ] {
        flags.set(keep, stat.f_flag.contains(has));
    }
    mount_remount(path, flags, "").during(&format!("make {path} read-only"))
}

/// Opens `target` inside the new root (the current directory), links followed
/// inside it; what is missing is made: a directory, or an empty file.
fn beneath(target: &Path, directory: bool) -> Step<OwnedFd> {
    let step = format!("open the mount point {}", target.display());
    let root = rustix::fs::open(
        ".",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .during(&step)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = |path: &Path| {
        openat2(
            &root,
            path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            resolve,
        )
    };
    match open(target) {
        Err(Errno::NOENT) => {}
        other => return other.during(&step),
    }
    let mut here = PathBuf::from("/");
    let mut parts = target.components().peekable();
    while let Some(part) = parts.next() {
        if matches!(part, std::path::Component::RootDir) {
            continue;
        }
        let parent = open(&here).during(&step)?;
        here.push(part);
        let last = parts.peek().is_none();
        let name = Path::new(part.as_os_str().as_bytes().as_ref_os());
        let made = if last && !directory {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        } else {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        };
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(err) => return Err(err).during(&step),
        }
    }
    open(target).during(&step)
}

/// A path that leads to an open descriptor, for calls that want a path.
fn fd_path(fd: &OwnedFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

trait AsRefOs {
    fn as_ref_os(&self) -> &std::ffi::OsStr;
}

impl AsRefOs for [u8] {
    fn as_ref_os(&self) -> &std::ffi::OsStr {
        std::ffi::OsStr::from_bytes(self)
    }
}

/// Makes the current directory the root and lets go of the old one.
fn pivot() -> Step<()> {
    rustix::process::pivot_root(".", ".").during("change the root")?;
    unmount(".", UnmountFlags::DETACH).during("leave the old root")?;
    rustix::process::chdir("/").during("enter the new root")
}

fn mask() -> Step<()> {
    for path in MASKED {
        let Ok(meta) = std::fs::symlink_metadata(path) else {
            continue;
        };
        let done = if meta.is_dir() {
            mount(c"tmpfs", path, c"tmpfs", MountFlags::RDONLY, c"size=0k")
        } else {
            rustix::mount::mount_bind("/dev/null", path)
        };
        done.during(&format!("mask {path}"))?;
    }
    for path in READ_ONLY {
        if std::fs::symlink_metadata(path).is_err() {
            continue;
        }
        rustix::mount::mount_bind(path, path).during(&format!("bind {path}"))?;
        remount_read_only(path)?;
    }
    Ok(())
}
