//! A new top of a stack, being written.

use std::path::{Path, PathBuf};

use super::Error;
use crate::oci::{DiffId, Digest};
use crate::store::{SnapshotId, SnapshotRow, Store};

/// A snapshot being written by this process. Dropping it uncommitted removes it.
#[derive(Debug)]
pub struct Active<'a> {
    store: &'a Store,
    id: SnapshotId,
    dir: PathBuf,
}

impl<'a> Active<'a> {
    /// Makes an empty top on `parent`: `snapshots/<id>/{fs,work}`, `fs` with mode 0755, root-owned
    /// unless the parent's root directory says otherwise.
    pub fn begin(store: &'a Store, parent: Option<SnapshotId>) -> Result<Self, Error> {
        let _ = (store, parent);
        todo!()
    }

    /// Its name.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// The store it belongs to.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// The directory to write the layer into, in overlayfs spelling (`upperdir`).
    pub fn fs(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// overlayfs' `workdir`, on the same file system.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// The snapshot's own directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Commits: from here on it never changes. `bytes` is the size of its regular
    /// files; `diff` and `tree` are recorded where they are known already.
    pub fn commit(
        self,
        bytes: u64,
        diff: Option<(DiffId, u64)>,
        tree: Option<Digest>,
    ) -> Result<SnapshotRow, Error> {
        let _ = (bytes, diff, tree);
        todo!()
    }
}
