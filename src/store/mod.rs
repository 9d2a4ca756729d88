//! What is on disk: blobs by digest, and the index of images, names, snapshots,
//! cache records, containers, networks and leases.
//!
//! Many processes share one store. SQLite (WAL) holds what must be found or be
//! unique; blobs and trees are files that appear under their name only when
//! complete. See `docs/storage.md`.

mod blob;
mod cache;
mod containers;
mod error;
mod images;
mod leases;
mod paths;
mod schema;
mod snapshots;

use std::sync::Mutex;

pub use blob::BlobWriter;
pub use cache::{CacheRecord, KeyPart};
pub use containers::ContainerRow;
pub use error::Error;
pub use images::{ImageRow, LayerBlobRow};
pub use leases::{LeaseRow, NetworkRow};
pub use paths::Paths;
pub use snapshots::{SnapshotId, SnapshotRow, SnapshotState};

/// The store of one data root. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct Store {
    paths: Paths,
    db: Mutex<rusqlite::Connection>,
}

impl Store {
    /// Opens the store, creating or migrating it as needed.
    pub fn open(paths: Paths) -> Result<Self, Error> {
        let _ = paths;
        todo!()
    }

    /// Where things are.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }
}
