//! Whether a path holds the same in two trees.

use std::path::Path;

use super::filter::Filter;
use super::select::{digest_of, take};
use super::{CopyError, source};
use crate::snapshot::{self, View};
use crate::store::{SnapshotId, Store};

/// Whether `path` (links followed) holds the same in the trees `a` and `b`, times
/// aside. Files are read only where the trees differ otherwise.
pub(in crate::build) fn same_beneath(
    store: &Store,
    a: Option<SnapshotId>,
    b: Option<SnapshotId>,
    path: &str,
) -> Result<bool, CopyError> {
    if snapshot::same_content(store, a, b)? {
        return Ok(true);
    }
    // The trees differ somewhere, and all of them is mounted.
    if path.is_empty() {
        return Ok(false);
    }
    // The older one may be gone.
    for tree in [a, b].into_iter().flatten() {
        if store.snapshot_get(tree)?.is_none() {
            return Ok(false);
        }
    }
    let digest = |tree| {
        let view = View::open(store, tree)?;
        let Some(mut named) = take(&view, Path::new(path), &Filter::default())? else {
            return Ok::<_, CopyError>(None);
        };
        let mut entries = vec![(0, &mut named.1)];
        entries.extend(named.2.entries.iter_mut().map(|entry| (0, entry)));
        source::digest_all(&[&view], entries)?;
        Ok(Some(digest_of(&named)))
    };
    let (a, b) = (digest(a)?, digest(b)?);
    Ok(a.is_some() && a == b)
}
