//! Lists of repositories, tags and referrers, a page at a time.

use super::super::{Error, Store};
use super::manifests::{HostedManifest, manifest};
use crate::oci::Digest;

impl Store {
    /// The names of repositories with a manifest, sorted by their bytes, after `last`;
    /// `limit` of them at most.
    pub fn hosted_repositories(&self, last: &str, limit: u32) -> Result<Vec<String>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT DISTINCT repository FROM hosted_manifests WHERE repository > ?1
             ORDER BY repository LIMIT ?2",
        )?;
        let rows = statement.query_map((last, limit), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Whether a repository has anything.
    pub fn hosted_exists(&self, repository: &str) -> Result<bool, Error> {
        Ok(self
            .db()
            .prepare_cached(
                "SELECT 1 FROM hosted_manifests WHERE repository = ?1
                 UNION ALL SELECT 1 FROM hosted_blobs WHERE repository = ?1",
            )?
            .exists([repository])?)
    }

    /// The tags of a repository, sorted by their bytes, after `last`; `limit` of them at most.
    pub fn hosted_tags(
        &self,
        repository: &str,
        last: &str,
        limit: u32,
    ) -> Result<Vec<String>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT tag FROM hosted_tags WHERE repository = ?1 AND tag > ?2
             ORDER BY tag LIMIT ?3",
        )?;
        let rows = statement.query_map((repository, last, limit), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Manifests that refer to `subject`, by digest after `last`; `limit` of them at most.
    pub fn hosted_referrers(
        &self,
        repository: &str,
        subject: Digest,
        last: Option<Digest>,
        limit: u32,
    ) -> Result<Vec<HostedManifest>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT digest, media_type, bytes, subject FROM hosted_manifests
             WHERE repository = ?1 AND subject = ?2 AND digest > ?3
             ORDER BY digest LIMIT ?4",
        )?;
        // The empty value comes before every digest.
        let last = last.map_or_else(Vec::new, |last| last.raw().to_vec());
        let rows = statement.query_map((repository, subject, last, limit), manifest)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
