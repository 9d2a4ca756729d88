//! Opening paths strictly beneath a directory.
//!
//! Source: openat2(2).

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::{At, PathError};

/// A directory that foreign paths cannot leave.
///
/// Absolute paths and absolute links start at this directory, `..` stops at it,
/// and links of the `/proc/self/fd` kind are refused.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the directory `path`, which is trusted.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let fd = rustix::fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .at("open", path)?;
        Ok(Self {
            fd,
            path: path.to_owned(),
        })
    }

    /// Where the directory is; for messages and for handing to the kernel whole.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens `path` beneath the root, following links inside it; the empty path
    /// is the root itself.
    pub fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, PathError> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let is_root = path.as_os_str().is_empty();
        let path = if is_root { Path::new(".") } else { path };
        loop {
            // The kernel answers EAGAIN when a rename elsewhere raced with `..`.
            match openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                other => return other.at("open", self.path.join(strip(path))),
            }
        }
    }

    /// Opens a file beneath the root for reading, following links inside it.
    /// Never blocks on a FIFO.
    pub fn open_file(&self, path: &Path) -> Result<File, PathError> {
        self.open_at(
            path,
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
            Mode::empty(),
        )
        .map(File::from)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn strip(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}
