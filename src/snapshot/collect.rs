//! Removing what nothing reaches.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use super::Error;
use crate::fs::{At as _, PathError, remove_tree};
use crate::oci::Digest;
use crate::store::{SnapshotId, Store};

/// How long a blob that no record names may be somebody's who is still at work.
const BLOB_GRACE: Duration = Duration::from_mins(10);

/// Removes active snapshots of dead processes, committed snapshots that no
/// image, container, cache record or other snapshot reaches, layer blobs that
/// no image names, and stale temporary files. Returns the bytes freed.
///
/// Safe beside other processes at any moment: the store tells who needs what,
/// and hides what is condemned before it is removed here.
///
/// # Errors
/// The first failure, after everything else was tried.
pub fn collect(store: &Store) -> Result<u64, Error> {
    let mut freed = Freed::default();
    freed.add(store.temp_sweep().map_err(Error::from));
    freed.add(collect_snapshots(store));
    freed.add(collect_strays(store));
    freed.add(store.hosted_sweep().map_err(Error::from));
    freed.add(collect_blobs(store));
    freed.add(store.cache_mount_sweep().map(|()| 0).map_err(Error::from));
    freed.finish()
}

/// Removes those of `ids` that nothing but cache records and each other need, and
/// the records with them; returns which.
///
/// # Errors
/// The first failure, after everything else was tried.
pub fn evict(store: &Store, ids: &[SnapshotId]) -> Result<Vec<SnapshotId>, Error> {
    let gone = store.snapshot_evict(ids)?;
    let mut freed = Freed::default();
    for id in &gone {
        freed.add(remove_snapshot(store, *id));
    }
    freed.finish().map(|_| gone)
}

/// Removes at most `most` snapshots that dead processes were writing or removing,
/// unless `stop` says that there is no time. A build calls it: one that finds
/// nothing costs one look into the index.
pub fn collect_dead(store: &Store, most: usize, stop: &dyn Fn() -> bool) -> Result<u64, Error> {
    let mut freed = Freed::default();
    for id in store.snapshot_orphans()?.into_iter().take(most) {
        if stop() {
            break;
        }
        freed.add(remove_snapshot(store, id));
    }
    freed.finish()
}

/// A sum that outlives failures, and the first of them.
#[derive(Default)]
struct Freed {
    bytes: u64,
    failure: Option<Error>,
}

impl Freed {
    fn add(&mut self, result: Result<u64, Error>) {
        match result {
            Ok(bytes) => self.bytes += bytes,
            Err(err) => self.failure = self.failure.take().or(Some(err)),
        }
    }

    fn finish(self) -> Result<u64, Error> {
        match self.failure {
            Some(err) => Err(err),
            None => Ok(self.bytes),
        }
    }
}

fn collect_snapshots(store: &Store) -> Result<u64, Error> {
    let mut freed = Freed::default();
    for id in store.snapshot_orphans()? {
        freed.add(remove_snapshot(store, id));
    }
    for id in store.snapshot_unreached()? {
        freed.add(remove_snapshot(store, id));
    }
    freed.finish()
}

fn remove_snapshot(store: &Store, id: SnapshotId) -> Result<u64, Error> {
    let row = store.snapshot_get(id)?;
    // What lies elsewhere is freed there.
    let own = row.filter(|row| row.layer.is_none());
    let bytes = own.map_or(0, |row| row.bytes);
    remove_tree(&store.paths().snapshots().join(id.to_string()))?;
    store.snapshot_forget(id)?;
    Ok(bytes)
}

/// Directories of snapshots that a power cut erased from the register.
fn collect_strays(store: &Store) -> Result<u64, Error> {
    let dir = store.paths().snapshots();
    // The directories first: each is made after it is registered.
    let found = names(&dir)?;
    let known: HashSet<String> = store
        .snapshot_list()?
        .iter()
        .map(|row| row.id.to_string())
        .collect();
    let mut freed = Freed::default();
    for name in found.iter().filter(|name| !known.contains(*name)) {
        let removed = remove_tree(&dir.join(name));
        freed.add(removed.map(|()| 0).map_err(Error::from));
    }
    freed.finish()
}

fn collect_blobs(store: &Store) -> Result<u64, Error> {
    let mut freed = Freed::default();
    for row in store.layer_blob_unreached()? {
        let removed = store.layer_blob_remove(row.digest);
        freed.add(
            removed
                .map(|gone| if gone { row.size } else { 0 })
                .map_err(Error::from),
        );
    }
    for name in names(&store.paths().blobs())? {
        if let Ok(digest) = Digest::from_hex(&name) {
            freed.add(remove_unknown_blob(store, digest));
        }
    }
    freed.finish()
}

/// Removes a blob that was stored but never became part of anything.
fn remove_unknown_blob(store: &Store, digest: Digest) -> Result<u64, Error> {
    if store.layer_blob_get(digest)?.is_some() {
        return Ok(0);
    }
    let path = store.blob_path(digest);
    let meta = match std::fs::metadata(&path) {
        Ok(meta) => meta,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(err) => return Err(err).at("read", path)?,
    };
    let age = meta.modified().ok().and_then(|time| time.elapsed().ok());
    if age.is_none_or(|age| age < BLOB_GRACE) || !store.layer_blob_remove(digest)? {
        return Ok(0);
    }
    Ok(meta.len())
}

fn names(dir: &Path) -> Result<Vec<String>, PathError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).at("list", dir)? {
        // Every name that we make is plain text.
        if let Ok(name) = entry.at("list", dir)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
