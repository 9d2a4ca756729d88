//! The second half of `--link`: a layer that was made on no parent is put onto one.

use crate::snapshot::{self, Active};
use crate::store::{SnapshotId, Store};

/// Puts `layer` on top of `parent`. Nothing is copied: the two have their content
/// in common. No layer is an empty one.
pub(in crate::build) fn run(
    store: &Store,
    parent: Option<SnapshotId>,
    layer: Option<SnapshotId>,
) -> Result<SnapshotId, snapshot::Error> {
    let row = match layer {
        Some(layer) => snapshot::restack(store, parent, layer)?,
        None => Active::begin(store, parent)?.commit(0, None, None)?,
    };
    Ok(row.id)
}
