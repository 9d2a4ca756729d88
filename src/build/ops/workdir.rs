//! WORKDIR: makes the directory where it is missing.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::copy::CopyError;
use super::copy::LayerDirectories;
use super::{FIXED_TIME, account};
use crate::build::graph::WorkdirOp;
use crate::layer::{EntryKind, Lower};
use crate::snapshot::{Active, View};
use crate::store::{SnapshotId, Store};

/// Makes the directory on `parent`; the result is `parent` itself when it is there already.
pub(in crate::build) fn run(
    store: &Store,
    op: &WorkdirOp,
    parent: Option<SnapshotId>,
) -> Result<Option<SnapshotId>, CopyError> {
    let view = View::open(store, parent)?;
    let path = view.resolve(Path::new(op.path.trim_start_matches('/')), true)?;
    debug_assert!(!path.as_os_str().as_bytes().starts_with(b"/"));
    match view.entry(&path)? {
        Some(entry) if matches!(entry.kind, EntryKind::Directory { .. }) => return Ok(parent),
        Some(_) => return Err(CopyError::NotADirectory(op.path.clone())),
        None if path.as_os_str().is_empty() => return Ok(parent),
        None => {}
    }
    let owner = account(store, parent, &op.user)?;
    let active = Active::begin(store, parent)?;
    let mut layer = LayerDirectories::new(&view, Some((owner.uid, owner.gid)), FIXED_TIME);
    layer.add(&path)?;
    let packed = layer.write(&active.fs())?;
    let row = active.commit(0, Some((packed.diff_id, packed.size)), None)?;
    Ok(Some(row.id))
}
