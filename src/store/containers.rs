//! The register of containers: what must be unique or found. Everything else of
//! a container is in its directory.

use rusqlite::{OptionalExtension, Row};

use super::{Error, SnapshotId, Store};
use crate::oci::ImageId;

/// A container as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// The image that it was made from.
    pub image: ImageId,
    /// The snapshot under its writable tree; `None` for an empty image.
    pub snapshot: Option<SnapshotId>,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
}

const COLUMNS: &str = "id, name, image, snapshot, created_at";

impl Store {
    /// Registers a container.
    ///
    /// # Errors
    /// [`Error::NameTaken`] when the name is another container's, and
    /// [`Error::NoSnapshot`] when its snapshot was collected meanwhile.
    pub fn container_put(&self, row: &ContainerRow) -> Result<(), Error> {
        self.write(|tx| {
            let holder = tx
                .prepare_cached("SELECT id FROM containers WHERE name = ?1")?
                .query_row([&row.name], |row| row.get(0))
                .optional()?;
            if let Some(holder) = holder {
                return Err(Error::NameTaken {
                    name: row.name.clone(),
                    holder,
                });
            }
            if let Some(snapshot) = row.snapshot {
                super::snapshots::require(tx, snapshot)?;
            }
            tx.prepare_cached(
                "INSERT INTO containers (id, name, image, snapshot, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((&row.id, &row.name, row.image, row.snapshot, row.created_at))?;
            Ok(())
        })
    }

    /// Finds a container by exact name, full ID, or unique ID prefix; several
    /// matches of a prefix are all returned (two at most).
    pub fn container_find(&self, text: &str) -> Result<Vec<ContainerRow>, Error> {
        let db = self.db();
        let find = |condition: &str| -> Result<Vec<ContainerRow>, Error> {
            let sql = format!("SELECT {COLUMNS} FROM containers WHERE {condition} LIMIT 2");
            let mut statement = db.prepare_cached(&sql)?;
            let rows = statement.query_map([text], container)?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        for condition in ["name = ?1", "id = ?1"] {
            let rows = find(condition)?;
            if !rows.is_empty() {
                return Ok(rows);
            }
        }
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        // `g` comes after every hexadecimal digit.
        find("id >= ?1 AND id < ?1 || 'g'")
    }

    /// Every container, newest first.
    pub fn container_list(&self) -> Result<Vec<ContainerRow>, Error> {
        let db = self.db();
        let sql = format!("SELECT {COLUMNS} FROM containers ORDER BY created_at DESC, id");
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map([], container)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NameTaken`] when the name is another container's.
    pub fn container_rename(&self, id: &str, name: &str) -> Result<bool, Error> {
        self.write(|tx| {
            let holder: Option<String> = tx
                .prepare_cached("SELECT id FROM containers WHERE name = ?1 AND id <> ?2")?
                .query_row((name, id), |row| row.get(0))
                .optional()?;
            if let Some(holder) = holder {
                return Err(Error::NameTaken {
                    name: name.to_owned(),
                    holder,
                });
            }
            let changed = tx
                .prepare_cached("UPDATE containers SET name = ?2 WHERE id = ?1")?
                .execute((id, name))?;
            Ok(changed > 0)
        })
    }

    /// Forgets a container; whether it was there.
    pub fn container_remove(&self, id: &str) -> Result<bool, Error> {
        let removed = self
            .db()
            .prepare_cached("DELETE FROM containers WHERE id = ?1")?
            .execute([id])?;
        Ok(removed > 0)
    }
}

fn container(row: &Row<'_>) -> rusqlite::Result<ContainerRow> {
    Ok(ContainerRow {
        id: row.get(0)?,
        name: row.get(1)?,
        image: row.get(2)?,
        snapshot: row.get(3)?,
        created_at: row.get(4)?,
    })
}
