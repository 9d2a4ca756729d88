//! Cache records: key to result, with the parts of the key.

use rusqlite::{OptionalExtension, Row};

use super::columns::COMMITTED;
use super::{Error, SnapshotId, Store, now};
use crate::oci::{CacheKey, Digest};

/// How exact the time of last use is kept, in nanoseconds: a use within this
/// time writes nothing, so that a build with nothing to do only reads.
const USE_GRAIN: i64 = 3_600 * 1_000_000_000;

/// One named part of a cache key, kept so that a miss can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// What it is: `parent`, `command`, `env PATH`, `file src/main.rs`.
    pub name: String,
    /// Its value, or the digest of it.
    pub value: String,
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// The key.
    pub key: CacheKey,
    /// Which step this is in its Dockerfile, whatever the contents: the same for
    /// two records that differ only in inputs. Used to explain and to reuse.
    pub line: Digest,
    /// The snapshot on which the result lies, or the same as its parent's when
    /// the step changed nothing; `None` when the step is known, but its tree is
    /// not here: it was found elsewhere and never needed, or was removed.
    pub result: Option<SnapshotId>,
    /// The parts of the key.
    pub parts: Vec<KeyPart>,
    /// The key of the step that it ran on, if it ran on one.
    pub parent: Option<CacheKey>,
    /// The instruction, for people.
    pub description: String,
}

const COLUMNS: &str = "key, line, result, parts, parent, description";
/// Whether the result of a record is still there; `?2` is the committed state.
const THERE: &str = "(result IS NULL OR EXISTS
    (SELECT 1 FROM snapshots WHERE id = result AND state = ?2))";

impl Store {
    /// The result under `key`, if its snapshot is still there; counts as a use.
    pub fn cache_get(&self, key: CacheKey) -> Result<Option<CacheRecord>, Error> {
        let now = now();
        let db = self.db();
        let found = db
            .prepare_cached(&format!(
                "SELECT {COLUMNS}, used_at FROM cache WHERE key = ?1 AND {THERE}"
            ))?
            .query_row((key, COMMITTED), |row| {
                Ok((record(row)?, row.get::<_, i64>("used_at")?))
            })
            .optional()?;
        let Some((record, used_at)) = found else {
            return Ok(None);
        };
        if now.saturating_sub(used_at) > USE_GRAIN {
            db.prepare_cached("UPDATE cache SET used_at = ?2, uses = uses + 1 WHERE key = ?1")?
                .execute((key, now))?;
        }
        Ok(Some(record))
    }

    /// Remembers a result; the first one under a key stays, unless its snapshot
    /// is gone.
    pub fn cache_put(&self, record: &CacheRecord) -> Result<(), Error> {
        let now = now();
        self.db()
            .prepare_cached(
                "INSERT INTO cache
                     (key, line, result, created_at, used_at, parts, parent, description)
                 VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?7, ?8)
                 ON CONFLICT (key) DO UPDATE
                 SET line = excluded.line, result = excluded.result, parts = excluded.parts,
                     created_at = excluded.created_at, used_at = excluded.used_at,
                     parent = excluded.parent, description = excluded.description
                 WHERE NOT EXISTS
                     (SELECT 1 FROM snapshots WHERE id = cache.result AND state = ?6)",
            )?
            .execute((
                record.key,
                record.line,
                record.result,
                now,
                pack_parts(&record.parts),
                COMMITTED,
                record.parent,
                &record.description,
            ))?;
        Ok(())
    }

    /// Remembers a result in place of the one under its key (`--no-cache`).
    pub fn cache_replace(&self, record: &CacheRecord) -> Result<(), Error> {
        self.db()
            .prepare_cached("DELETE FROM cache WHERE key = ?1")?
            .execute([record.key])?;
        self.cache_put(record)
    }

    /// The record under `key`, whatever became of its result; not counted as a use.
    pub fn cache_peek(&self, key: CacheKey) -> Result<Option<CacheRecord>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM cache WHERE key = ?1");
        Ok(self
            .db()
            .prepare_cached(&sql)?
            .query_row([key], record)
            .optional()?)
    }

    /// The newest record of the same step with other inputs.
    pub fn cache_nearest(&self, line: Digest) -> Result<Option<CacheRecord>, Error> {
        Ok(self.cache_of_line(line, 1)?.pop())
    }

    /// At most `limit` records of the same step with other inputs: those whose tree
    /// is here before the others, the newest first.
    pub fn cache_of_line(&self, line: Digest, limit: u32) -> Result<Vec<CacheRecord>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM cache WHERE line = ?1 AND {THERE}
             ORDER BY result IS NULL, created_at DESC LIMIT ?3"
        ))?;
        let rows = statement.query_map((line, COMMITTED, limit), record)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// At most `limit` records of steps that ran on the step with this key, the
    /// newest first.
    pub fn cache_on(&self, parent: CacheKey, limit: u32) -> Result<Vec<CacheRecord>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM cache WHERE parent = ?1 ORDER BY created_at DESC LIMIT ?2"
        ))?;
        let rows = statement.query_map((parent, limit), record)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Forgets every record (`builder prune -a`); returns how many.
    pub fn cache_clear(&self) -> Result<u64, Error> {
        Ok(self.db().execute("DELETE FROM cache", [])? as u64)
    }

    /// Forgets the records whose tree is not here; returns how many.
    pub fn cache_forget_absent(&self) -> Result<u64, Error> {
        Ok(self
            .db()
            .execute("DELETE FROM cache WHERE result IS NULL", [])? as u64)
    }
}

fn record(row: &Row<'_>) -> rusqlite::Result<CacheRecord> {
    Ok(CacheRecord {
        key: row.get(0)?,
        line: row.get(1)?,
        result: row.get(2)?,
        parts: unpack_parts(row.get_ref(3)?.as_blob()?),
        parent: row.get(4)?,
        description: row.get(5)?,
    })
}

/// Names and values one after another, each with its length before it as a
/// little-endian 32-bit number.
fn pack_parts(parts: &[KeyPart]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in parts.iter().flat_map(|part| [&part.name, &part.value]) {
        let text = &text.as_bytes()[..text.len().min(u32::MAX as usize)];
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(text);
    }
    bytes
}

/// Parts that [`pack_parts`] wrote; what is damaged is left out, because they
/// only serve to explain.
fn unpack_parts(mut bytes: &[u8]) -> Vec<KeyPart> {
    let mut text = || {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        bytes = rest;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    std::iter::from_fn(|| {
        Some(KeyPart {
            name: text()?,
            value: text()?,
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_their_packing() {
        let part = |name: &str, value: &str| KeyPart {
            name: name.to_owned(),
            value: value.to_owned(),
        };
        let parts = vec![part("parent", ""), part("", "a\0b\n"), part("ä", "ö")];
        let bytes = pack_parts(&parts);
        assert_eq!(unpack_parts(&bytes), parts);
        assert_eq!(unpack_parts(&bytes[..bytes.len() - 1]), parts[..2]);
        assert!(unpack_parts(&[255; 9]).is_empty());
    }
}
