//! The register of snapshots: which trees there are, what each lies on, and
//! what is known of it.

use std::sync::atomic::Ordering;

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::columns::{ACTIVE, COMMITTED, CONDEMNED, signed, unsigned, unsigned_option};
use super::{Error, Process, Store, now};
use crate::oci::{ChainId, DiffId, Digest};

/// Names a snapshot in this store; also its directory, `snapshots/<id>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotId(pub i64);

impl std::fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a snapshot may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotState {
    /// Being written by the process that owns it.
    Active,
    /// Finished; never changes again.
    Committed,
}

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its name.
    pub id: SnapshotId,
    /// The snapshot beneath; `None` at the bottom.
    pub parent: Option<SnapshotId>,
    /// The snapshot in whose directory the content lies; `None` for its own.
    pub layer: Option<SnapshotId>,
    /// How many snapshots the stack has, itself included.
    pub depth: u32,
    /// Whether it may still change.
    pub state: SnapshotState,
    /// Diff ID of its canonical tar, or of the tar it was unpacked from, once known.
    pub diff_id: Option<DiffId>,
    /// Length of that tar in bytes.
    pub tar_size: Option<u64>,
    /// Chain ID of the whole stack, once every diff ID in it is known.
    pub chain_id: Option<ChainId>,
    /// Digest of the tree without times (`docs/cache.md`), once known.
    pub tree: Option<Digest>,
    /// Bytes of regular files in it.
    pub bytes: u64,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
}

const COLUMNS: &str =
    "id, parent, depth, state, diff_id, tar_size, chain_id, tree, bytes, created_at, layer";

impl Store {
    /// Registers an active snapshot on `parent`, owned by this process.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] when the parent is not there or not committed.
    pub fn snapshot_begin(&self, parent: Option<SnapshotId>) -> Result<SnapshotId, Error> {
        self.snapshot_begin_with(parent, None)
    }

    /// The same, for one whose content lies in the directory of `layer`, which
    /// stays as long as it does.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] when the parent or the layer is not there or not committed.
    pub fn snapshot_begin_with(
        &self,
        parent: Option<SnapshotId>,
        layer: Option<SnapshotId>,
    ) -> Result<SnapshotId, Error> {
        let process = self.process;
        self.write(|tx| {
            let depth = match parent {
                Some(parent) => 1 + require(tx, parent)?,
                None => 1,
            };
            if let Some(layer) = layer {
                require(tx, layer)?;
            }
            tx.prepare_cached(
                "INSERT INTO snapshots
                     (parent, depth, state, bytes, created_at, pid, started, layer)
                 VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7)",
            )?
            .execute((
                parent,
                depth,
                ACTIVE,
                now(),
                process.pid,
                signed(process.started),
                layer,
            ))?;
            Ok(SnapshotId(tx.last_insert_rowid()))
        })
    }

    /// Marks a snapshot committed, with what is known of it.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] when it is not there or not active.
    pub fn snapshot_commit(
        &self,
        id: SnapshotId,
        bytes: u64,
        diff: Option<(DiffId, u64)>,
        tree: Option<Digest>,
    ) -> Result<SnapshotRow, Error> {
        self.write(|tx| {
            // The grace against collection counts from here.
            let changed = tx
                .prepare_cached(
                    "UPDATE snapshots SET state = ?2, bytes = ?3, tree = ?4, created_at = ?5
                     WHERE id = ?1 AND state = ?6",
                )?
                .execute((id, COMMITTED, signed(bytes), tree, now(), ACTIVE))?;
            if changed == 0 {
                return Err(Error::NoSnapshot(id));
            }
            if let Some((diff_id, tar_size)) = diff {
                set_diff(tx, id, diff_id, tar_size)?;
            }
            get(tx, id)?.ok_or(Error::NoSnapshot(id))
        })
    }

    /// Forgets a snapshot and the cache records that lead to it. The caller
    /// removes its directory first.
    pub fn snapshot_forget(&self, id: SnapshotId) -> Result<(), Error> {
        self.write(|tx| {
            for sql in [
                "DELETE FROM cache WHERE result = ?1",
                "DELETE FROM kept WHERE id = ?1 AND kind = 'layer'",
                "DELETE FROM pins WHERE snapshot = ?1",
                "DELETE FROM snapshots WHERE id = ?1",
            ] {
                tx.prepare_cached(sql)?.execute([id])?;
            }
            Ok(())
        })
    }

    /// The snapshot with this name.
    pub fn snapshot_get(&self, id: SnapshotId) -> Result<Option<SnapshotRow>, Error> {
        get(&self.db(), id)
    }

    /// A committed snapshot whose stack has this chain ID.
    pub fn snapshot_by_chain(&self, chain: ChainId) -> Result<Option<SnapshotRow>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM snapshots WHERE chain_id = ?1 AND state = ?2
             ORDER BY id LIMIT 1"
        );
        Ok(self
            .db()
            .prepare_cached(&sql)?
            .query_row((chain, COMMITTED), snapshot)
            .optional()?)
    }

    /// The whole stack, top first.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`] when it is not there.
    pub fn snapshot_stack(&self, id: SnapshotId) -> Result<Vec<SnapshotRow>, Error> {
        let db = self.db();
        // Columns of both sides have the same names, so `COLUMNS` cannot serve.
        let mut statement = db.prepare_cached(
            "WITH RECURSIVE stack (id, parent) AS (
                 SELECT id, parent FROM snapshots WHERE id = ?1
                 UNION ALL
                 SELECT s.id, s.parent FROM snapshots s JOIN stack ON s.id = stack.parent)
             SELECT s.id, s.parent, depth, state, diff_id, tar_size, chain_id, tree, bytes,
                    created_at, layer
             FROM stack JOIN snapshots s USING (id) ORDER BY depth DESC",
        )?;
        let rows = statement.query_map([id], snapshot)?;
        let stack = rows.collect::<Result<Vec<_>, _>>()?;
        if stack.is_empty() {
            return Err(Error::NoSnapshot(id));
        }
        Ok(stack)
    }

    /// Records the diff ID and tar size of a committed snapshot, and its chain ID
    /// if its parent's is known; then also those of the snapshots on top that
    /// waited for it.
    pub fn snapshot_set_diff(
        &self,
        id: SnapshotId,
        diff_id: DiffId,
        tar_size: u64,
    ) -> Result<SnapshotRow, Error> {
        self.write(|tx| {
            set_diff(tx, id, diff_id, tar_size)?;
            get(tx, id)?.ok_or(Error::NoSnapshot(id))
        })
    }

    /// Records the tree digest of a committed snapshot.
    pub fn snapshot_set_tree(&self, id: SnapshotId, tree: Digest) -> Result<(), Error> {
        self.db()
            .prepare_cached("UPDATE snapshots SET tree = ?2 WHERE id = ?1")?
            .execute((id, tree))?;
        Ok(())
    }

    /// Every snapshot, oldest first.
    pub fn snapshot_list(&self) -> Result<Vec<SnapshotRow>, Error> {
        let db = self.db();
        let sql = format!("SELECT {COLUMNS} FROM snapshots ORDER BY id");
        let mut statement = db.prepare_cached(&sql)?;
        let rows = statement.query_map([], snapshot)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Active snapshots whose owner is gone.
    pub fn snapshot_orphans(&self) -> Result<Vec<SnapshotId>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            // The first condition is the one that the index is made for.
            "SELECT id, pid, started FROM snapshots WHERE state <> 1 AND state = 0
             ORDER BY id DESC",
        )?;
        let rows = statement.query_map([], |row| {
            let owner = Process {
                pid: row.get(1)?,
                started: unsigned(row, 2)?,
            };
            Ok((row.get(0)?, owner))
        })?;
        let mut orphans = Vec::new();
        for row in rows {
            let (id, owner): (SnapshotId, Process) = row?;
            if !owner.is_alive() {
                orphans.push(id);
            }
        }
        Ok(orphans)
    }

    /// Protects a snapshot and those beneath it from being collected while this
    /// process lives or until [`Store::unpin_all`]; whether it is there. When it
    /// is not, the caller looks for its tree anew.
    pub fn pin(&self, id: SnapshotId) -> Result<bool, Error> {
        self.pinned.store(true, Ordering::Relaxed);
        let process = self.process;
        self.write(|tx| {
            let pinned = tx
                .prepare_cached(
                    "INSERT INTO pins (snapshot, pid, started)
                     SELECT id, ?2, ?3 FROM snapshots WHERE id = ?1 AND state <> ?4",
                )?
                .execute((id, process.pid, signed(process.started), CONDEMNED))?;
            Ok(pinned > 0)
        })
    }

    /// Ends the protection by every pin of this process.
    pub fn unpin_all(&self) -> Result<(), Error> {
        self.db()
            .prepare_cached("DELETE FROM pins WHERE pid = ?1 AND started = ?2")?
            .execute((self.process.pid, signed(self.process.started)))?;
        Ok(())
    }
}

/// The depth of a committed snapshot that is not being removed.
pub(super) fn require(db: &Connection, id: SnapshotId) -> Result<u32, Error> {
    db.prepare_cached("SELECT depth FROM snapshots WHERE id = ?1 AND state = ?2")?
        .query_row((id, COMMITTED), |row| row.get(0))
        .optional()?
        .ok_or(Error::NoSnapshot(id))
}

fn get(db: &Connection, id: SnapshotId) -> Result<Option<SnapshotRow>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM snapshots WHERE id = ?1");
    Ok(db
        .prepare_cached(&sql)?
        .query_row([id], snapshot)
        .optional()?)
}

fn set_diff(
    tx: &Transaction<'_>,
    id: SnapshotId,
    diff_id: DiffId,
    tar_size: u64,
) -> Result<(), Error> {
    tx.prepare_cached("UPDATE snapshots SET diff_id = ?2, tar_size = ?3 WHERE id = ?1")?
        .execute((id, diff_id, signed(tar_size)))?;
    let mut parent_of = tx.prepare_cached("SELECT parent FROM snapshots WHERE id = ?1")?;
    let below = match parent_of.query_row([id], |row| row.get(0)).optional()? {
        None => return Err(Error::NoSnapshot(id)),
        Some(None) => None,
        Some(Some(parent)) => {
            let parent: SnapshotRow = get(tx, parent)?.ok_or(Error::NoSnapshot(parent))?;
            match parent.chain_id {
                None => return Ok(()),
                chain => chain,
            }
        }
    };
    let chain_of = |below: Option<ChainId>, diff_id: DiffId| {
        below.map_or_else(|| ChainId::base(diff_id), |below| below.push(diff_id))
    };
    let mut set_chain = tx.prepare_cached("UPDATE snapshots SET chain_id = ?2 WHERE id = ?1")?;
    let mut above = tx.prepare_cached(
        "SELECT id, diff_id FROM snapshots WHERE parent = ?1 AND diff_id NOT NULL",
    )?;
    let mut ready = vec![(id, chain_of(below, diff_id))];
    while let Some((id, chain)) = ready.pop() {
        set_chain.execute((id, chain))?;
        let rows = above.query_map([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for row in rows {
            let (id, diff_id): (SnapshotId, DiffId) = row?;
            ready.push((id, chain_of(Some(chain), diff_id)));
        }
    }
    Ok(())
}

fn snapshot(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    Ok(SnapshotRow {
        id: row.get(0)?,
        parent: row.get(1)?,
        depth: row.get(2)?,
        state: row.get(3)?,
        diff_id: row.get(4)?,
        tar_size: unsigned_option(row, 5)?,
        chain_id: row.get(6)?,
        tree: row.get(7)?,
        bytes: unsigned(row, 8)?,
        created_at: row.get(9)?,
        layer: row.get(10)?,
    })
}
