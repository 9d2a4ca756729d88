//! What was fetched or remembered for sources of builds: bare git repositories, and
//! digests of context files.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{CacheItem, CacheItemId, CacheKind, Error};
use crate::fs::{At as _, Lock, remove_tree};
use crate::snapshot::tree_bytes;
use crate::store::Store;

/// Every one of them.
pub(super) fn list(store: &Store) -> Result<Vec<CacheItem>, Error> {
    let mut items = Vec::new();
    for (path, number, meta) in entries(&store.paths().repositories())? {
        if !meta.is_dir() {
            continue;
        }
        // Written at each fetch; the directory itself only when it is made.
        let fetched = std::fs::metadata(path.join("FETCH_HEAD"));
        items.push(CacheItem {
            // One that changes under our eyes is as large as what could be counted.
            bytes: tree_bytes(&path).unwrap_or_default(),
            in_use: Lock::try_exclusive(&lock(&path))?.is_none(),
            used_at: fetched.map_or_else(|_| time(&meta), |meta| time(&meta)),
            ..item(CacheItemId::Git(number), &meta, "git repository")
        });
    }
    for (_, number, meta) in entries(&store.paths().contexts())? {
        let id = CacheItemId::Context(number);
        items.push(CacheItem {
            bytes: meta.len(),
            ..item(id, &meta, "digests of a context's files")
        });
    }
    Ok(items)
}

/// Removes one unless somebody uses it; whether it did.
pub(super) fn remove(store: &Store, id: CacheItemId) -> Result<bool, Error> {
    let (dir, wanted) = match id {
        CacheItemId::Git(number) => (store.paths().repositories(), number),
        CacheItemId::Context(number) => (store.paths().contexts(), number),
        CacheItemId::Layer(_) | CacheItemId::Mount(_) => return Ok(false),
    };
    let mut found = entries(&dir)?.into_iter();
    let Some((path, ..)) = found.find(|(_, number, _)| *number == wanted) else {
        return Ok(false);
    };
    let _turn = match id {
        CacheItemId::Git(_) => match Lock::try_exclusive(&lock(&path))? {
            Some(lock) => Some(lock),
            None => return Ok(false),
        },
        _ => None,
    };
    remove_tree(&path)?;
    Ok(true)
}

/// What lies in `dir` under a hexadecimal name, with a number made of its beginning.
fn entries(dir: &Path) -> Result<Vec<(PathBuf, u64, Metadata)>, Error> {
    /// Digits of a name that make its number.
    const DIGITS: usize = 12;
    let listed = match std::fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", dir)?,
    };
    let mut found = Vec::new();
    for entry in listed {
        let entry = entry.at("list", dir)?;
        let name = entry.file_name();
        let digits = name.to_str().filter(|name| !name.contains('.'));
        let number = digits.and_then(|name| u64::from_str_radix(name.get(..DIGITS)?, 16).ok());
        // What vanishes meanwhile takes no room.
        if let (Some(number), Ok(meta)) = (number, entry.metadata()) {
            found.push((entry.path(), number, meta));
        }
    }
    Ok(found)
}

fn lock(repository: &Path) -> PathBuf {
    let mut path = repository.as_os_str().to_owned();
    path.push(".lock");
    PathBuf::from(path)
}

fn item(id: CacheItemId, meta: &Metadata, description: &str) -> CacheItem {
    let time = time(meta);
    CacheItem {
        id,
        kind: match id {
            CacheItemId::Git(_) => CacheKind::GitCheckout,
            _ => CacheKind::LocalSource,
        },
        parents: Vec::new(),
        created_at: time,
        used_at: time,
        uses: 0,
        description: description.to_owned(),
        bytes: 0,
        is_mutable: true,
        in_use: false,
        is_shared: false,
        is_kept: false,
        is_named: true,
    }
}

/// When a file was written, in nanoseconds since 1970.
fn time(meta: &Metadata) -> i64 {
    let written = meta
        .modified()
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    written.map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Paths;

    #[test]
    fn repositories_and_contexts_are_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("data"), dir.path().join("run"));
        let store = Store::open(paths).unwrap();
        assert!(list(&store).unwrap().is_empty());
        let name = "0123456789abcdef".repeat(4);
        let repository = store.paths().repositories().join(&name);
        std::fs::create_dir_all(&repository).unwrap();
        std::fs::write(repository.join("HEAD"), "ref: x").unwrap();
        std::fs::write(store.paths().contexts().join(&name), "12345").unwrap();
        let shown = |store: &Store| -> Vec<String> {
            let items = list(store).unwrap().into_iter();
            items
                .map(|item| format!("{} {} {} {}", item.id, item.kind, item.bytes, item.in_use))
                .collect()
        };
        let expected = [
            "git-0123456789ab source.git.checkout 6 false",
            "context-0123456789ab source.local 5 false",
        ];
        assert_eq!(shown(&store), expected);
        let ids: Vec<CacheItemId> = list(&store).unwrap().iter().map(|item| item.id).collect();
        assert_eq!(ids[0].to_string().parse(), Ok(ids[0]));
        let held = Lock::exclusive(&lock(&repository)).unwrap();
        assert_eq!(shown(&store)[0], expected[0].replace("false", "true"));
        assert!(!remove(&store, ids[0]).unwrap());
        drop(held);
        assert!(remove(&store, ids[0]).unwrap() && remove(&store, ids[1]).unwrap());
        assert!(!repository.exists() && list(&store).unwrap().is_empty());
        assert!(!remove(&store, ids[1]).unwrap());
    }
}
