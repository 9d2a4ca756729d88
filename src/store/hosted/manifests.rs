//! Manifests of a repository, and its tags.

use rusqlite::{Connection, OptionalExtension, Row};

use super::super::columns::signed;
use super::super::{Error, Store, now};
use crate::oci::Digest;

/// A manifest or index as a repository has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostedManifest {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The manifest that it refers to.
    pub subject: Option<Digest>,
}

/// What kind of thing a manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartKind {
    /// A blob, which must be linked to the repository.
    Blob,
    /// A manifest, which the repository must have.
    Manifest,
    /// Something that may be elsewhere.
    Elsewhere,
}

/// Something that a manifest names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostedPart {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub kind: PartKind,
}

const COLUMNS: &str = "digest, media_type, bytes, subject";

impl Store {
    /// Stores a manifest and points tags to it, in one transaction. Returns what
    /// it names and the repository lacks; then nothing was stored.
    ///
    /// Tags are those of an upstream registry when `is_copy`, else pushed ones.
    pub fn hosted_manifest_put(
        &self,
        repository: &str,
        manifest: &HostedManifest,
        parts: &[HostedPart],
        tags: &[String],
        is_copy: bool,
    ) -> Result<Vec<Digest>, Error> {
        self.write(|tx| {
            let mut missing = Vec::new();
            for part in parts {
                if !is_there(tx, repository, part)? {
                    missing.push(part.digest);
                }
            }
            if !missing.is_empty() {
                return Ok(missing);
            }
            put(tx, repository, manifest)?;
            let mut name = tx.prepare_cached(
                "INSERT OR IGNORE INTO hosted_parts (repository, manifest, part, size)
                 VALUES (?1, ?2, ?3, ?4)",
            )?;
            for part in parts {
                name.execute((repository, manifest.digest, part.digest, signed(part.size)))?;
            }
            let mut point = tx.prepare_cached(
                "INSERT INTO hosted_tags (repository, tag, digest, checked_at)
                 VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (repository, tag) DO UPDATE
                 SET digest = excluded.digest, checked_at = excluded.checked_at",
            )?;
            for tag in tags {
                point.execute((repository, tag, manifest.digest, is_copy.then(now)))?;
            }
            Ok(missing)
        })
    }

    /// The manifest with this digest.
    pub fn hosted_manifest(
        &self,
        repository: &str,
        digest: Digest,
    ) -> Result<Option<HostedManifest>, Error> {
        let sql =
            format!("SELECT {COLUMNS} FROM hosted_manifests WHERE repository = ?1 AND digest = ?2");
        Ok(self
            .db()
            .prepare_cached(&sql)?
            .query_row((repository, digest), manifest)
            .optional()?)
    }

    /// The manifest that a tag points to; and when the tag was compared with its
    /// upstream registry, unless it was pushed here.
    pub fn hosted_tag(
        &self,
        repository: &str,
        tag: &str,
    ) -> Result<Option<(HostedManifest, Option<i64>)>, Error> {
        let sql = "SELECT m.digest, media_type, bytes, subject, checked_at
             FROM hosted_tags AS t JOIN hosted_manifests AS m USING (repository, digest)
             WHERE t.repository = ?1 AND tag = ?2";
        Ok(self
            .db()
            .prepare_cached(sql)?
            .query_row((repository, tag), |row| Ok((manifest(row)?, row.get(4)?)))
            .optional()?)
    }

    /// Records that a tag was just compared with its upstream registry.
    pub fn hosted_tag_checked(&self, repository: &str, tag: &str) -> Result<(), Error> {
        self.db()
            .prepare_cached(
                "UPDATE hosted_tags SET checked_at = ?3
                 WHERE repository = ?1 AND tag = ?2 AND checked_at IS NOT NULL",
            )?
            .execute((repository, tag, now()))?;
        Ok(())
    }

    /// The size of something that a manifest of the repository names.
    pub fn hosted_part(&self, repository: &str, digest: Digest) -> Result<Option<u64>, Error> {
        Ok(self
            .db()
            .prepare_cached(
                "SELECT size FROM hosted_parts WHERE repository = ?1 AND part = ?2 LIMIT 1",
            )?
            .query_row((repository, digest), |row| {
                super::super::columns::unsigned(row, 0)
            })
            .optional()?)
    }

    /// Removes a tag; whether it was there. What it pointed to stays.
    pub fn hosted_tag_remove(&self, repository: &str, tag: &str) -> Result<bool, Error> {
        let removed = self
            .db()
            .prepare_cached("DELETE FROM hosted_tags WHERE repository = ?1 AND tag = ?2")?
            .execute((repository, tag))?;
        Ok(removed > 0)
    }

    /// Removes a manifest and its tags; whether it was there. Blobs that no other
    /// manifest of the repository names are unlinked, unless somebody has asked for
    /// them since: who found them there will name them.
    pub fn hosted_manifest_remove(&self, repository: &str, digest: Digest) -> Result<bool, Error> {
        self.write(|tx| {
            let stored_at: Option<i64> = tx
                .prepare_cached(
                    "SELECT stored_at FROM hosted_manifests WHERE repository = ?1 AND digest = ?2",
                )?
                .query_row((repository, digest), |row| row.get(0))
                .optional()?;
            let Some(stored_at) = stored_at else {
                return Ok(false);
            };
            tx.prepare_cached(
                "DELETE FROM hosted_blobs WHERE repository = ?1 AND used_at <= ?3
                 AND digest IN (SELECT part FROM hosted_parts
                                WHERE repository = ?1 AND manifest = ?2)
                 AND NOT EXISTS (SELECT 1 FROM hosted_parts
                                 WHERE repository = ?1 AND part = hosted_blobs.digest
                                   AND manifest <> ?2)",
            )?
            .execute((repository, digest, stored_at))?;
            // Tags and parts go with it, by their foreign keys.
            tx.prepare_cached(
                "DELETE FROM hosted_manifests WHERE repository = ?1 AND digest = ?2",
            )?
            .execute((repository, digest))?;
            Ok(true)
        })
    }
}

fn is_there(db: &Connection, repository: &str, part: &HostedPart) -> Result<bool, Error> {
    let table = match part.kind {
        PartKind::Elsewhere => return Ok(true),
        PartKind::Blob => "hosted_blobs",
        PartKind::Manifest => "hosted_manifests",
    };
    let sql = format!("SELECT 1 FROM {table} WHERE repository = ?1 AND digest = ?2");
    Ok(db.prepare_cached(&sql)?.exists((repository, part.digest))?)
}

fn put(db: &Connection, repository: &str, manifest: &HostedManifest) -> Result<(), Error> {
    db.prepare_cached(
        "INSERT INTO hosted_manifests (repository, digest, media_type, bytes, subject, stored_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (repository, digest) DO UPDATE
         SET media_type = excluded.media_type, stored_at = excluded.stored_at",
    )?
    .execute((
        repository,
        manifest.digest,
        &manifest.media_type,
        &manifest.bytes,
        manifest.subject,
        now(),
    ))?;
    Ok(())
}

pub(super) fn manifest(row: &Row<'_>) -> rusqlite::Result<HostedManifest> {
    Ok(HostedManifest {
        digest: row.get(0)?,
        media_type: row.get(1)?,
        bytes: row.get(2)?,
        subject: row.get(3)?,
    })
}
