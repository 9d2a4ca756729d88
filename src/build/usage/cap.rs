//! The cap that holds while a build runs.

use super::{CacheItem, Error, PruneOptions, Sizes, items, prune_items};
use crate::store::Store;

/// Makes the build cache fit into `cap` bytes by removing what was not used for
/// longest. Returns the bytes that are still too many: what is in use, shared
/// with an image or kept does not go. Cache mounts count with the size that they
/// had when they were measured last.
pub fn hold(store: &Store, cap: u64) -> Result<u64, Error> {
    fit(store, cap, &items(store, Sizes::Known)?)
}

/// The same once nothing runs any more: cache mounts are measured.
pub fn settle(store: &Store, cap: u64) -> Result<u64, Error> {
    fit(store, cap, &items(store, Sizes::Measured)?)
}

fn fit(store: &Store, cap: u64, items: &[CacheItem]) -> Result<u64, Error> {
    let private = items.iter().filter(|item| !item.is_shared);
    let used: u64 = private.map(|item| item.bytes).sum();
    if used <= cap {
        return Ok(0);
    }
    let options = PruneOptions {
        max_used: cap.max(1),
        ..PruneOptions::default()
    };
    let freed = prune_items(store, &options, items)?.bytes;
    Ok(used.saturating_sub(freed).saturating_sub(cap))
}
