//! Images and their names.
//!
//! The manifest and the configuration are small and are kept in the index as
//! raw bytes, so that an image appears in one transaction; layers are blobs
//! (as they came from outside) or snapshots (built here), found by descriptor.

use rusqlite::{Connection, OptionalExtension, Row};

use super::{Error, Store};
use crate::oci::{Digest, ImageId, Reference};

/// An image as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Digest of `config`.
    pub id: ImageId,
    /// Digest of `manifest`.
    pub manifest_digest: Digest,
    /// The manifest's raw bytes; its media type stands inside.
    pub manifest: Vec<u8>,
    /// The configuration's raw bytes.
    pub config: Vec<u8>,
    /// When it came into this store, nanoseconds since 1970.
    pub stored_at: i64,
}

const COLUMNS: &str = "id, manifest_digest, manifest, config, stored_at";

impl Store {
    /// Stores an image; one with the same ID keeps its row, but takes the new manifest.
    pub fn image_put(&self, row: &ImageRow) -> Result<(), Error> {
        put(&self.db(), row)
    }

    /// Stores an image and points `names` to it, in one transaction. Returns for
    /// each name the image that had it before.
    pub fn image_put_named(
        &self,
        row: &ImageRow,
        names: &[Reference],
    ) -> Result<Vec<Option<ImageId>>, Error> {
        // A rebuild that changes nothing must not write.
        if self.is_stored(row, names)? {
            return Ok(vec![Some(row.id); names.len()]);
        }
        self.write(|tx| {
            put(tx, row)?;
            names.iter().map(|name| point(tx, name, row.id)).collect()
        })
    }

    /// The image with this ID.
    pub fn image_get(&self, id: ImageId) -> Result<Option<ImageRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM images WHERE id = ?1");
        Ok(self
            .db()
            .prepare_cached(&sql)?
            .query_row([id], image)
            .optional()?)
    }

    /// Every image, newest first.
    pub fn image_list(&self) -> Result<Vec<ImageRow>, Error> {
        let db = self.db();
        let sql = format!("SELECT {COLUMNS} FROM images ORDER BY stored_at DESC, id");
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map([], image)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The images whose ID's hexadecimal form starts with `prefix`; two at most,
    /// which is enough to know that it is ambiguous.
    pub fn image_by_prefix(&self, prefix: &str) -> Result<Vec<ImageId>, Error> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(is_digit) {
            return Ok(Vec::new());
        }
        let bound = |fill: char| {
            let digits = format!("{prefix}{}", fill.to_string().repeat(64 - prefix.len()));
            Digest::from_hex(&digits).ok()
        };
        let (Some(first), Some(last)) = (bound('0'), bound('f')) else {
            return Ok(Vec::new());
        };
        let db = self.db();
        let mut statement =
            db.prepare_cached("SELECT id FROM images WHERE id BETWEEN ?1 AND ?2 LIMIT 2")?;
        let rows = statement.query_map((first, last), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Removes an image and every name of it. Its layers are left to the collector.
    pub fn image_remove(&self, id: ImageId) -> Result<(), Error> {
        // The names go with it, by their foreign key.
        self.db()
            .prepare_cached("DELETE FROM images WHERE id = ?1")?
            .execute([id])?;
        Ok(())
    }

    /// Points a name to an image; returns the image that had it before.
    pub fn name_set(&self, name: &Reference, id: ImageId) -> Result<Option<ImageId>, Error> {
        self.write(|tx| point(tx, name, id))
    }

    /// The image that a name points to. A name with a digest finds the image by
    /// its manifest digest, in whatever tag or digest of the repository it is known.
    pub fn name_get(&self, name: &Reference) -> Result<Option<ImageId>, Error> {
        let db = self.db();
        let Some(digest) = name.digest() else {
            return get(&db, &name.to_string());
        };
        let repository = name.repository();
        // As it was pulled, which may have been by the digest of an index.
        for text in [name.to_string(), format!("{repository}@{digest}")] {
            if let Some(id) = get(&db, &text)? {
                return Ok(Some(id));
            }
        }
        Ok(db
            .prepare_cached(
                "SELECT id FROM images WHERE manifest_digest = ?1 AND EXISTS
                     (SELECT 1 FROM names WHERE image = id AND repository = ?2)
                 LIMIT 1",
            )?
            .query_row((digest, repository), |row| row.get(0))
            .optional()?)
    }

    /// Removes a name; whether it was there.
    pub fn name_remove(&self, name: &Reference) -> Result<bool, Error> {
        let removed = self
            .db()
            .prepare_cached("DELETE FROM names WHERE name = ?1")?
            .execute([name.to_string()])?;
        Ok(removed > 0)
    }

    /// Every name with its image, sorted by name.
    pub fn name_list(&self) -> Result<Vec<(Reference, ImageId)>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached("SELECT name, image FROM names ORDER BY name")?;
        let mut rows = statement.query([])?;
        let mut names = Vec::new();
        while let Some(row) = rows.next()? {
            // We wrote it from a reference; a damaged one names nothing.
            if let Ok(name) = row.get::<_, String>(0)?.parse() {
                names.push((name, row.get(1)?));
            }
        }
        Ok(names)
    }

    fn is_stored(&self, row: &ImageRow, names: &[Reference]) -> Result<bool, Error> {
        let db = self.db();
        let known = db
            .prepare_cached("SELECT 1 FROM images WHERE id = ?1 AND manifest_digest = ?2")?
            .exists((row.id, row.manifest_digest))?;
        if !known {
            return Ok(false);
        }
        for name in names {
            let text = name.to_string();
            let several = db
                .prepare_cached("SELECT 1 FROM platforms WHERE name = ?1")?
                .exists([&text])?;
            if several || get(&db, &text)? != Some(row.id) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

pub(super) fn put(db: &Connection, row: &ImageRow) -> Result<(), Error> {
    db.prepare_cached(
        "INSERT INTO images (id, manifest_digest, manifest, config, stored_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE
         SET manifest_digest = excluded.manifest_digest, manifest = excluded.manifest",
    )?
    .execute((
        row.id,
        row.manifest_digest,
        &row.manifest,
        &row.config,
        row.stored_at,
    ))?;
    Ok(())
}

fn get(db: &Connection, name: &str) -> Result<Option<ImageId>, Error> {
    Ok(db
        .prepare_cached("SELECT image FROM names WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?)
}

pub(super) fn point(
    db: &Connection,
    name: &Reference,
    id: ImageId,
) -> Result<Option<ImageId>, Error> {
    let text = name.to_string();
    let before = get(db, &text)?;
    db.prepare_cached(
        "INSERT INTO names (name, repository, image) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE SET image = excluded.image",
    )?
    .execute((&text, name.repository(), id))?;
    // What it stood for on other platforms went with the image before.
    db.prepare_cached("DELETE FROM platforms WHERE name = ?1")?
        .execute([&text])?;
    Ok(before)
}

fn image(row: &Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok(ImageRow {
        id: row.get(0)?,
        manifest_digest: row.get(1)?,
        manifest: row.get(2)?,
        config: row.get(3)?,
        stored_at: row.get(4)?,
    })
}
