//! Whether two stacks hold the same, times aside.

use super::{Error, tree_digest};
use crate::store::{SnapshotId, Store};

/// Whether the stacks under `a` and `b` have the same layers, compared by tree
/// digest: the same content, though perhaps made at different times. Layers that
/// both share are not looked at.
pub fn same_content(
    store: &Store,
    a: Option<SnapshotId>,
    b: Option<SnapshotId>,
) -> Result<bool, Error> {
    let (mut a, mut b) = (a, b);
    while a != b {
        let (Some(left), Some(right)) = (a, b) else {
            return Ok(false);
        };
        let (Some(left), Some(right)) = (store.snapshot_get(left)?, store.snapshot_get(right)?)
        else {
            return Ok(false);
        };
        if left.depth != right.depth
            || tree_digest(store, left.id)? != tree_digest(store, right.id)?
        {
            return Ok(false);
        }
        (a, b) = (left.parent, right.parent);
    }
    Ok(true)
}
