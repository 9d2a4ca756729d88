//! Directories of `RUN --mount=type=cache`: they outlive builds and are no part of
//! any layer.
//!
//! Each is `caches/<id>/fs` with a lock beside it, which whoever mounts it holds,
//! shared or alone; a killed holder lets go of it. Those locks are only taken
//! while `<run>/locks/cache-mounts` is held, so that looking for a free directory,
//! making one and removing one never race.

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::Row;

use super::columns::{signed, unsigned_option};
use super::{Error, Store, now};
use crate::fs::{At as _, Lock, PathError, remove_tree};

/// States in the index.
const FILLING: i64 = 0;
const READY: i64 = 1;
const RETIRED: i64 = 2;

/// Which cache a mount asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CacheMountKey {
    /// What keeps projects apart: `BUILDKIT_CACHE_MOUNT_NS`, else empty.
    pub namespace: String,
    /// `id` of the mount.
    pub key: String,
    /// What the directory begins with, mode and owner included; empty for an
    /// empty one with the usual mode and owner.
    pub base: String,
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheSharing {
    /// Everyone at once.
    Shared,
    /// Each has a directory of its own; it is kept for the next one.
    Private,
    /// One after the other.
    Locked,
}

/// A cache mount's directory, as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMountRow {
    /// Its number.
    pub id: u64,
    /// `BUILDKIT_CACHE_MOUNT_NS`, else empty.
    pub namespace: String,
    /// `id` of the mount.
    pub key: String,
    /// What it began with; empty for an empty directory.
    pub base: String,
    /// The directory itself.
    pub path: PathBuf,
    /// When it was made, in nanoseconds since 1970.
    pub created_at: i64,
    /// When it was mounted last.
    pub used_at: i64,
    /// Its size when it was last measured ([`Store::cache_mount_measured`]).
    pub bytes: Option<u64>,
}

/// A cache mount in use: while this lives, nobody removes it.
#[derive(Debug)]
pub struct CacheMount {
    /// What it is.
    pub row: CacheMountRow,
    /// Whether it was just made: empty, root's, mode 0755, and nobody else's until
    /// [`Store::cache_mount_ready`]. Dropped before that, it is given up.
    pub is_new: bool,
    sharing: CacheSharing,
    lock: Lock,
}

impl Store {
    /// Every cache mount that a build can find, by number.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMountRow>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT id, namespace, name, base, created_at, used_at, bytes FROM cache_mounts
             WHERE state = ?1 ORDER BY id",
        )?;
        let rows = statement.query_map([READY], |row| self.cache_mount_row(row))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Takes a directory for `key`, or makes one; nothing while somebody else has
    /// it for themselves, or is just filling it. Then the caller asks again later.
    ///
    /// # Errors
    /// [`Error::File`] when the disk refuses.
    pub fn cache_mount_try(
        &self,
        key: &CacheMountKey,
        sharing: CacheSharing,
    ) -> Result<Option<CacheMount>, Error> {
        let _registry = self.cache_mount_registry()?;
        let mut busy = false;
        for (row, state) in self.cache_mount_find(key)? {
            if !row.path.exists() {
                // A power cut took the directory, or a crash came before it.
                self.cache_mount_drop(&row)?;
                continue;
            }
            let lock = self.cache_mount_lock(&row);
            let taken = match (state, sharing) {
                (READY, CacheSharing::Shared) => Lock::try_shared(&lock)?,
                _ => Lock::try_exclusive(&lock)?,
            };
            match taken {
                // Whoever filled it died.
                Some(lock) if state == FILLING => {
                    self.cache_mount_drop(&row)?;
                    drop(lock);
                }
                Some(lock) => {
                    self.db()
                        .prepare_cached("UPDATE cache_mounts SET used_at = ?2 WHERE id = ?1")?
                        .execute((signed(row.id), now()))?;
                    return Ok(Some(CacheMount {
                        row,
                        is_new: false,
                        sharing,
                        lock,
                    }));
                }
                None if state == FILLING => busy = true,
                None => busy |= sharing == CacheSharing::Locked,
            }
        }
        if busy && sharing != CacheSharing::Private {
            return Ok(None);
        }
        self.cache_mount_make(key, sharing).map(Some)
    }

    /// Says that a new directory is filled: others find it from now on.
    pub fn cache_mount_ready(&self, mount: &mut CacheMount) -> Result<(), Error> {
        let _registry = self.cache_mount_registry()?;
        self.db()
            .prepare_cached("UPDATE cache_mounts SET state = ?2 WHERE id = ?1")?
            .execute((signed(mount.row.id), READY))?;
        mount.is_new = false;
        if mount.sharing == CacheSharing::Shared {
            // Nobody can snatch it: locks are only taken with the registry's held.
            let path = self.cache_mount_lock(&mount.row);
            mount.lock.share().at("lock", path)?;
        }
        Ok(())
    }

    /// Retires every directory of `key`: the next mount begins with a new one.
    /// Those in use stay until they are let go and the next sweep comes.
    pub fn cache_mount_renew(&self, key: &CacheMountKey) -> Result<(), Error> {
        let _registry = self.cache_mount_registry()?;
        self.db()
            .prepare_cached(
                "UPDATE cache_mounts SET state = ?4
                 WHERE name = ?1 AND namespace = ?2 AND base = ?3 AND state = ?5",
            )?
            .execute((&key.key, &key.namespace, &key.base, RETIRED, READY))?;
        Ok(())
    }

    /// Removes a cache mount with its content; returns whether it did. One that is
    /// in use, or is gone already, stays as it is.
    pub fn cache_mount_remove(&self, id: u64) -> Result<bool, Error> {
        let (dir, _lock) = {
            let _registry = self.cache_mount_registry()?;
            let row = self.cache_mounts()?.into_iter().find(|row| row.id == id);
            let Some(row) = row else {
                return Ok(false);
            };
            let Some(lock) = Lock::try_exclusive(&self.cache_mount_lock(&row))? else {
                return Ok(false);
            };
            self.cache_mount_forget(row.id)?;
            (self.cache_mount_dir(row.id), lock)
        };
        // Nobody can find it any more, so this may take its time.
        remove_tree(&dir)?;
        Ok(true)
    }

    /// Holds a cache mount still for reading; nothing when somebody uses it alone
    /// or it is gone.
    pub fn cache_mount_hold(&self, id: u64) -> Result<Option<CacheMount>, Error> {
        let _registry = self.cache_mount_registry()?;
        let row = self.cache_mounts()?.into_iter().find(|row| row.id == id);
        let Some(row) = row else {
            return Ok(None);
        };
        let lock = Lock::try_shared(&self.cache_mount_lock(&row))?;
        Ok(lock.map(|lock| CacheMount {
            row,
            is_new: false,
            sharing: CacheSharing::Shared,
            lock,
        }))
    }

    /// Whether somebody uses a cache mount right now.
    pub fn cache_mount_in_use(&self, row: &CacheMountRow) -> Result<bool, Error> {
        let _registry = self.cache_mount_registry()?;
        let lock = self.cache_mount_lock(row);
        if !lock.exists() {
            return Ok(false);
        }
        Ok(Lock::try_exclusive(&lock)?.is_none())
    }

    /// Remembers how large a cache mount is.
    pub fn cache_mount_measured(&self, id: u64, bytes: u64) -> Result<(), Error> {
        self.db()
            .prepare_cached("UPDATE cache_mounts SET bytes = ?2 WHERE id = ?1")?
            .execute((signed(id), signed(bytes)))?;
        Ok(())
    }

    /// Removes what no build can find any more: retired directories, half-filled
    /// ones of dead processes, directories without a row.
    pub fn cache_mount_sweep(&self) -> Result<(), Error> {
        let dir = self.paths().caches();
        let mut gone = Vec::new();
        {
            let _registry = self.cache_mount_registry()?;
            for entry in std::fs::read_dir(&dir).at("list", &dir)? {
                let path = entry.at("list", &dir)?.path();
                let name = path.file_name().and_then(|name| name.to_str());
                let Some(id) = name.and_then(|name| name.parse::<u64>().ok()) else {
                    continue;
                };
                let lock = path.join("lock");
                if self.cache_mount_is_ready(id)? {
                    continue;
                }
                let held = if lock.exists() {
                    Lock::try_exclusive(&lock)?
                } else {
                    None
                };
                if held.is_some() || !lock.exists() {
                    self.cache_mount_forget(id)?;
                    gone.push((path, held));
                }
            }
        }
        for (path, _held) in &gone {
            remove_tree(path)?;
        }
        Ok(())
    }

    fn cache_mount_is_ready(&self, id: u64) -> Result<bool, Error> {
        Ok(self
            .db()
            .prepare_cached("SELECT count(*) FROM cache_mounts WHERE id = ?1 AND state = ?2")?
            .query_row((signed(id), READY), |row| row.get::<_, i64>(0))?
            > 0)
    }

    fn cache_mount_find(&self, key: &CacheMountKey) -> Result<Vec<(CacheMountRow, i64)>, Error> {
        let db = self.db();
        let mut statement = db.prepare_cached(
            "SELECT id, namespace, name, base, created_at, used_at, bytes, state FROM cache_mounts
             WHERE name = ?1 AND namespace = ?2 AND base = ?3 AND state <> ?4 ORDER BY id",
        )?;
        let rows = statement.query_map((&key.key, &key.namespace, &key.base, RETIRED), |row| {
            Ok((self.cache_mount_row(row)?, row.get::<_, i64>(7)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn cache_mount_make(
        &self,
        key: &CacheMountKey,
        sharing: CacheSharing,
    ) -> Result<CacheMount, Error> {
        let created_at = now();
        let id = {
            let db = self.db();
            db.prepare_cached(
                "INSERT INTO cache_mounts (namespace, name, base, state, created_at, used_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
            )?
            .execute((&key.namespace, &key.key, &key.base, FILLING, created_at))?;
            db.last_insert_rowid().unsigned_abs()
        };
        let row = CacheMountRow {
            id,
            namespace: key.namespace.clone(),
            key: key.key.clone(),
            base: key.base.clone(),
            path: self.cache_mount_dir(id).join("fs"),
            created_at,
            used_at: created_at,
            bytes: None,
        };
        let dir = self.cache_mount_dir(id);
        // A power cut can take back that a number was given, but not its directory.
        remove_tree(&dir)?;
        make_dir(&dir, 0o700)?;
        let lock = Lock::exclusive(&self.cache_mount_lock(&row))?;
        make_dir(&row.path, 0o755)?;
        Ok(CacheMount {
            row,
            is_new: true,
            sharing,
            lock,
        })
    }

    /// Takes a half-filled directory away; its lock is held.
    fn cache_mount_drop(&self, row: &CacheMountRow) -> Result<(), Error> {
        self.cache_mount_forget(row.id)?;
        Ok(remove_tree(&self.cache_mount_dir(row.id))?)
    }

    fn cache_mount_forget(&self, id: u64) -> Result<(), Error> {
        self.db()
            .prepare_cached("DELETE FROM cache_mounts WHERE id = ?1")?
            .execute([signed(id)])?;
        Ok(())
    }

    fn cache_mount_row(&self, row: &Row<'_>) -> rusqlite::Result<CacheMountRow> {
        let id = row.get::<_, i64>(0)?.unsigned_abs();
        Ok(CacheMountRow {
            id,
            namespace: row.get(1)?,
            key: row.get(2)?,
            base: row.get(3)?,
            path: self.cache_mount_dir(id).join("fs"),
            created_at: row.get(4)?,
            used_at: row.get(5)?,
            bytes: unsigned_option(row, 6)?,
        })
    }

    fn cache_mount_dir(&self, id: u64) -> PathBuf {
        self.paths().caches().join(id.to_string())
    }

    fn cache_mount_lock(&self, row: &CacheMountRow) -> PathBuf {
        self.cache_mount_dir(row.id).join("lock")
    }

    fn cache_mount_registry(&self) -> Result<Lock, PathError> {
        Lock::exclusive(&self.paths().locks().join("cache-mounts"))
    }
}

/// Makes a directory with this mode, whatever the umask.
fn make_dir(path: &Path, mode: u32) -> Result<(), PathError> {
    std::fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .at("create", path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .at("set the mode of", path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Paths;

    fn store(dir: &tempfile::TempDir) -> Store {
        let paths = Paths::new(dir.path().join("data"), dir.path().join("run"));
        Store::open(paths).unwrap()
    }

    fn key(name: &str) -> CacheMountKey {
        CacheMountKey {
            namespace: String::new(),
            key: name.to_owned(),
            base: String::new(),
        }
    }

    /// Takes a mount as a build does.
    fn take(store: &Store, name: &str, sharing: CacheSharing) -> Option<CacheMount> {
        let mut mount = store.cache_mount_try(&key(name), sharing).unwrap()?;
        if mount.is_new {
            store.cache_mount_ready(&mut mount).unwrap();
        }
        Some(mount)
    }

    #[test]
    fn sharing_decides_who_gets_which_directory() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let first = take(&store, "a", CacheSharing::Shared).unwrap();
        let second = take(&store, "a", CacheSharing::Shared).unwrap();
        assert_eq!(first.row.id, second.row.id);
        assert!(take(&store, "a", CacheSharing::Locked).is_none());
        let private = take(&store, "a", CacheSharing::Private).unwrap();
        assert_ne!(private.row.id, first.row.id);
        let other = take(&store, "b", CacheSharing::Locked).unwrap();
        assert_ne!(other.row.id, first.row.id);
        let (shared, own) = (first.row.id, private.row.id);
        drop((first, second, private));
        // The copy is kept for the next one that may not share.
        let again = take(&store, "a", CacheSharing::Locked).unwrap();
        assert_eq!(again.row.id, shared);
        let private = take(&store, "a", CacheSharing::Private).unwrap();
        assert_eq!(private.row.id, own);
        // A shared mount does not wait for whoever has it alone.
        let third = take(&store, "a", CacheSharing::Shared).unwrap();
        assert!(![shared, own].contains(&third.row.id));
    }

    #[test]
    fn a_mount_in_use_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let mount = take(&store, "a", CacheSharing::Shared).unwrap();
        std::fs::write(mount.row.path.join("f"), "x").unwrap();
        let row = mount.row.clone();
        assert!(store.cache_mount_in_use(&row).unwrap());
        assert!(!store.cache_mount_remove(row.id).unwrap());
        drop(mount);
        assert!(!store.cache_mount_in_use(&row).unwrap());
        store.cache_mount_measured(row.id, 1).unwrap();
        assert_eq!(store.cache_mounts().unwrap()[0].bytes, Some(1));
        assert!(store.cache_mount_hold(row.id).unwrap().is_some());
        assert!(store.cache_mount_remove(row.id).unwrap());
        assert!(!row.path.exists());
        assert!(store.cache_mounts().unwrap().is_empty());
        assert!(!store.cache_mount_remove(row.id).unwrap());
    }

    #[test]
    fn what_was_half_filled_or_retired_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let half = store.cache_mount_try(&key("a"), CacheSharing::Shared);
        let half = half.unwrap().unwrap();
        assert!(half.is_new);
        // Another one waits for it to be filled.
        assert!(take(&store, "a", CacheSharing::Shared).is_none());
        let path = half.row.path.clone();
        drop(half);
        let whole = take(&store, "a", CacheSharing::Shared).unwrap();
        assert!(!path.exists());
        store.cache_mount_renew(&key("a")).unwrap();
        let new = take(&store, "a", CacheSharing::Shared).unwrap();
        assert_ne!(new.row.id, whole.row.id);
        store.cache_mount_sweep().unwrap();
        assert!(whole.row.path.exists(), "it is still in use");
        let old = whole.row.path.clone();
        drop(whole);
        store.cache_mount_sweep().unwrap();
        assert!(!old.exists());
        assert!(new.row.path.exists());
    }
}
