//! What the built-in registry has been given: manifests, tags, and which blobs
//! belong to which repository.
//!
//! A blob of the store is seen in a repository only when it is linked to it. A
//! link stays while a manifest of the repository names the blob, and for a day
//! after somebody sent the blob or found it there, who may be about to push a
//! manifest. [`Store::hosted_sweep`] drops the others; then the collector takes blobs
//! that nothing else needs.

mod blobs;
mod lists;
mod manifests;
#[cfg(test)]
mod tests;
mod uploads;

pub use manifests::{HostedManifest, HostedPart, PartKind};
pub use uploads::{Upload, UploadOpened};

use rusqlite::Connection;

use super::{Error, Store, now};

/// How long a link lasts that no manifest needs, in nanoseconds: a day.
const LINK_GRACE: i64 = 24 * 3_600 * 1_000_000_000;

impl Store {
    /// Drops links to blobs that no manifest names and nobody has asked for
    /// since yesterday, and uploads of before; returns the bytes freed.
    pub fn hosted_sweep(&self) -> Result<u64, Error> {
        self.db()
            .prepare_cached(
                "DELETE FROM hosted_blobs WHERE used_at < ?1 AND NOT EXISTS
                     (SELECT 1 FROM hosted_parts
                      WHERE hosted_parts.repository = hosted_blobs.repository
                        AND part = hosted_blobs.digest)",
            )?
            .execute([now().saturating_sub(LINK_GRACE)])?;
        self.upload_sweep()
    }
}

/// Whether any repository has the blob.
pub(super) fn is_linked(db: &Connection, digest: crate::oci::Digest) -> Result<bool, Error> {
    Ok(db
        .prepare_cached("SELECT 1 FROM hosted_blobs WHERE digest = ?1")?
        .exists([digest])?)
}
