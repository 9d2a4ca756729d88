//! Directories of `RUN --mount=type=cache` as part of a cache that is carried
//! elsewhere: each is one tar by its digest, found by the mount's name.
//!
//! A mount that begins with the files of another step is not carried: its name has
//! the number of a snapshot in it, which means nothing elsewhere.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::backend::{Backend, BackendError, Checked, RecordKey, RecordKind};
use super::compress::pack_into;
use super::export::HashingSink;
use super::record::{self, Record, VERSION};
use super::{CacheMounts, CacheTarget};
use crate::fs::{At as _, Lock};
use crate::layer::{Limits, NoLower, UnpackOptions};
use crate::oci::{Descriptor, DiffId, Digest, Hasher};
use crate::snapshot::{tree_bytes, unpack_ahead};
use crate::store::{CacheMountKey, CacheMountRow, Store};

/// Where the content of a cache mount is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MountRecord {
    /// [`VERSION`].
    version: u32,
    /// What keeps projects apart.
    namespace: String,
    /// The mount's id.
    name: String,
    /// Mode and owner that it was made with, where any were asked for.
    base: String,
    /// Digest of the plain tar.
    diff_id: DiffId,
    /// Digest of the blob.
    pub(super) blob: Digest,
    /// Length of the blob in bytes.
    size: u64,
    /// How it is compressed, as an OCI media type.
    media_type: String,
    /// Bytes of the files in it.
    bytes: u64,
}

impl Record for MountRecord {
    const KIND: RecordKind = RecordKind::Mount;

    fn check(&self, id: Digest) -> Result<(), &'static str> {
        if self.version != VERSION {
            return Err("its version is unknown");
        }
        if name_of(&self.namespace, &self.name, &self.base) != id {
            return Err("it is another mount's");
        }
        Ok(())
    }
}

fn name_of(namespace: &str, name: &str, base: &str) -> Digest {
    let mut hasher = Hasher::new();
    for part in [namespace, name, base] {
        hasher.part(part.as_bytes());
    }
    hasher.finish()
}

/// What became of the mounts of an export.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// The records and blobs that were written or were there.
    pub(super) records: Vec<(RecordKey, Descriptor)>,
    /// Why others were left out.
    pub(super) left: Vec<String>,
}

/// Carries the mounts that the target asks for, of those that the build has: the
/// one that was used last first, until the target's limit is reached.
pub(super) fn export(
    store: &Store,
    backend: &dyn Backend,
    target: &CacheTarget,
    keys: &[CacheMountKey],
) -> Result<Carried, BackendError> {
    let mut carried = Carried::default();
    let is_wanted = |row: &CacheMountRow| {
        let mut own = keys.iter();
        let is_own = own.any(|key| {
            (&key.namespace, &key.key, &key.base) == (&row.namespace, &row.key, &row.base)
        });
        is_own
            && match &target.mounts {
                CacheMounts::None => false,
                CacheMounts::Named(ids) => ids.contains(&row.key),
                CacheMounts::All => true,
            }
    };
    let mut rows = store.cache_mounts()?;
    rows.retain(is_wanted);
    // Of several copies the one that was used last.
    rows.sort_by_key(|row| std::cmp::Reverse((row.used_at, row.id)));
    let mut seen = Vec::new();
    let mut left = target.mounts_max.unwrap_or(u64::MAX);
    for row in rows {
        let id = name_of(&row.namespace, &row.key, &row.base);
        if seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let Some(held) = store.cache_mount_hold(row.id)? else {
            carried.left.push(format!("{}: it is in use", row.key));
            continue;
        };
        match one(store, backend, target, &held.row, id, left) {
            Ok(Some(record)) => {
                left = left.saturating_sub(record.bytes);
                let kind = RecordKind::Mount;
                let blob = Descriptor::new(&record.media_type, record.blob, record.size);
                carried.records.push((RecordKey { kind, id }, blob));
            }
            Ok(None) => {
                let text = format!("{}: it is larger than what is left of the limit", row.key);
                carried.left.push(text);
            }
            // A program may change it meanwhile; the rest of the export goes on.
            Err(err) => carried
                .left
                .push(format!("{}: {}", row.key, super::causes(&err))),
        }
    }
    Ok(carried)
}

/// Writes one mount unless the same is there; nothing when it is too large.
fn one(
    store: &Store,
    backend: &dyn Backend,
    target: &CacheTarget,
    row: &CacheMountRow,
    id: Digest,
    most: u64,
) -> Result<Option<MountRecord>, BackendError> {
    let bytes = tree_bytes(&row.path)?;
    if bytes > most {
        return Ok(None);
    }
    let there = record::get::<MountRecord>(backend, id).ok().flatten();
    let sink = HashingSink::new(backend.write_blob(store)?);
    let (packed, sink) = pack_into(&row.path, target.compression, sink)?;
    if let Some(there) = there
        && there.diff_id == packed.diff_id
        && backend.blob_size(there.blob)? == Some(there.size)
    {
        return Ok(Some(there));
    }
    let (blob, size) = sink.commit()?;
    let record = MountRecord {
        version: VERSION,
        namespace: row.namespace.clone(),
        name: row.key.clone(),
        base: row.base.clone(),
        diff_id: packed.diff_id,
        blob,
        size,
        media_type: target.compression.media_type().to_owned(),
        bytes,
    };
    record::put(backend, id, &record)?;
    Ok(Some(record))
}

/// The record of a mount.
pub(super) fn find(
    backend: &dyn Backend,
    key: &CacheMountKey,
) -> Result<Option<MountRecord>, BackendError> {
    let id = name_of(&key.namespace, &key.key, &key.base);
    record::get::<MountRecord>(backend, id)
}

/// Puts the content of a record into the directory `target`, which is empty. It is
/// unpacked and checked beside it first, so that `target` gets all or nothing of it.
pub(super) fn restore(
    store: &Store,
    backend: &dyn Backend,
    record: &MountRecord,
    target: &Path,
) -> Result<(), BackendError> {
    let beside = store.temp_dir()?;
    let blob = backend.read_blob(store, record.blob, record.size)?;
    let source = Checked::new(blob, record.blob, record.size);
    let options = UnpackOptions {
        limits: Limits::default(),
        whiteouts: false,
    };
    let unpacked = unpack_ahead(source, beside.path(), &NoLower, options)
        .map_err(|err| BackendError::damaged(format!("cache mount {}", record.name), err))?;
    if unpacked.diff_id != record.diff_id {
        let why = format!("its content hashes to {}", unpacked.diff_id);
        return Err(BackendError::damaged(
            format!("cache mount {}", record.name),
            why,
        ));
    }
    for entry in std::fs::read_dir(beside.path()).at("list", beside.path())? {
        let entry = entry.at("list", beside.path())?;
        let to = target.join(entry.file_name());
        match renameat_with(CWD, entry.path(), CWD, &to, RenameFlags::NOREPLACE) {
            // Somebody who shares the mount was faster.
            Ok(()) | Err(Errno::EXIST) => {}
            other => other.at("rename a file to", to)?,
        }
    }
    Ok(())
}

/// Whether a directory has nothing in it.
pub(super) fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none())
}

/// Held by the one who fills a mount.
pub(super) fn turn(store: &Store, target: &Path) -> Result<Lock, BackendError> {
    let name = Digest::of(target.as_os_str().as_bytes()).short();
    let path = store.paths().locks().join(format!("restore-{name}"));
    Ok(Lock::transient(&path)?)
}
