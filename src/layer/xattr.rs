//! Extended attributes: which belong to a layer, and which are overlayfs' own.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr, lsetxattr,
};
use rustix::io::Errno;

/// Most bytes that the kernel gives for a list of names, or for a value.
///
/// Source: linux/limits.h, `XATTR_LIST_MAX` and `XATTR_SIZE_MAX`.
const LARGEST: usize = 64 << 10;

/// The names that overlayfs gives its marks: as root, and with `userxattr`.
const OVERLAY: [&str; 2] = ["trusted.overlay.", "user.overlay."];

/// Whether the attribute belongs to a layer.
///
/// A user's attributes, file capabilities and access lists do. Labels of the
/// host's security modules do not: they would make a layer depend on the host.
pub(super) fn is_kept(name: &str) -> bool {
    match name {
        "security.capability" | "system.posix_acl_access" | "system.posix_acl_default" => true,
        _ => name.starts_with("user.") && !name.starts_with(OVERLAY[1]),
    }
}

/// What the attributes of a file say.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Those that belong to a layer, sorted by name.
    pub kept: Vec<(String, Vec<u8>)>,
    /// Whether it is a directory that hides what lies beneath.
    pub opaque: bool,
    /// Whether it is an empty file that stands for a whiteout.
    pub whiteout: bool,
}

/// A file whose attributes are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    /// An open file or directory.
    Open(BorrowedFd<'a>),
    /// A device or FIFO, which is better not opened, in an open directory.
    Named(BorrowedFd<'a>, &'a CStr),
}

/// Reads attributes, with buffers that serve for many files.
#[derive(Debug)]
pub(super) struct Reader {
    names: Box<[u8]>,
    value: Box<[u8]>,
}

impl Reader {
    pub(super) fn new() -> Self {
        let buffer = || vec![0; LARGEST].into_boxed_slice();
        Self {
            names: buffer(),
            value: buffer(),
        }
    }

    /// Reads what a layer needs to know of the attributes of `holder`.
    pub(super) fn read(&mut self, holder: Holder<'_>) -> io::Result<Found> {
        let mut found = Found::default();
        let length = match holder.list(&mut self.names) {
            Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(found),
            other => other?,
        };
        for name in self.names[..length].split_inclusive(|&byte| byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            let Ok(text) = name.to_str() else {
                continue;
            };
            let mark = OVERLAY.iter().find_map(|prefix| text.strip_prefix(prefix));
            if mark.is_none() && !is_kept(text) {
                continue;
            }
            let value = match holder.get(name, &mut self.value) {
                Ok(length) => &self.value[..length],
                // Removed since it was listed.
                Err(Errno::NODATA) => continue,
                Err(err) => return Err(err.into()),
            };
            match mark {
                // `x` would mean that whiteouts in it are attributes of files.
                Some("opaque") => found.opaque |= value == b"y",
                Some("whiteout") => found.whiteout = true,
                Some(_) => {}
                None => found.kept.push((text.to_owned(), value.to_vec())),
            }
        }
        found.kept.sort_unstable();
        Ok(found)
    }
}

impl Holder<'_> {
    fn list(self, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(fd) => flistxattr(fd, buffer),
            Self::Named(dir, name) => llistxattr(path(dir, name)?, buffer),
        }
    }

    fn get(self, attribute: &CStr, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(fd) => fgetxattr(fd, attribute, buffer),
            Self::Named(dir, name) => lgetxattr(path(dir, name)?, attribute, buffer),
        }
    }

    fn set(self, attribute: &str, value: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => fsetxattr(fd, attribute, value, XattrFlags::empty()),
            Self::Named(dir, name) => {
                lsetxattr(path(dir, name)?, attribute, value, XattrFlags::empty())
            }
        }
    }
}

/// Sets those of `attributes` that belong to a layer. What the file system or
/// the user's rights do not allow is left out, as Docker does.
pub(super) fn write(holder: Holder<'_>, attributes: &[(String, Vec<u8>)]) -> io::Result<()> {
    for (name, value) in attributes.iter().filter(|(name, _)| is_kept(name)) {
        match holder.set(name, value) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(())
}

/// Removes every attribute of the directory `fd` that belongs to a layer.
pub(super) fn clear(fd: BorrowedFd<'_>) -> io::Result<()> {
    for (name, _) in Reader::new().read(Holder::Open(fd))?.kept {
        fremovexattr(fd, name)?;
    }
    Ok(())
}

/// Marks the directory `fd` as hiding what lies beneath it.
pub(super) fn set_opaque(fd: BorrowedFd<'_>) -> io::Result<()> {
    let set = |prefix: &str| fsetxattr(fd, format!("{prefix}opaque"), b"y", XattrFlags::empty());
    match set(OVERLAY[0]) {
        Err(Errno::PERM) => Ok(set(OVERLAY[1])?),
        other => Ok(other?),
    }
}

/// Whether the directory `fd` is marked by [`set_opaque`].
pub(super) fn is_opaque(fd: BorrowedFd<'_>) -> io::Result<bool> {
    for prefix in OVERLAY {
        let mut value = [0; 8];
        match fgetxattr(fd, format!("{prefix}opaque"), &mut value[..]) {
            Ok(length) if value[..length] == *b"y" => return Ok(true),
            Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => {}
            Err(err) => return Err(err.into()),
        }
    }
    Ok(false)
}

/// A path to `name` in the open directory `dir`, for calls that take no
/// descriptor; its length does not depend on how deep the directory lies.
fn path(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).map_err(|_| Errno::INVAL)
}
