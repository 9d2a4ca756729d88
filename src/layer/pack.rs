//! A tree to its canonical tar.
//!
//! Order: depth first, names of one directory sorted by their bytes, a directory
//! before its content; whiteouts stand in that order under the name they remove.
//! The root itself is not an entry. Headers: ustar where everything fits, else
//! PAX records; numeric owners only; whole-second mtimes.

use std::io::{self, Read, Write};
use std::path::Path;

use super::Entry;
use crate::fs::PathError;
use crate::oci::DiffId;

/// What can be asked of a tar beyond the tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackOptions {
    /// Latest mtime an entry may have, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub clamp_mtime: Option<i64>,
}

/// What a finished tar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Length of the tar in bytes.
    pub size: u64,
    /// Number of entries; 0 means that the layer changes nothing.
    pub entries: u64,
}

/// Writes entries to a tar and hashes it on the way.
///
/// The caller brings entries in canonical order.
#[derive(Debug)]
pub struct Packer<W: Write> {
    out: W,
}

impl<W: Write> Packer<W> {
    /// Starts a tar on `out`. Use [`std::io::sink`] to have only the digest.
    pub fn new(out: W, options: PackOptions) -> Self {
        let _ = (&out, options);
        todo!()
    }

    /// Adds an entry. `content` is read to its end and must have exactly the
    /// entry's size; it is not touched for other kinds than regular files.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let _ = (entry, content, &self.out);
        todo!()
    }

    /// Ends the tar and gives back the writer.
    pub fn finish(self) -> io::Result<(Packed, W)> {
        todo!()
    }
}

/// Packs the layer directory `dir`, in overlayfs spelling, into `out`.
pub fn pack_tree(dir: &Path, options: PackOptions, out: impl Write) -> Result<Packed, PathError> {
    let _ = (dir, options, out);
    todo!()
}
