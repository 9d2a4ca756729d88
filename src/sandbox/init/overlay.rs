//! Overlays: the one that becomes the root file system, and those mounted in it.
//!
//! Source: the kernel's filesystems/overlayfs.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::super::Overlay;
use super::super::failure::{During, Failure, Step};
use crate::sys::process::descriptor_path;

/// Longest value of `fsconfig`, its end mark included. Source: fs/fsopen.c.
const VALUE_LIMIT: usize = 256;
/// What is fixed, so that a layer means the same on every kernel: nothing but
/// plain files and whiteouts is ever written to it.
const OPTIONS: [(&str, &str); 4] = [
    ("index", "off"),
    ("metacopy", "off"),
    ("redirect_dir", "nofollow"),
    ("xino", "off"),
];

/// Mounts it on the directory `place` and returns its root. With `devices`, device
/// nodes in it work.
pub(in crate::sandbox) fn mount(overlay: &Overlay, place: &Path, devices: bool) -> Step<OwnedFd> {
    if overlay.volatile {
        // Left by a mount that ended with its machine or its kernel's patience; it
        // would forbid this one. What is in the upper layer is not trusted more for it.
        let _absent = std::fs::remove_dir_all(overlay.work.join("work/incompat"));
    }
    match mount_new(overlay, place, devices)? {
        New::Mounted(root) => Ok(root),
        New::Unknown => mount_old(overlay, place, devices),
        New::Refused(refusal) => mount_old(overlay, place, devices).map_err(|_| refusal),
    }
}

/// What came of the newer interface.
enum New {
    /// The root of the overlay.
    Mounted(OwnedFd),
    /// The kernel has none that takes layers one by one (before 6.8).
    Unknown,
    /// The kernel refused all options together: one whose overlayfs gets them as
    /// one text (before 6.5) takes every single one unseen.
    Refused(Failure),
}

/// By the interface without a limit on the length of all options together.
fn mount_new(overlay: &Overlay, place: &Path, devices: bool) -> Step<New> {
    const STEP: &str = "mount the overlay";
    let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
        Err(Errno::NOSYS | Errno::PERM) => return Ok(New::Unknown),
        result => result.during(STEP)?,
    };
    let explained = |err: Errno| explain(&context, err);
    // What `/proc/mounts` calls it.
    fsconfig_set_string(context.as_fd(), "source", "overlay").map_err(explained)?;
    let mut aliases = Vec::new();
    for (at, layer) in overlay.lower.iter().enumerate() {
        let name = alias(layer, &mut aliases)?;
        match fsconfig_set_string(context.as_fd(), "lowerdir+", &name) {
            Err(Errno::INVAL) if at == 0 => return Ok(New::Unknown),
            result => result.map_err(explained)?,
        }
    }
    for (option, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        let name = alias(path, &mut aliases)?;
        fsconfig_set_string(context.as_fd(), option, &name).map_err(explained)?;
    }
    for (option, value) in OPTIONS {
        fsconfig_set_string(context.as_fd(), option, value).map_err(explained)?;
    }
    if overlay.volatile {
        fsconfig_set_flag(context.as_fd(), "volatile").map_err(explained)?;
    }
    match fsconfig_create(context.as_fd()) {
        Err(Errno::INVAL) => return Ok(New::Refused(explained(Errno::INVAL))),
        result => result.map_err(explained)?,
    }
    let mut attributes = MountAttrFlags::empty();
    attributes.set(MountAttrFlags::MOUNT_ATTR_NODEV, !devices);
    let root = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).during(STEP)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root.as_fd(), "", CWD, place, flags)
        .during_with(|| format!("mount the overlay on `{}`", place.display()))?;
    Ok(New::Mounted(root))
}

/// The failure with what the kernel has written to the context's log.
fn explain(context: &OwnedFd, err: Errno) -> Failure {
    let mut step = "mount the overlay".to_owned();
    let mut line = [0; 256];
    while let Ok(length) = rustix::io::read(context, &mut line) {
        let text = String::from_utf8_lossy(line.get(..length).unwrap_or_default());
        // `e overlay: ...` is an error, the other letters are warnings and hints.
        step.push_str(": ");
        step.push_str(text.get(2..).unwrap_or_default().trim_end());
        if length == 0 || step.len() > 1024 {
            break;
        }
    }
    Failure::step(step, &err.into())
}

/// The path itself, or a short one of an open descriptor where the path is too
/// long or has characters that overlayfs would take for its own.
fn alias(path: &Path, open: &mut Vec<OwnedFd>) -> Step<PathBuf> {
    let bytes = path.as_os_str().as_bytes();
    let special = |byte: &u8| matches!(byte, b'\\' | b':' | b',');
    if bytes.len() < VALUE_LIMIT && !bytes.iter().any(special) {
        return Ok(path.to_owned());
    }
    let fd = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .during_with(|| format!("open the layer `{}`", path.display()))?;
    let short = descriptor_path(fd.as_raw_fd());
    open.push(fd);
    Ok(short.into())
}

/// By `mount`, whose options share one page: from the directory that all layers
/// have in common, their paths are short.
fn mount_old(overlay: &Overlay, place: &Path, devices: bool) -> Step<OwnedFd> {
    const STEP: &str = "mount the overlay";
    let common = common_parent(&overlay.lower);
    rustix::process::chdir(&common).during_with(|| format!("enter `{}`", common.display()))?;
    let options = options(overlay, &common)
        .map_err(io::Error::from)
        .during(STEP)?;
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::NODEV, !devices);
    rustix::mount::mount("overlay", place, "overlay", flags, options.as_c_str())
        .during_with(|| format!("mount the overlay on `{}`", place.display()))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(place, flags, Mode::empty()).during(STEP)
}

fn options(overlay: &Overlay, common: &Path) -> Result<CString, std::ffi::NulError> {
    let mut text = b"lowerdir=".to_vec();
    for (at, layer) in overlay.lower.iter().enumerate() {
        if at > 0 {
            text.push(b':');
        }
        let short = layer.strip_prefix(common).unwrap_or(layer);
        let short = if short.as_os_str().is_empty() {
            Path::new(".")
        } else {
            short
        };
        text.extend(escaped(short.as_os_str()));
    }
    for (option, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        text.extend(format!(",{option}=").into_bytes());
        text.extend(escaped(path.as_os_str()));
    }
    for (option, value) in OPTIONS {
        text.extend(format!(",{option}={value}").into_bytes());
    }
    if overlay.volatile {
        text.extend(b",volatile");
    }
    CString::new(text)
}

fn escaped(path: &OsStr) -> Vec<u8> {
    let mut text = Vec::new();
    for byte in path.as_bytes() {
        if matches!(byte, b'\\' | b':' | b',') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text
}

/// The deepest directory that is above all of them.
fn common_parent(paths: &[PathBuf]) -> PathBuf {
    let mut common = paths
        .first()
        .and_then(|path| path.parent())
        .unwrap_or(Path::new("/"))
        .to_owned();
    for path in paths {
        while !path.starts_with(&common) {
            common.pop();
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_options_are_short_and_escaped() {
        let overlay = Overlay {
            lower: vec!["/s/12/fs".into(), "/s/1:,\\/fs".into(), "/s".into()],
            upper: "/s/13,".into(),
            work: "/w".into(),
            volatile: true,
        };
        let common = common_parent(&overlay.lower);
        assert_eq!(common, Path::new("/s"));
        let options = options(&overlay, &common).unwrap();
        assert_eq!(
            options.to_str().unwrap(),
            "lowerdir=12/fs:1\\:\\,\\\\/fs:.,upperdir=/s/13\\,,workdir=/w,\
             index=off,metacopy=off,redirect_dir=nofollow,xino=off,volatile"
        );
    }

    #[test]
    fn long_and_odd_paths_get_an_alias() {
        let mut open = Vec::new();
        assert_eq!(alias(Path::new("/"), &mut open).unwrap(), Path::new("/"));
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("a:b");
        std::fs::create_dir(&odd).unwrap();
        let short = alias(&odd, &mut open).unwrap();
        assert!(short.starts_with("/proc/self/fd"), "{}", short.display());
        assert_eq!(open.len(), 1);
    }
}
