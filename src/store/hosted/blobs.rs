//! Which blobs belong to which repository.

use std::io::{self, Write as _};
use std::path::Path;

use rusqlite::Connection;

use super::super::columns::signed;
use super::super::{BlobWriter, Error, Store, now};
use crate::fs::{At, PathError, sync_dir};
use crate::oci::Digest;

impl Store {
    /// Whether the repository has the blob.
    pub fn hosted_blob(&self, repository: &str, digest: Digest) -> Result<bool, Error> {
        Ok(self
            .db()
            .prepare_cached("SELECT 1 FROM hosted_blobs WHERE repository = ?1 AND digest = ?2")?
            .exists((repository, digest))?)
    }

    /// The same, for somebody who may name the blob in a manifest then: the link
    /// lasts for another day at least.
    pub fn hosted_blob_touch(&self, repository: &str, digest: Digest) -> Result<bool, Error> {
        let touched = self
            .db()
            .prepare_cached(
                "UPDATE hosted_blobs SET used_at = ?3 WHERE repository = ?1 AND digest = ?2",
            )?
            .execute((repository, digest, now()))?;
        Ok(touched > 0)
    }

    /// Links a blob of the repository `from` to another one; whether it was there.
    pub fn hosted_blob_mount(
        &self,
        repository: &str,
        digest: Digest,
        from: &str,
    ) -> Result<bool, Error> {
        self.write(|tx| {
            let linked = tx
                .prepare_cached("SELECT 1 FROM hosted_blobs WHERE repository = ?1 AND digest = ?2")?
                .exists((from, digest))?;
            if linked {
                link(tx, repository, digest)?;
            }
            Ok(linked)
        })
    }

    /// Takes a blob out of a repository; whether it was there.
    pub fn hosted_blob_remove(&self, repository: &str, digest: Digest) -> Result<bool, Error> {
        let removed = self
            .db()
            .prepare_cached("DELETE FROM hosted_blobs WHERE repository = ?1 AND digest = ?2")?
            .execute((repository, digest))?;
        Ok(removed > 0)
    }

    /// Stores a blob and links it to a repository.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the bytes are not `expected`; nothing is left behind.
    pub fn hosted_blob_put(
        &self,
        repository: &str,
        mut writer: BlobWriter,
        expected: Digest,
    ) -> Result<(), Error> {
        writer.flush().at("write", writer.path())?;
        let (file, got, length) = writer.into_parts();
        if got != expected {
            return Err(Error::Damaged {
                want: expected,
                got,
            });
        }
        let file = file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .at("write", self.blob_path(got))?;
        file.as_file().sync_data().at("sync", file.path())?;
        self.hosted_blob_settle(repository, expected, length, file.path())
    }

    /// Gives the synced file at `source` the name of its digest as well, and
    /// links the blob to the repository.
    pub(super) fn hosted_blob_settle(
        &self,
        repository: &str,
        digest: Digest,
        length: u64,
        source: &Path,
    ) -> Result<(), Error> {
        let path = self.blob_path(digest);
        // Before the transaction, in which nothing is waited for.
        place(source, &path)?;
        sync_dir(&self.paths().blobs())?;
        self.write(|tx| {
            // Under the lock that the collector takes too, which may just have
            // removed the file that was there before.
            place(source, &path)?;
            register(tx, digest, length)?;
            link(tx, repository, digest)
        })
    }

    /// Links a blob of the store to a repository; whether it is there.
    pub fn hosted_blob_adopt(&self, repository: &str, digest: Digest) -> Result<bool, Error> {
        self.write(|tx| {
            let Ok(meta) = std::fs::metadata(self.blob_path(digest)) else {
                return Ok(false);
            };
            register(tx, digest, meta.len())?;
            link(tx, repository, digest)?;
            Ok(true)
        })
    }
}

/// Gives a file a second name, unless something has that name.
fn place(source: &Path, path: &Path) -> Result<(), PathError> {
    match std::fs::hard_link(source, path) {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.at("create", path),
    }
}

/// Makes a blob known to the collector. Nothing but its links keeps it.
fn register(db: &Connection, digest: Digest, length: u64) -> Result<(), Error> {
    db.prepare_cached(
        "INSERT OR IGNORE INTO layer_blobs
             (digest, diff_id, size, media_type, stored_at, pid, started)
         VALUES (?1, NULL, ?2, 'application/octet-stream', 0, 0, 0)",
    )?
    .execute((digest, signed(length)))?;
    Ok(())
}

fn link(db: &Connection, repository: &str, digest: Digest) -> Result<(), Error> {
    db.prepare_cached(
        "INSERT INTO hosted_blobs (repository, digest, used_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (repository, digest) DO UPDATE SET used_at = excluded.used_at",
    )?
    .execute((repository, digest, now()))?;
    Ok(())
}
