//! Trees that can be mounted: one directory per layer, stacked by overlayfs.
//!
//! A committed snapshot never changes. [`View`] reads a stack as one tree
//! without mounting it; [`Active`] is a new top that is being written.
//! [`collect`] removes what nothing reaches.

mod active;
mod attributes;
mod chain;
mod collect;
mod contents;
mod copy;
mod pipe;
mod same;
mod squash;
mod stack;
mod times;
mod tree;
mod view;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use active::Active;
pub(crate) use chain::unpack_ahead;
pub use chain::{ChainError, ensure_chain};
pub use collect::{collect, collect_dead, evict};
pub use contents::{Contents, ContentsEntry, ContentsKind, ContentsLimits, contents};
pub use copy::copy_directory;
pub(crate) use pipe::pipe;
pub use same::same_content;
pub use squash::squash;
pub use stack::{layer_dirs, restack};
pub use times::{RewriteError, Times, clamp_times, retime};
pub use tree::{TreeHasher, tree_bytes, tree_digest};
pub use view::{FileId, View};

use crate::fs::PathError;
use crate::store::{self, SnapshotId, Store};

/// The directory with the layer's content: `snapshots/<id>/fs`, which is a link
/// where the content lies with another snapshot.
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
