//! Trees that can be mounted: one directory per layer, stacked by overlayfs.
//!
//! A committed snapshot never changes. [`View`] reads a stack as one tree
//! without mounting it; [`Active`] is a new top that is being written.

mod active;
mod chain;
mod collect;
mod tree;
mod view;

use std::path::PathBuf;

pub use active::Active;
pub use chain::{ChainError, ensure_chain};
pub use collect::collect;
pub use tree::tree_digest;
pub use view::View;

use crate::fs::PathError;
use crate::store::{self, SnapshotId, Store};

/// The layer directories of a stack, top first, as overlayfs' `lowerdir` wants
/// them. Empty for `None`.
pub fn layer_dirs(store: &Store, top: Option<SnapshotId>) -> Result<Vec<PathBuf>, store::Error> {
    let _ = (store, top);
    todo!()
}

/// The directory with the layer's content: `snapshots/<id>/fs`.
pub fn layer_dir(store: &Store, id: SnapshotId) -> PathBuf {
    store.paths().snapshots().join(id.to_string()).join("fs")
}

/// What can go wrong with snapshots.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The register refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The disk refused.
    #[error(transparent)]
    File(#[from] PathError),
}
