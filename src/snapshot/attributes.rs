//! Extended attributes of files in layer directories.
//!
//! Read through `/proc/self/fd`, which reaches any file below a descriptor
//! without following a link and without opening it for reading: descriptors
//! opened for the path alone refuse the calls that take a descriptor.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];
/// Fits what nearly every file has; the kernel's own bound is 64 KiB.
const USUAL_LENGTH: usize = 512;

/// Whether a directory, opened for its path, hides what lies beneath it.
pub(super) fn is_opaque(directory: impl AsFd) -> Result<bool, Errno> {
    opaque(&path_of(directory, OsStr::new(".")))
}

/// Whether the directory of a layer hides every layer beneath it.
pub(super) fn is_opaque_root(layer: &Path) -> Result<bool, Errno> {
    opaque(&CString::new(layer.as_os_str().as_bytes()).unwrap_or_default())
}

fn opaque(path: &CStr) -> Result<bool, Errno> {
    let names = read(|buffer| rustix::fs::llistxattr(path, buffer))?;
    for name in OPAQUE {
        let listed = names.split(|byte| *byte == 0).any(|n| n == name.as_bytes());
        if listed && read(|buffer| rustix::fs::lgetxattr(path, name, buffer))? == b"y" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The attributes of `name` in the directory that belong to a layer, sorted by
/// name; `.` is the directory itself.
pub(super) fn of(directory: impl AsFd, name: &OsStr) -> Result<Vec<(String, Vec<u8>)>, Errno> {
    let path = path_of(directory, name);
    let names = read(|buffer| rustix::fs::llistxattr(&path, buffer))?;
    let mut found = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Some(name) = CStr::from_bytes_with_nul(name)
            .ok()
            .and_then(|name| name.to_str().ok())
        else {
            continue;
        };
        if !is_kept(name) {
            continue;
        }
        match read(|buffer| rustix::fs::lgetxattr(&path, name, buffer)) {
            Ok(value) => found.push((name.to_owned(), value)),
            // Listed, but not for us to read.
            Err(Errno::NODATA) => {}
            Err(err) => return Err(err),
        }
    }
    found.sort();
    Ok(found)
}

/// The same that enter a layer's tar: no labels of the host's security modules,
/// and nothing of overlayfs' own.
fn is_kept(name: &str) -> bool {
    match name {
        "security.capability" | "system.posix_acl_access" | "system.posix_acl_default" => true,
        _ => name.starts_with("user.") && !name.starts_with("user.overlay."),
    }
}

fn path_of(directory: impl AsFd, name: &OsStr) -> CString {
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    CString::new(path).unwrap_or_default()
}

fn read(call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buffer = vec![0; USUAL_LENGTH];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(Errno::RANGE) if buffer.len() < 1 << 17 => buffer.resize(buffer.len() * 4, 0),
            Err(err) => return Err(err),
        }
    }
}
