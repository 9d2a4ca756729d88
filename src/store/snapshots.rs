//! The register of snapshots: which trees there are, what each lies on, and
//! what is known of it.

use super::{Error, Store};
use crate::oci::{ChainId, DiffId, Digest};

/// Names a snapshot in this store; also its directory, `snapshots/<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub i64);

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a snapshot may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// Being written by the process that owns it.
    Active,
    /// Finished; never changes again.
    Committed,
}

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its name.
    pub id: SnapshotId,
    /// The snapshot beneath; `None` at the bottom.
    pub parent: Option<SnapshotId>,
    /// How many snapshots the stack has, itself included.
    pub depth: u32,
    /// Whether it may still change.
    pub state: SnapshotState,
    /// Diff ID of its canonical tar, or of the tar it was unpacked from, once known.
    pub diff_id: Option<DiffId>,
    /// Length of that tar in bytes.
    pub tar_size: Option<u64>,
    /// Chain ID of the whole stack, once every diff ID in it is known.
    pub chain_id: Option<ChainId>,
    /// Digest of the tree without times (`docs/cache.md`), once known.
    pub tree: Option<Digest>,
    /// Bytes of regular files in it.
    pub bytes: u64,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
}

impl Store {
    /// Registers an active snapshot on `parent`, owned by this process.
    pub fn snapshot_begin(&self, parent: Option<SnapshotId>) -> Result<SnapshotId, Error> {
        let _ = parent;
        todo!()
    }

    /// Marks a snapshot committed, with what is known of it.
    pub fn snapshot_commit(
        &self,
        id: SnapshotId,
        bytes: u64,
        diff: Option<(DiffId, u64)>,
        tree: Option<Digest>,
    ) -> Result<SnapshotRow, Error> {
        let _ = (id, bytes, diff, tree);
        todo!()
    }

    /// Forgets a snapshot. The caller removes its directory first.
    pub fn snapshot_forget(&self, id: SnapshotId) -> Result<(), Error> {
        let _ = id;
        todo!()
    }

    /// The snapshot with this name.
    pub fn snapshot_get(&self, id: SnapshotId) -> Result<Option<SnapshotRow>, Error> {
        let _ = id;
        todo!()
    }

    /// A committed snapshot whose stack has this chain ID.
    pub fn snapshot_by_chain(&self, chain: ChainId) -> Result<Option<SnapshotRow>, Error> {
        let _ = chain;
        todo!()
    }

    /// The whole stack, top first.
    pub fn snapshot_stack(&self, id: SnapshotId) -> Result<Vec<SnapshotRow>, Error> {
        let _ = id;
        todo!()
    }

    /// Records the diff ID and tar size of a committed snapshot, and its chain ID
    /// if its parent's is known.
    pub fn snapshot_set_diff(
        &self,
        id: SnapshotId,
        diff_id: DiffId,
        tar_size: u64,
    ) -> Result<SnapshotRow, Error> {
        let _ = (id, diff_id, tar_size);
        todo!()
    }

    /// Records the tree digest of a committed snapshot.
    pub fn snapshot_set_tree(&self, id: SnapshotId, tree: Digest) -> Result<(), Error> {
        let _ = (id, tree);
        todo!()
    }

    /// Active snapshots whose owner is gone.
    pub fn snapshot_orphans(&self) -> Result<Vec<SnapshotId>, Error> {
        todo!()
    }

    /// Committed snapshots that nothing reaches: no image, cache record or
    /// container, nor another snapshot on top; top first.
    pub fn snapshot_unreached(&self) -> Result<Vec<SnapshotId>, Error> {
        todo!()
    }
}
