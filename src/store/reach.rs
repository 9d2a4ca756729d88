//! Which snapshots something still needs.
//!
//! Roots are: the layers of every image (each prefix of its diff IDs as a chain
//! ID), the results of cache records, what containers lie on, what living
//! processes have pinned or are writing, and whatever was made within the last
//! minute. A root needs everything beneath it, and those in whose directories the
//! content lies.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, Transaction};

use super::columns::{ACTIVE, COMMITTED, CONDEMNED, unsigned};
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
    let mut needs: HashMap<SnapshotId, [Option<SnapshotId>; 2]> = HashMap::new();
    let mut chains: HashMap<ChainId, Vec<SnapshotId>> = HashMap::new();
    let mut roots = Vec::new();
    let newest = now().saturating_sub(GRACE);
    let mut statement =
        tx.prepare_cached("SELECT id, parent, state, chain_id, created_at, layer FROM snapshots")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: SnapshotId = row.get(0)?;
        let state: i64 = row.get(2)?;
        needs.insert(id, [row.get(1)?, row.get(5)?]);
        if let Some(chain) = row.get(3)? {
            chains.entry(chain).or_default().push(id);
        }
        // An active one of a dead process goes first; until then it needs its parents.
        if state == ACTIVE || (state == COMMITTED && row.get::<_, i64>(4)? > newest) {
            roots.push(id);
        }
    }
    roots.extend(named(tx)?);
    for chain in image_chains(tx)? {
        roots.extend(chains.get(&chain).into_iter().flatten());
    }
    let mut reached = HashSet::new();
    while let Some(id) = roots.pop() {
        if let Some(needed) = needs.get(&id)
            && reached.insert(id)
        {
            roots.extend(needed.iter().flatten());
        }
    }
    Ok(reached)
}

/// Snapshots that a cache record, a container or the pin of a living process names.
fn named(db: &Connection) -> Result<Vec<SnapshotId>, Error> {
    let mut named = Vec::new();
    for sql in [
        "SELECT DISTINCT result FROM cache WHERE result IS NOT NULL",
        "SELECT DISTINCT snapshot FROM containers WHERE snapshot IS NOT NULL",
    ] {
        let mut statement = db.prepare_cached(sql)?;
        for id in statement.query_map([], |row| row.get(0))? {
            named.push(id?);
        }
    }
    let mut statement =
        db.prepare_cached("SELECT snapshot, pid, started FROM pins WHERE snapshot IS NOT NULL")?;
    let mut rows = statement.query([])?;
    let mut gone = HashSet::new();
    while let Some(row) = rows.next()? {
        let process = Process {
            pid: row.get(1)?,
            started: unsigned(row, 2)?,
        };
        if process.is_alive() {
            named.push(row.get(0)?);
        } else {
            gone.insert(process.pid);
        }
    }
    for pid in gone {
        db.prepare_cached("DELETE FROM pins WHERE pid = ?1")?
            .execute([pid])?;
    }
    Ok(named)
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
