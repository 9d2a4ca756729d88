//! WORKDIR: makes the directory where it is missing.

use std::path::Path;

use super::copy::CopyError;
use super::copy::LayerDirectories;
use super::{FIXED_TIME, Tools, account};
use crate::build::graph::WorkdirOp;
use crate::layer::{EntryKind, Lower};
use crate::snapshot::{Active, View};
use crate::store::SnapshotId;

/// Makes the directory on `parent`. Where it is there already the layer is
/// empty, as Docker's is.
pub(in crate::build) fn run(
    tools: &Tools<'_>,
    op: &WorkdirOp,
    parent: Option<SnapshotId>,
) -> Result<SnapshotId, CopyError> {
    let store = tools.store;
    let view = View::open(store, parent)?;
    let path = view.resolve(Path::new(op.path.trim_start_matches('/')), true)?;
    let missing = match view.entry(&path)? {
        Some(entry) if matches!(entry.kind, EntryKind::Directory { .. }) => false,
        Some(_) => return Err(CopyError::NotADirectory(op.path.clone())),
        None => true,
    };
    let active = Active::begin(store, parent)?;
    let owner = account(store, parent, &op.user)?;
    let mut layer = LayerDirectories::new(&view, Some((owner.uid, owner.gid)), FIXED_TIME);
    if missing {
        layer.add(&path)?;
    }
    let packed = layer.write(&active.fs(), &|mtime| tools.clamp(mtime))?;
    let row = active.commit(0, Some((packed.diff_id, packed.size)), None)?;
    Ok(row.id)
}
