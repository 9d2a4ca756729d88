//! What is on disk: blobs by digest, and the index of images, names, snapshots,
//! cache records, containers, networks and leases.
//!
//! Many processes share one store. SQLite (WAL) holds what must be found or be
//! unique; blobs and trees are files that appear under their name only when
//! complete. See `docs/storage.md`.
//!
//! Removing what nothing needs is done by the floor above. The store gives it
//! lists of unreached things, and makes sure that what is on such a list cannot
//! be picked up again by another process meanwhile.

mod blob;
mod cache;
mod cache_mounts;
mod columns;
mod containers;
mod error;
pub mod events;
mod hosted;
mod images;
mod layer_blobs;
mod leases;
mod networks;
mod partial;
mod paths;
mod platforms;
mod process;
mod reach;
mod schema;
mod snapshots;
mod temporary;
mod usage;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

pub use blob::BlobWriter;
pub use cache::{CacheRecord, KeyPart};
pub use cache_mounts::{CacheMount, CacheMountKey, CacheMountRow, CacheSharing};
pub use containers::ContainerRow;
pub use error::Error;
pub use hosted::{HostedManifest, HostedPart, PartKind, Upload, UploadOpened};
pub use images::ImageRow;
pub use layer_blobs::LayerBlobRow;
pub use leases::{Addresses, LeaseRow, NamedAddress};
pub use networks::NetworkRow;
pub use partial::PartialBlob;
pub use paths::Paths;
pub use process::Process;
pub use snapshots::{SnapshotId, SnapshotRow, SnapshotState};
pub use usage::{Kept, LayerUse};

use crate::fs::At;

/// How long after its making a thing is never collected, in nanoseconds: its
/// maker may not yet have named it anywhere.
const GRACE: i64 = 60 * 1_000_000_000;

/// The store of one data root. Cheap to share between threads by reference.
#[derive(Debug)]
pub struct Store {
    paths: Paths,
    process: Process,
    db: Mutex<Connection>,
    /// Whether this process has pinned anything: then it unpins when it ends.
    pinned: AtomicBool,
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.pinned.load(Ordering::Relaxed) {
            // Pins that stay count no longer once the process is gone.
            drop(self.unpin_all());
        }
    }
}

impl Store {
    /// Opens the store, creating or migrating it as needed.
    ///
    /// Several processes may open the same new root at once; a process that is
    /// killed in between leaves a root that the next one completes.
    ///
    /// # Errors
    /// [`Error::TooNew`] when a newer version has written the root.
    pub fn open(paths: Paths) -> Result<Self, Error> {
        let db = schema::open(&paths)?;
        Ok(Self {
            paths,
            process: Process::this(),
            db: Mutex::new(db),
            pinned: AtomicBool::new(false),
        })
    }

    /// Where things are.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// Whether this is the first call for this data root since the machine
    /// started. The caller then looks for what earlier lives left behind.
    ///
    /// Leases and pins of before are dropped in the same transaction.
    pub fn begin_boot_check(&self) -> Result<bool, Error> {
        const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
        let boot = std::fs::read_to_string(BOOT_ID).at("read", BOOT_ID)?;
        let is_known = |db: &Connection| {
            db.prepare_cached("SELECT value = ?1 FROM facts WHERE name = 'boot'")?
                .query_row([&boot], |row| row.get::<_, bool>(0))
                .optional()
                .map(Option::unwrap_or_default)
        };
        if is_known(&self.db())? {
            return Ok(false);
        }
        self.write(|tx| {
            if is_known(tx)? {
                return Ok(false);
            }
            tx.execute("DELETE FROM leases", [])?;
            tx.execute("DELETE FROM pins", [])?;
            tx.execute(
                "INSERT INTO facts (name, value) VALUES ('boot', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [&boot],
            )?;
            Ok(true)
        })
    }

    /// Makes everything written so far beneath the data root survive a power
    /// cut, in one call for the whole file system.
    pub fn sync_data(&self) -> Result<(), Error> {
        let root = self.paths.data();
        let file = std::fs::File::open(root).at("open", root)?;
        rustix::fs::syncfs(&file).at("sync", root)?;
        Ok(())
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no half-done work: its transaction was rolled back.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one write transaction, which is undone when it fails.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut db = self.db();
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&tx)?;
        tx.commit()?;
        Ok(result)
    }
}

/// Nanoseconds since 1970.
fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}
