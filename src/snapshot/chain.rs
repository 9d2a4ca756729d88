//! Layers to a chain of snapshots, unpacking what is missing.

use std::io::Read;

use super::Error;
use crate::layer::UnpackError;
use crate::oci::DiffId;
use crate::store::{SnapshotId, Store};

/// Why an image's layers cannot become a tree.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// A layer's tar is not what the image's configuration promises.
    #[error("layer {index} is damaged: its content hashes to `{got}`, the image says `{want}`")]
    WrongDiffId {
        /// Which layer, from 0 at the bottom.
        index: usize,
        /// What the configuration says.
        want: DiffId,
        /// What it is.
        got: DiffId,
    },
    /// A layer cannot be unpacked.
    #[error("cannot unpack layer {index}")]
    Unpack {
        /// Which layer, from 0 at the bottom.
        index: usize,
        /// Why.
        #[source]
        source: UnpackError,
    },
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] Error),
}

/// Makes sure that every layer of the stack `diff_ids` (bottom first) is a
/// snapshot, and returns the top; `None` for no layers. `open` gives the tar of
/// layer `index`, compressed or not. Two processes that need the same chain
/// unpack it once (a lock per chain ID).
pub fn ensure_chain(
    store: &Store,
    diff_ids: &[DiffId],
    open: &mut dyn FnMut(usize) -> Result<Box<dyn Read + Send>, Error>,
) -> Result<Option<SnapshotId>, ChainError> {
    let _ = (store, diff_ids, open);
    todo!()
}
