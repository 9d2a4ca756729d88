//! What the build cache holds, as snapshots: how large, how old, and who else
//! needs them. And taking some of them away while others work.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Transaction};

use super::columns::{ACTIVE, COMMITTED, CONDEMNED, unsigned};
use super::reach::{Stacks, container_tops, image_tops, pinned};
use super::{Error, GRACE, Process, SnapshotId, Store, now};
use crate::oci::CacheKey;

/// How long a record without a result is remembered after its last use, in
/// nanoseconds: 30 days.
const ABSENT: i64 = 30 * 24 * 3_600 * 1_000_000_000;

/// A snapshot that the build cache holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUse {
    /// Its name.
    pub id: SnapshotId,
    /// The snapshot beneath.
    pub parent: Option<SnapshotId>,
    /// The snapshot in whose directory the content lies; `None` for its own.
    pub layer: Option<SnapshotId>,
    /// Bytes of regular files in its own directory.
    pub bytes: u64,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
    /// When it was used last, exact to an hour; when it was made, if never.
    pub used_at: i64,
    /// In how many hours it was used.
    pub uses: u64,
    /// The instruction that made it; empty for a layer that came with an image.
    pub description: String,
    /// The key that it was used under last, if a record leads to it.
    pub key: Option<CacheKey>,
    /// Whether it is being written.
    pub is_active: bool,
    /// Whether a living process has pinned it or writes on top of it.
    pub in_use: bool,
    /// Whether an image or a container has it too.
    pub is_shared: bool,
    /// Whether the user wants it, or something on top of it, to stay.
    pub is_kept: bool,
}

impl Store {
    /// The snapshots of the build cache: results of records with all that lies
    /// beneath, and what nothing reaches any more. Layers that only images and
    /// containers have are none of it.
    pub fn layer_uses(&self) -> Result<Vec<LayerUse>, Error> {
        let db = self.db();
        let stacks = Stacks::read(&db)?;
        let records = records(&db)?;
        let results: Vec<SnapshotId> = records.keys().copied().collect();
        let cached = stacks.down(results);
        let mut shared = image_tops(&db, &stacks)?;
        shared.extend(container_tops(&db)?);
        let shared = stacks.down(shared);
        let kept = stacks.down(kept_layers(&db)?);
        let mut busy = pinned(&db)?;
        busy.extend(living(&db)?);
        let busy = stacks.down(busy);
        let mut uses = Vec::new();
        let mut statement = db.prepare_cached(
            "SELECT id, parent, state, bytes, created_at, layer FROM snapshots WHERE state <> ?1
             ORDER BY id",
        )?;
        let mut rows = statement.query([CONDEMNED])?;
        while let Some(row) = rows.next()? {
            let id: SnapshotId = row.get(0)?;
            if shared.contains(&id) && !cached.contains(&id) {
                continue;
            }
            let created_at = row.get(4)?;
            let layer: Option<SnapshotId> = row.get(5)?;
            let record = records.get(&id).cloned().unwrap_or_default();
            uses.push(LayerUse {
                id,
                parent: row.get(1)?,
                layer,
                bytes: if layer.is_none() {
                    unsigned(row, 3)?
                } else {
                    0
                },
                created_at,
                used_at: record.used_at.max(created_at),
                uses: record.uses,
                description: record.description,
                key: record.key,
                is_active: row.get::<_, i64>(2)? == ACTIVE,
                in_use: busy.contains(&id),
                is_shared: shared.contains(&id),
                is_kept: kept.contains(&id),
            });
        }
        Ok(uses)
    }

    /// Condemns those of `ids` that nothing but their own cache records and each
    /// other need. The records stay for a while without a result: a step whose tree
    /// is not here may still lead to one whose tree is. Returns them, top first; the caller removes
    /// the directory of each and then calls [`Store::snapshot_forget`].
    ///
    /// What living processes have pinned stays, and so does what was made within
    /// the last minute and is no record's result yet.
    pub fn snapshot_evict(&self, ids: &[SnapshotId]) -> Result<Vec<SnapshotId>, Error> {
        self.write(|tx| {
            let wanted: HashSet<SnapshotId> = ids.iter().copied().collect();
            let stacks = Stacks::read(tx)?;
            let mut roots: Vec<SnapshotId> = stacks.others(&wanted);
            roots.extend(image_tops(tx, &stacks)?);
            roots.extend(container_tops(tx)?);
            roots.extend(kept_layers(tx)?);
            roots.extend(pinned(tx)?);
            roots.extend(fresh(tx)?);
            let needed = stacks.down(roots);
            let mut gone: Vec<SnapshotId> = wanted
                .into_iter()
                .filter(|id| stacks.has_committed(*id) && !needed.contains(id))
                .collect();
            tx.prepare_cached("DELETE FROM cache WHERE result IS NULL AND used_at < ?1")?
                .execute([now().saturating_sub(ABSENT)])?;
            for id in &gone {
                tx.prepare_cached("UPDATE cache SET result = NULL WHERE result = ?1")?
                    .execute([id])?;
                tx.prepare_cached("UPDATE snapshots SET state = ?2 WHERE id = ?1")?
                    .execute((id, CONDEMNED))?;
            }
            // A snapshot is made after the one beneath it.
            gone.sort_unstable_by(|a, b| b.cmp(a));
            Ok(gone)
        })
    }

    /// Forgets the cache records that lead to a snapshot, which stays.
    pub fn cache_forget(&self, result: SnapshotId) -> Result<(), Error> {
        self.db()
            .prepare_cached("DELETE FROM cache WHERE result = ?1")?
            .execute([result])?;
        Ok(())
    }

    /// Protects snapshots as [`Store::pin`] does, in one transaction; returns
    /// those that are not there any more.
    pub fn pin_all(&self, ids: &[SnapshotId]) -> Result<Vec<SnapshotId>, Error> {
        self.pinned
            .store(true, std::sync::atomic::Ordering::Relaxed);
        let process = self.process;
        self.write(|tx| {
            let mut pin = tx.prepare_cached(
                "INSERT INTO pins (snapshot, pid, started)
                 SELECT id, ?2, ?3 FROM snapshots WHERE id = ?1 AND state <> ?4",
            )?;
            let mut gone = Vec::new();
            for id in ids {
                let started = super::columns::signed(process.started);
                if pin.execute((id, process.pid, started, CONDEMNED))? == 0 {
                    gone.push(*id);
                }
            }
            Ok(gone)
        })
    }

    /// Says that the user wants a snapshot, or a cache mount, to stay or not.
    pub fn keep(&self, kind: Kept, id: i64, keep: bool) -> Result<(), Error> {
        let sql = if keep {
            "INSERT OR IGNORE INTO kept (kind, id) VALUES (?1, ?2)"
        } else {
            "DELETE FROM kept WHERE kind = ?1 AND id = ?2"
        };
        self.db().prepare_cached(sql)?.execute((kind.name(), id))?;
        Ok(())
    }

    /// The numbers of what the user wants to stay.
    pub fn kept(&self, kind: Kept) -> Result<HashSet<i64>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached("SELECT id FROM kept WHERE kind = ?1")?;
        let rows = statement.query_map([kind.name()], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Records when a snapshot was made where it was made first, nanoseconds since 1970.
    pub fn snapshot_set_created(&self, id: SnapshotId, created_at: i64) -> Result<(), Error> {
        self.db()
            .prepare_cached("UPDATE snapshots SET created_at = ?2 WHERE id = ?1")?
            .execute((id, created_at))?;
        Ok(())
    }
}

/// What can be kept whatever its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A snapshot, with all beneath it.
    Layer,
    /// A cache mount.
    Mount,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Self::Layer => "layer",
            Self::Mount => "mount",
        }
    }
}

/// What the records that lead to one snapshot tell together.
#[derive(Debug, Clone, Default)]
struct Uses {
    used_at: i64,
    uses: u64,
    description: String,
    key: Option<CacheKey>,
}

fn records(db: &Connection) -> Result<HashMap<SnapshotId, Uses>, Error> {
    let mut records: HashMap<SnapshotId, Uses> = HashMap::new();
    let mut statement = db.prepare_cached(
        "SELECT result, used_at, uses, description, key FROM cache WHERE result IS NOT NULL
         ORDER BY used_at, created_at",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let uses = records.entry(row.get(0)?).or_default();
        uses.used_at = row.get(1)?;
        uses.uses += unsigned(row, 2)?;
        uses.description = row.get(3)?;
        uses.key = row.get(4)?;
    }
    Ok(records)
}

/// Snapshots that the user wants to stay.
pub(super) fn kept_layers(db: &Connection) -> Result<Vec<SnapshotId>, Error> {
    let mut statement = db.prepare_cached("SELECT id FROM kept WHERE kind = 'layer'")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Active snapshots of living processes.
fn living(db: &Connection) -> Result<Vec<SnapshotId>, Error> {
    let mut statement =
        db.prepare_cached("SELECT id, pid, started FROM snapshots WHERE state <> 1 AND state = 0")?;
    let mut rows = statement.query([])?;
    let mut living = Vec::new();
    while let Some(row) = rows.next()? {
        let process = Process {
            pid: row.get(1)?,
            started: unsigned(row, 2)?,
        };
        if process.is_alive() {
            living.push(row.get(0)?);
        }
    }
    Ok(living)
}

/// What its maker may not yet have named anywhere.
fn fresh(tx: &Transaction<'_>) -> Result<Vec<SnapshotId>, Error> {
    let mut statement = tx.prepare_cached(
        "SELECT id FROM snapshots WHERE state = ?1 AND created_at > ?2
         AND NOT EXISTS (SELECT 1 FROM cache WHERE result = snapshots.id)",
    )?;
    let rows = statement.query_map((COMMITTED, now().saturating_sub(GRACE)), |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
