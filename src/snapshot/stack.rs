//! The layers of a stack as directories, and one layer on several parents.

use std::path::PathBuf;

use super::active::Active;
use super::{Error, attributes, layer_dir};
use crate::fs::At as _;
use crate::store::{self, SnapshotId, SnapshotRow, Store};

/// The layer directories of a stack, top first, as overlayfs' `lowerdir` wants
/// them. Empty for `None`.
///
/// A layer whose root is opaque hides everything beneath it, which overlayfs
/// does not know of roots; the stack ends with it. A layer that stands in the
/// stack twice is named once, overlayfs takes no other: the upper one shows
/// everything that the lower one could.
pub fn layer_dirs(store: &Store, top: Option<SnapshotId>) -> Result<Vec<PathBuf>, store::Error> {
    let Some(top) = top else {
        return Ok(Vec::new());
    };
    let mut dirs = Vec::new();
    for row in store.snapshot_stack(top)? {
        let dir = content_dir(store, &row);
        if dirs.contains(&dir) {
            continue;
        }
        let opaque = attributes::is_opaque_root(&dir).at("read the attributes of", &dir)?;
        dirs.push(dir);
        if opaque {
            break;
        }
    }
    Ok(dirs)
}

/// The layer directory whose own metadata is that of the tree's root: the topmost
/// one that was made for its parent.
pub(super) fn root_dir(
    store: &Store,
    top: Option<SnapshotId>,
) -> Result<Option<PathBuf>, store::Error> {
    let Some(top) = top else {
        return Ok(None);
    };
    let row = store
        .snapshot_get(top)?
        .ok_or(store::Error::NoSnapshot(top))?;
    if row.layer.is_none() {
        return Ok(Some(layer_dir(store, top)));
    }
    let stack = store.snapshot_stack(top)?;
    let own = stack.iter().find(|row| row.layer.is_none());
    Ok(own.map(|row| layer_dir(store, row.id)))
}

/// Puts the content of the snapshot `layer`, made on no parent, on top of
/// `parent`: a snapshot that has it in common, so that no file is copied or
/// linked. It holds on to `layer`, which may otherwise be forgotten.
///
/// # Errors
/// [`store::Error::NoSnapshot`] when one of them is not there or not committed.
pub fn restack(
    store: &Store,
    parent: Option<SnapshotId>,
    layer: SnapshotId,
) -> Result<SnapshotRow, Error> {
    let row = store
        .snapshot_get(layer)?
        .ok_or(store::Error::NoSnapshot(layer))?;
    let active = Active::begin_with(store, parent, row.layer.unwrap_or(layer))?;
    active.commit(row.bytes, row.diff_id.zip(row.tar_size), row.tree)
}

fn content_dir(store: &Store, row: &SnapshotRow) -> PathBuf {
    layer_dir(store, row.layer.unwrap_or(row.id))
}
