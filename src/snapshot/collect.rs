//! Removing what nothing reaches.

use super::Error;
use crate::store::Store;

/// Removes active snapshots of dead processes, committed snapshots that no
/// image, container, cache record or other snapshot reaches, layer blobs that
/// no image names, and stale temporary files. Returns the bytes freed.
pub fn collect(store: &Store) -> Result<u64, Error> {
    let _ = store;
    todo!()
}
