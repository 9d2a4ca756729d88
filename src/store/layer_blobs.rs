//! The register of layer blobs: those that came from outside and are kept as
//! they came, and the compressed forms of our own layers.

use std::collections::HashSet;

use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, Row};

use super::columns::{signed, unsigned};
use super::{Error, GRACE, Process, Store, now};
use crate::oci::{DiffId, Digest, Manifest};

/// A layer blob as it came from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlobRow {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of its plain tar, once it was seen.
    pub diff_id: Option<DiffId>,
    /// Length of the blob in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

const COLUMNS: &str = "digest, diff_id, size, media_type";

impl Store {
    /// Remembers a layer blob, which must be in the store already. While this
    /// process lives, the blob is not collected.
    ///
    /// # Errors
    /// [`Error::NoBlob`] when it is not there.
    pub fn layer_blob_put(&self, row: &LayerBlobRow) -> Result<(), Error> {
        let process = self.process;
        self.write(|tx| {
            // Under the lock that the collector takes too.
            if !self.blob_exists(row.digest) {
                return Err(Error::NoBlob(row.digest));
            }
            tx.prepare_cached(
                "INSERT INTO layer_blobs
                     (digest, diff_id, size, media_type, stored_at, pid, started)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (digest) DO UPDATE
                 SET diff_id = coalesce(excluded.diff_id, diff_id), size = excluded.size,
                     media_type = excluded.media_type, stored_at = excluded.stored_at,
                     pid = excluded.pid, started = excluded.started",
            )?
            .execute((
                row.digest,
                row.diff_id,
                signed(row.size),
                &row.media_type,
                now(),
                process.pid,
                signed(process.started),
            ))?;
            Ok(())
        })
    }

    /// The layer blob with this digest.
    pub fn layer_blob_get(&self, digest: Digest) -> Result<Option<LayerBlobRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM layer_blobs WHERE digest = ?1");
        Ok(self
            .db()
            .prepare_cached(&sql)?
            .query_row([digest], layer_blob)
            .optional()?)
    }

    /// A layer blob whose plain tar has this diff ID, if one is there.
    pub fn layer_blob_by_diff(&self, diff_id: DiffId) -> Result<Option<LayerBlobRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM layer_blobs WHERE diff_id = ?1 LIMIT 1");
        Ok(self
            .db()
            .prepare_cached(&sql)?
            .query_row([diff_id], layer_blob)
            .optional()?)
    }

    /// The blob that `form` (codec, level and compressor) made of the plain tar
    /// `diff_id`, if it is still there; it is pinned.
    pub fn compressed_get(
        &self,
        diff_id: DiffId,
        form: &str,
    ) -> Result<Option<LayerBlobRow>, Error> {
        let found = self
            .db()
            .prepare_cached("SELECT digest FROM compressed WHERE diff_id = ?1 AND form = ?2")?
            .query_row((diff_id, form), |row| row.get::<_, Digest>(0))
            .optional()?;
        match found {
            Some(digest) if self.pin_layer_blob(digest)? && self.blob_exists(digest) => {
                self.layer_blob_get(digest)
            }
            _ => Ok(None),
        }
    }

    /// Remembers what `form` made of a layer, whose blob is known already.
    pub fn compressed_put(&self, diff_id: DiffId, form: &str, digest: Digest) -> Result<(), Error> {
        self.db()
            .prepare_cached(
                "INSERT INTO compressed (diff_id, form, digest) VALUES (?1, ?2, ?3)
                 ON CONFLICT (diff_id, form) DO UPDATE SET digest = excluded.digest",
            )?
            .execute((diff_id, form, digest))?;
        Ok(())
    }

    /// The layer blobs that no image's manifest names, no repository of the
    /// built-in registry has, nor a living process has pinned or brought. Remove them with [`Store::layer_blob_remove`].
    pub fn layer_blob_unreached(&self) -> Result<Vec<LayerBlobRow>, Error> {
        let db = self.db();
        let reached = reached(&db)?;
        let sql = format!(
            "SELECT {COLUMNS}, stored_at, pid, started FROM layer_blobs WHERE NOT EXISTS
                 (SELECT 1 FROM hosted_blobs WHERE hosted_blobs.digest = layer_blobs.digest)"
        );
        let mut statement = db.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut unreached = Vec::new();
        while let Some(row) = rows.next()? {
            let blob = layer_blob(row)?;
            if !reached.contains(&blob.digest) && !is_fresh(row, 4)? {
                unreached.push(blob);
            }
        }
        Ok(unreached)
    }

    /// Removes a layer blob, its file and its record, unless an image or a
    /// process has come to need it; whether it was removed.
    pub fn layer_blob_remove(&self, digest: Digest) -> Result<bool, Error> {
        self.write(|tx| {
            let fresh = tx
                .prepare_cached(
                    "SELECT stored_at, pid, started FROM layer_blobs WHERE digest = ?1",
                )?
                .query_row([digest], |row| is_fresh(row, 0))
                .optional()?;
            if fresh == Some(true)
                || super::hosted::is_linked(tx, digest)?
                || reached(tx)?.contains(&digest)
            {
                return Ok(false);
            }
            // The file first: a record without a file would be a broken promise,
            // a file without a record is found by the next look at the directory.
            // Until this transaction ends nobody can register the blob again.
            self.blob_remove(digest)?;
            tx.prepare_cached("DELETE FROM layer_blobs WHERE digest = ?1")?
                .execute([digest])?;
            Ok(true)
        })
    }

    /// Protects a layer blob from being collected while this process lives or
    /// until [`Store::unpin_all`]; whether it is there.
    pub fn pin_layer_blob(&self, digest: Digest) -> Result<bool, Error> {
        self.pinned.store(true, Ordering::Relaxed);
        let process = self.process;
        self.write(|tx| {
            let pinned = tx
                .prepare_cached(
                    "INSERT INTO pins (blob, pid, started)
                     SELECT digest, ?2, ?3 FROM layer_blobs WHERE digest = ?1",
                )?
                .execute((digest, process.pid, signed(process.started)))?;
            Ok(pinned > 0)
        })
    }
}

/// Whether a record is too young to be collected or its process still lives;
/// its time, pid and start time stand from column `first` on.
fn is_fresh(row: &Row<'_>, first: usize) -> rusqlite::Result<bool> {
    let process = Process {
        pid: row.get(first + 1)?,
        started: unsigned(row, first + 2)?,
    };
    let age = now().saturating_sub(row.get(first)?);
    Ok(age < GRACE || process.is_alive())
}

/// Blobs that a manifest names or a living process has pinned.
fn reached(db: &Connection) -> Result<HashSet<Digest>, Error> {
    let mut reached = HashSet::new();
    let mut statement = db.prepare_cached("SELECT manifest FROM images")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // What cannot be read names no layers that could ever be used.
        if let Ok(manifest) = serde_json::from_slice::<Manifest>(&row.get::<_, Vec<u8>>(0)?) {
            reached.extend(manifest.layers.iter().map(|layer| layer.digest));
        }
    }
    let mut statement =
        db.prepare_cached("SELECT blob, pid, started FROM pins WHERE blob IS NOT NULL")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let process = Process {
            pid: row.get(1)?,
            started: unsigned(row, 2)?,
        };
        if process.is_alive() {
            reached.insert(row.get(0)?);
        }
    }
    Ok(reached)
}

fn layer_blob(row: &Row<'_>) -> rusqlite::Result<LayerBlobRow> {
    Ok(LayerBlobRow {
        digest: row.get(0)?,
        diff_id: row.get(1)?,
        size: unsigned(row, 2)?,
        media_type: row.get(3)?,
    })
}
