//! `mount_setattr`, which rustix lacks.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What [`set_attributes`] changes. The default changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// The propagation, `MS_SHARED`, `MS_SLAVE` or `MS_PRIVATE`; 0 leaves it.
    pub propagation: u64,
    /// Whether the mounts beneath are changed too, all of them or none.
    pub recursive: bool,
}

/// Changes the mount that a descriptor stands for, attached or not.
///
/// Source: mount_setattr(2), Linux 5.12.
pub fn set_attributes(mount: BorrowedFd<'_>, attributes: &Attributes) -> io::Result<()> {
    let change = libc::mount_attr {
        attr_set: attributes.set,
        attr_clr: 0,
        propagation: attributes.propagation,
        userns_fd: 0,
    };
    let recursive = if attributes.recursive {
        libc::AT_RECURSIVE
    } else {
        0
    };
    // SAFETY: the path is an empty text, the structure lives through the call and
    // its size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
