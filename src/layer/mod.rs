//! Between a directory tree and a layer's bytes.
//!
//! A layer on disk is a directory in overlayfs spelling: a removed entry is a
//! character device 0:0 and a directory that hides what lies beneath it carries
//! the xattr `trusted.overlay.opaque=y` (`user.overlay.opaque` when rootless).
//! In a tar it is OCI spelling: `.wh.NAME` and `.wh..wh..opq`.
//!
//! The tar of a tree is a pure function of the tree, so a diff ID can be made
//! again from the directory at any time.

mod apply;
mod attributes;
mod blocks;
mod codec;
mod compress;
mod entry;
mod gzip;
mod header;
mod pack;
mod read;
mod records;
mod resolve;
mod stream;
mod unpack;
mod walk;
mod xattr;

#[cfg(test)]
mod tests;

pub use codec::Codec;
pub use compress::{Compression, decompress};
pub use entry::{Entry, EntryKind};
pub use pack::{PackOptions, Packed, Packer, pack_tree};
pub use read::TarReader;
pub use unpack::{Limits, Lower, NoLower, UnpackError, UnpackOptions, Unpacked, unpack};
pub use walk::{Visit, walk_tree};
