//! A tar applied to a directory: whiteouts, links, owners, xattrs, limits.
//!
//! Everything in the tar is hostile. Paths are opened beneath the target only;
//! a leading slash is dropped, as Docker does, and `..` refused; counts, depths
//! and sizes are bounded.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::apply::Target;
use super::{Entry, TarReader};
use crate::fs::PathError;
use crate::oci::DiffId;

/// Bounds on what one archive may do.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most entries.
    pub entries: u64,
    /// Most unpacked bytes.
    pub bytes: u64,
    /// Deepest path, in components.
    pub depth: usize,
}

impl Default for Limits {
    /// Generous for real images and small beside a disk: 10 million entries,
    /// 1 TiB, 1,000 components.
    fn default() -> Self {
        Self {
            entries: 10_000_000,
            bytes: 1 << 40,
            depth: 1_000,
        }
    }
}

/// What lies beneath the directory that is unpacked into: the merged lower
/// layers. Parents that the archive leaves out take their metadata from it, and
/// hard links may name files in it.
pub trait Lower {
    /// The entry at `path`, links not followed; `None` when there is none.
    fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError>;
    /// Opens the regular file at `path`, links not followed.
    fn open(&self, path: &Path) -> Result<File, PathError>;
}

/// Nothing beneath.
#[derive(Debug, Clone, Copy)]
pub struct NoLower;

impl Lower for NoLower {
    fn entry(&self, _path: &Path) -> Result<Option<Entry>, PathError> {
        Ok(None)
    }

    fn open(&self, path: &Path) -> Result<File, PathError> {
        Err(PathError {
            action: "open",
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        })
    }
}

/// How to unpack.
#[derive(Debug, Clone, Copy)]
pub struct UnpackOptions {
    /// The bounds.
    pub limits: Limits,
    /// Whether `.wh.` names are whiteouts (a layer) or plain names (an archive that ADD extracts).
    pub whiteouts: bool,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy)]
pub struct Unpacked {
    /// Digest of the plain tar, read to its very end.
    pub diff_id: DiffId,
    /// Length of the plain tar in bytes.
    pub size: u64,
    /// Number of entries.
    pub entries: u64,
    /// Whether the layer hides everything beneath it. The mark is also on the
    /// target, but overlayfs does not look for it there.
    pub opaque_root: bool,
}

/// Why an archive was refused.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is damaged or no tar.
    #[error("the archive is damaged")]
    Damaged(#[source] std::io::Error),
    /// An entry's path leaves the root or is malformed.
    #[error("archive entry `{}`: {why}", path.display())]
    Entry {
        /// The entry.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A bound was passed.
    #[error("the archive has more than {limit} {what}")]
    TooMuch {
        /// The bound.
        limit: u64,
        /// Of what: `entries`, `bytes`, `path components`.
        what: &'static str,
    },
    /// The disk refused.
    #[error(transparent)]
    File(#[from] PathError),
}

/// Applies the plain tar `source` to the empty layer directory `target`.
///
/// The result is what overlayfs needs to show over `lower` what applying the
/// archive to the merged tree would have given:
///
/// - Of two entries with one path the later wins; two directories become one.
/// - A parent that the archive leaves out has the metadata of the directory that
///   `lower` has there, else it is 0755, root's, from 1970. A parent that is a
///   symbolic link in this archive is followed, never out of `target`. One that
///   is a link in `lower` is hidden by a new directory in a layer, and followed
///   in an archive that ADD extracts.
/// - A hard link to a file of `lower` copies that file up, under both names.
/// - A whiteout hides what `lower` has, never what the archive itself brings; a
///   directory that replaces something else starts opaque.
/// - Devices are left out where the user may not make them; so are xattrs that
///   the file system refuses.
///
/// On an error the target is in no defined state and is to be removed.
pub fn unpack(
    source: &mut dyn Read,
    target: &Path,
    lower: &dyn Lower,
    options: UnpackOptions,
) -> Result<Unpacked, UnpackError> {
    let mut tar = TarReader::new(source, options.limits);
    let mut target = Target::open(target, lower, options.whiteouts)?;
    while let Some(entry) = tar.next_entry()? {
        target.apply(&entry, &mut tar)?;
    }
    let opaque_root = target.finish()?;
    Ok(Unpacked {
        opaque_root,
        ..tar.finish()?
    })
}
