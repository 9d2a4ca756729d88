//! One entry of a layer, as both its tar and its directory show it.

use std::path::PathBuf;

use crate::oci::Digest;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file of `size` bytes; `content` is the digest of its bytes where it is known.
    File {
        /// Length in bytes.
        size: u64,
        /// Digest of the content, where it is known.
        content: Option<Digest>,
    },
    /// A directory; `opaque` hides everything beneath it in lower layers.
    Directory {
        /// Whether lower layers' children are hidden.
        opaque: bool,
    },
    /// A symbolic link with its target, bytes as they are.
    Symlink(PathBuf),
    /// A further name of an earlier regular file of the same layer, by its path in the layer.
    HardLink(PathBuf),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The name is removed from lower layers.
    Whiteout,
}

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the root, without a leading or trailing slash; empty for the root itself.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Modification time in whole seconds since 1970.
    pub mtime: i64,
    /// Extended attributes without overlayfs' own, sorted by name.
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, EntryKind::Directory { .. })
    }
}
