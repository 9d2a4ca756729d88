//! Trees that can be mounted: one directory per layer, stacked by overlayfs.
//!
//! A committed snapshot never changes. [`View`] reads a stack as one tree
//! without mounting it; [`Active`] is a new top that is being written.
//! [`collect`] removes what nothing reaches.

mod active;
mod attributes;
mod chain;
mod collect;
mod copy;
mod pipe;
mod same;
mod tree;
mod view;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use active::Active;
pub use chain::{ChainError, ensure_chain};
pub use collect::collect;
pub use copy::copy_directory;
pub(crate) use pipe::pipe;
pub use same::same_content;
pub use tree::{TreeHasher, tree_bytes, tree_digest};
pub use view::{FileId, View};

use crate::fs::{At as _, PathError};
use crate::store::{self, SnapshotId, Store};

/// The layer directories of a stack, top first, as overlayfs' `lowerdir` wants
/// them. Empty for `None`.
///
/// A layer whose root is opaque hides everything beneath it, which overlayfs
/// does not know of roots; the stack ends with it.
pub fn layer_dirs(store: &Store, top: Option<SnapshotId>) -> Result<Vec<PathBuf>, store::Error> {
    let Some(top) = top else {
        return Ok(Vec::new());
    };
    let mut dirs = Vec::new();
    for row in store.snapshot_stack(top)? {
        let dir = layer_dir(store, row.id);
        let opaque = attributes::is_opaque_root(&dir).at("read the attributes of", &dir)?;
        dirs.push(dir);
        if opaque {
            break;
        }
    }
    Ok(dirs)
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
