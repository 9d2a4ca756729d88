//! What can go wrong in the store.

use std::path::PathBuf;

use super::SnapshotId;
use crate::fs::PathError;
use crate::oci::Digest;

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index refused or is damaged.
    #[error("cannot use the index of the store")]
    Index(#[from] rusqlite::Error),
    /// The data root was written by a newer version.
    #[error("the data in `{}` was written by a newer rbuild (format {found}, this one knows {known})", root.display())]
    TooNew {
        /// The data root.
        root: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format known here.
        known: i64,
    },
    /// A snapshot is not there, or is being removed because nothing needed it.
    #[error("no snapshot {0}")]
    NoSnapshot(SnapshotId),
    /// A blob is not there.
    #[error("no blob `{0}`")]
    NoBlob(Digest),
    /// A blob's bytes do not match its digest.
    #[error("blob `{want}` is damaged: its bytes hash to `{got}`")]
    Damaged {
        /// The digest that it should have.
        want: Digest,
        /// The digest that it has.
        got: Digest,
    },
    /// A name is taken.
    #[error("the name `{name}` is already in use by `{holder}`")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        holder: String,
    },
    /// The disk refused.
    #[error(transparent)]
    File(#[from] PathError),
}
