//! Which snapshots something still needs.
//!
//! Roots are: the layers of every image (each prefix of its diff IDs as a chain
//! ID), the results of cache records, what containers lie on, what the user wants
//! to keep, what living processes have pinned or are writing, and whatever was
//! made within the last minute. A root needs everything beneath it, and those in
//! whose directories the content lies.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Transaction};

use super::columns::{ACTIVE, COMMITTED, CONDEMNED, unsigned};
use super::usage::kept_layers;
use super::{Error, GRACE, Process, SnapshotId, Store, now};
use crate::oci::{ChainId, DiffId};

/// The members of an image configuration that lead to snapshots.
#[derive(serde::Deserialize)]
struct Layers {
    rootfs: RootFs,
}

#[derive(serde::Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<DiffId>,
}

impl Store {
    /// Committed snapshots that nothing reaches: no image, cache record or
    /// container, nor another snapshot on top; top first.
    ///
    /// They are condemned from here on: no look-up by chain or cache key finds
    /// them, and nothing can be put on top. The caller removes the directory of
    /// each and then calls [`Store::snapshot_forget`]; what a killed collector
    /// leaves behind is returned again.
    pub fn snapshot_unreached(&self) -> Result<Vec<SnapshotId>, Error> {
        self.write(|tx| {
            let reached = reached(tx)?;
            let mut statement =
                tx.prepare_cached("SELECT id, state FROM snapshots WHERE state <> ?1")?;
            let mut rows = statement.query([ACTIVE])?;
            let mut unreached = Vec::new();
            let mut condemn = tx.prepare_cached("UPDATE snapshots SET state = ?2 WHERE id = ?1")?;
            let mut fresh = Vec::new();
            while let Some(row) = rows.next()? {
                let (id, state): (SnapshotId, i64) = (row.get(0)?, row.get(1)?);
                if state == CONDEMNED {
                    unreached.push(id);
                } else if !reached.contains(&id) {
                    unreached.push(id);
                    fresh.push(id);
                }
            }
            for id in fresh {
                condemn.execute((id, CONDEMNED))?;
            }
            // A snapshot is made after the one beneath it.
            unreached.sort_unstable_by(|a, b| b.cmp(a));
            Ok(unreached)
        })
    }
}

fn reached(tx: &Transaction<'_>) -> Result<HashSet<SnapshotId>, Error> {
    let stacks = Stacks::read(tx)?;
    let newest = now().saturating_sub(GRACE);
    // An active one of a dead process goes first; until then it needs its parents.
    let mut roots = stacks.recent(newest);
    roots.extend(cache_tops(tx)?);
    roots.extend(container_tops(tx)?);
    roots.extend(kept_layers(tx)?);
    roots.extend(living_pins(tx)?);
    roots.extend(image_tops(tx, &stacks)?);
    Ok(stacks.down(roots))
}

/// What lies on what.
pub(super) struct Stacks {
    rows: HashMap<SnapshotId, Place>,
    chains: HashMap<ChainId, Vec<SnapshotId>>,
}

struct Place {
    /// The snapshot beneath, and the one in whose directory the content lies.
    needs: [Option<SnapshotId>; 2],
    state: i64,
    created_at: i64,
}

impl Stacks {
    /// Reads the place of every snapshot.
    pub(super) fn read(db: &Connection) -> Result<Self, Error> {
        let mut stacks = Self {
            rows: HashMap::new(),
            chains: HashMap::new(),
        };
        let mut statement = db.prepare_cached(
            "SELECT id, parent, state, chain_id, created_at, layer FROM snapshots",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: SnapshotId = row.get(0)?;
            if let Some(chain) = row.get(3)? {
                stacks.chains.entry(chain).or_default().push(id);
            }
            let place = Place {
                needs: [row.get(1)?, row.get(5)?],
                state: row.get(2)?,
                created_at: row.get(4)?,
            };
            stacks.rows.insert(id, place);
        }
        Ok(stacks)
    }

    /// `tops` and everything that they need.
    pub(super) fn down(&self, mut tops: Vec<SnapshotId>) -> HashSet<SnapshotId> {
        let mut found = HashSet::new();
        while let Some(id) = tops.pop() {
            if let Some(place) = self.rows.get(&id)
                && found.insert(id)
            {
                tops.extend(place.needs.iter().flatten());
            }
        }
        found
    }

    /// Whether there is such a snapshot, finished and not on its way out.
    pub(super) fn has_committed(&self, id: SnapshotId) -> bool {
        self.rows
            .get(&id)
            .is_some_and(|place| place.state == COMMITTED)
    }

    /// Every snapshot that is not among `ids`.
    pub(super) fn others(&self, ids: &HashSet<SnapshotId>) -> Vec<SnapshotId> {
        let all = self.rows.keys();
        all.filter(|id| !ids.contains(id)).copied().collect()
    }

    /// Active snapshots and those that were committed after `newest`.
    fn recent(&self, newest: i64) -> Vec<SnapshotId> {
        let is_recent = |place: &Place| {
            place.state == ACTIVE || (place.state == COMMITTED && place.created_at > newest)
        };
        let recent = self.rows.iter().filter(|(_, place)| is_recent(place));
        recent.map(|(id, _)| *id).collect()
    }
}

/// The results of cache records.
fn cache_tops(db: &Connection) -> Result<Vec<SnapshotId>, Error> {
    ids(
        db,
        "SELECT DISTINCT result FROM cache WHERE result IS NOT NULL",
    )
}

/// What containers lie on.
pub(super) fn container_tops(db: &Connection) -> Result<Vec<SnapshotId>, Error> {
    ids(
        db,
        "SELECT DISTINCT snapshot FROM containers WHERE snapshot IS NOT NULL",
    )
}

fn ids(db: &Connection, sql: &str) -> Result<Vec<SnapshotId>, Error> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The snapshots of images' layers.
pub(super) fn image_tops(db: &Connection, stacks: &Stacks) -> Result<Vec<SnapshotId>, Error> {
    let chains = image_chains(db)?.into_iter();
    let found = chains.filter_map(|chain| stacks.chains.get(&chain));
    Ok(found.flatten().copied().collect())
}

/// What living processes have pinned.
pub(super) fn pinned(db: &Connection) -> Result<Vec<SnapshotId>, Error> {
    Ok(pins(db)?.0)
}

/// The same; pins of dead processes are dropped on the way.
fn living_pins(db: &Connection) -> Result<Vec<SnapshotId>, Error> {
    let (living, gone) = pins(db)?;
    for pid in gone {
        db.prepare_cached("DELETE FROM pins WHERE pid = ?1")?
            .execute([pid])?;
    }
    Ok(living)
}

/// What living processes have pinned, and the numbers of dead ones with pins.
fn pins(db: &Connection) -> Result<(Vec<SnapshotId>, HashSet<i32>), Error> {
    let mut statement =
        db.prepare_cached("SELECT snapshot, pid, started FROM pins WHERE snapshot IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let (mut living, mut gone) = (Vec::new(), HashSet::new());
    // One look at each process, however much it has pinned.
    let mut known: HashMap<Process, bool> = HashMap::new();
    while let Some(row) = rows.next()? {
        let process = Process {
            pid: row.get(1)?,
            started: unsigned(row, 2)?,
        };
        if *known.entry(process).or_insert_with(|| process.is_alive()) {
            living.push(row.get(0)?);
        } else {
            gone.insert(process.pid);
        }
    }
    Ok((living, gone))
}

/// The chain IDs of every prefix of every image's layers.
fn image_chains(db: &Connection) -> Result<HashSet<ChainId>, Error> {
    let mut chains = HashSet::new();
    let mut statement = db.prepare_cached("SELECT config FROM images")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        // What cannot be read names no layers that could ever be used.
        let Ok(layers) = serde_json::from_slice::<Layers>(&row.get::<_, Vec<u8>>(0)?) else {
            continue;
        };
        let mut chain: Option<ChainId> = None;
        for diff_id in layers.rootfs.diff_ids {
            let next = chain.map_or_else(|| ChainId::base(diff_id), |below| below.push(diff_id));
            chains.insert(next);
            chain = Some(next);
        }
    }
    Ok(chains)
}
