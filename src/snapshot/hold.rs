//! Who works with snapshots keeps the collector away.

use crate::fs::{Lock, PathError};
use crate::store::Store;

/// While one is held, in any process, [`collect`](super::collect) removes no
/// committed snapshot and no blob. Whoever has a snapshot or a blob that
/// nothing in the store refers to yet (a step's result before its record, a
/// layer before its image) holds one. Cheap, shared, and gone with its process.
#[derive(Debug)]
pub struct Hold {
    #[allow(dead_code, reason = "held for its destructor, which releases the lock")]
    lock: Lock,
}

/// Keeps the collector away; waits for one that is at work, which is short.
pub fn hold(store: &Store) -> Result<Hold, PathError> {
    Lock::shared(&store.paths().locks().join(NAME)).map(|lock| Hold { lock })
}

/// The collector's side: the lock, if nobody holds it.
pub(super) fn alone(store: &Store) -> Result<Option<Lock>, PathError> {
    Lock::try_exclusive(&store.paths().locks().join(NAME))
}

const NAME: &str = "collect";
