//! Volumes: directories that outlive containers.
//!
//! A volume is a directory beneath `<data>/volumes` with its name: `_data` is
//! what containers see, `volume.json` says what it is. It is made under another
//! name and renamed, and renamed before it is removed, so that a name always
//! means a whole volume. Who uses it stands in the containers' own documents;
//! a lock keeps containers from being made while volumes are removed.

mod archive;
mod fill;
mod filter;
mod options;
mod shared;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dir::Dir;
use super::record::{AnonymousVolume, Record};
use super::request::MountRequest;
use super::{Error, events, mounts, names, now};
use crate::fs::{At, Lock};
use crate::snapshot::{View, tree_bytes};
use crate::store::{Paths, Store};

pub use archive::{export_volume, import_volume};
pub use filter::VolumeFilter;
pub(super) use options::{Backing, backing};
pub(super) use shared::with_shared;

/// The label of volumes that nobody named, as Docker's.
const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// The format of `volume.json`.
const VERSION: u32 = 1;
/// Longest `volume.json` that is read.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// A volume to be made.
#[derive(Debug, Clone, Default)]
pub struct VolumeRequest {
    /// Its name; one of 64 hexadecimal digits is made up when absent.
    pub name: Option<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the local driver: `type`, `o`, `device`.
    pub options: BTreeMap<String, String>,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Options of the local driver.
    pub options: BTreeMap<String, String>,
    /// Its directory.
    pub mountpoint: PathBuf,
}

impl Volume {
    /// Whether nobody gave it a name.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    version: u32,
    created_at: i64,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    options: BTreeMap<String, String>,
}

/// Makes a volume; one that is there already stays as it is.
pub fn create_volume(store: &Store, request: VolumeRequest) -> Result<Volume, Error> {
    let paths = store.paths();
    let mut labels = request.labels;
    let wanted = request.name.filter(|name| !name.is_empty());
    let name = wanted.unwrap_or_else(|| {
        labels.insert(ANONYMOUS.to_owned(), String::new());
        names::new_id()
    });
    mounts::check_volume_name(&name)?;
    let invalid = |error: Error| Error::Invalid(format!("create {name}: {error}"));
    options::check(&request.options).map_err(invalid)?;
    ensure(paths, &name, &labels, &request.options)?;
    volume(paths, &name)
}

/// Makes a volume unless it is there.
fn ensure(
    paths: &Paths,
    name: &str,
    labels: &BTreeMap<String, String>,
    options: &BTreeMap<String, String>,
) -> Result<(), Error> {
    let place = paths.volumes().join(name);
    if place.join("_data").is_dir() {
        return Ok(());
    }
    let new = paths.volumes().join(format!(".new-{}", names::new_id()));
    let data = new.join("_data");
    std::fs::create_dir_all(&data).at("create", &data)?;
    let document = Document {
        version: VERSION,
        created_at: now(),
        labels: labels.clone(),
        options: options.clone(),
    };
    let path = new.join("volume.json");
    let bytes = serde_json::to_vec(&document).at("encode", &path)?;
    crate::fs::replace(&path, &bytes)?;
    match std::fs::rename(&new, &place) {
        Ok(()) => events::note_volume(paths, "create", name, &[]),
        // Another command was faster.
        Err(_) if place.join("_data").is_dir() => crate::fs::remove_tree(&new)?,
        Err(err) => return Err(err).at("create", &place)?,
    }
    Ok(())
}

/// The volume with this name.
pub fn find_volume(store: &Store, name: &str) -> Result<Volume, Error> {
    volume(store.paths(), name)
}

fn volume(paths: &Paths, name: &str) -> Result<Volume, Error> {
    let missing = || Error::NoVolume(name.to_owned());
    mounts::check_volume_name(name).map_err(|_| missing())?;
    let dir = paths.volumes().join(name);
    let mountpoint = dir.join("_data");
    let made = std::fs::metadata(&mountpoint).map_err(|_| missing())?;
    let document = read(&dir.join("volume.json")).unwrap_or_else(|| {
        // One of a version that kept no documents.
        let made = made.modified().ok();
        let since = made.and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        Document {
            version: VERSION,
            created_at: since.map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(0)),
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        }
    });
    Ok(Volume {
        name: name.to_owned(),
        created_at: document.created_at,
        labels: document.labels,
        options: document.options,
        mountpoint,
    })
}

fn read(path: &Path) -> Option<Document> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(DOCUMENT_LIMIT).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Every volume that `filter` lets through, sorted by name.
pub fn list_volumes(store: &Store, filter: &VolumeFilter) -> Result<Vec<Volume>, Error> {
    filter.check()?;
    let dir = store.paths().volumes();
    let entries = match std::fs::read_dir(&dir) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", &dir)?,
    };
    let uses = if filter.asks_for_uses() {
        volume_uses(store)?
    } else {
        BTreeMap::new()
    };
    let mut volumes: Vec<Volume> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| volume(store.paths(), &name).ok())
        .filter(|volume| filter.holds(volume, uses.contains_key(&volume.name)))
        .collect();
    volumes.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(volumes)
}

/// The containers that use each volume, by the volume's name.
pub fn volume_uses(store: &Store) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut uses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in store.container_list()? {
        let Ok(record) = Dir::new(store.paths(), &row.id).record() else {
            continue;
        };
        for name in names_of(&record) {
            uses.entry(name).or_default().push(row.id.clone());
        }
    }
    Ok(uses)
}

/// The volumes of a container, named and anonymous.
pub(super) fn names_of(record: &Record) -> Vec<String> {
    let named = record
        .request
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            MountRequest::Volume { name, .. } => name.clone(),
            _ => None,
        });
    let anonymous = record.volumes.iter().map(|volume| volume.name.clone());
    named.chain(anonymous).collect()
}

/// Bytes in a volume.
pub fn volume_size(volume: &Volume) -> Result<u64, Error> {
    Ok(tree_bytes(&volume.mountpoint)?)
}

/// Removes a volume that no container has. With `missing_is_fine` one that is
/// not there is no error.
///
/// # Errors
/// [`Error::VolumeInUse`], [`Error::NoVolume`].
pub fn remove_volume(store: &Store, name: &str, missing_is_fine: bool) -> Result<(), Error> {
    let found = match volume(store.paths(), name) {
        Err(Error::NoVolume(_)) if missing_is_fine => return Ok(()),
        other => other?,
    };
    let _removing = lock_for_removal(store.paths())?;
    if let Some(users) = volume_uses(store)?.remove(name) {
        return Err(Error::VolumeInUse {
            name: name.to_owned(),
            users: users.join(", "),
        });
    }
    erase(store.paths(), &found.name)
}

/// Removes every volume that `filter` lets through and no container has; only
/// anonymous ones unless `all`. Returns their names and the bytes freed.
pub fn prune_volumes(
    store: &Store,
    all: bool,
    filter: &VolumeFilter,
) -> Result<(Vec<String>, u64), Error> {
    let candidates = list_volumes(store, filter)?;
    let _removing = lock_for_removal(store.paths())?;
    sweep(store.paths())?;
    let uses = volume_uses(store)?;
    let mut removed = Vec::new();
    let mut freed = 0;
    for volume in candidates {
        if uses.contains_key(&volume.name) || !(all || volume.is_anonymous()) {
            continue;
        }
        let bytes = volume_size(&volume).unwrap_or(0);
        // One that another command removes meanwhile is gone all the same.
        if erase(store.paths(), &volume.name).is_ok() {
            freed += bytes;
            removed.push(volume.name);
        }
    }
    Ok((removed, freed))
}

/// Removes the volume's directory, which has no name any more when its content goes.
fn erase(paths: &Paths, name: &str) -> Result<(), Error> {
    let place = paths.volumes().join(name);
    let gone = paths.volumes().join(format!(".gone-{}", names::new_id()));
    std::fs::rename(&place, &gone).at("remove", &place)?;
    events::note_volume(paths, "destroy", name, &[]);
    Ok(crate::fs::remove_tree(&gone)?)
}

/// Removes what killed commands left. The caller holds the lock for removal, so
/// none of it is being removed elsewhere; what is being made is young.
fn sweep(paths: &Paths) -> Result<(), Error> {
    const YOUNG: std::time::Duration = std::time::Duration::from_hours(1);
    let dir = paths.volumes();
    for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = entry.metadata().and_then(|meta| meta.modified());
        let old = age.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > YOUNG));
        if name.starts_with(".gone-") || name.starts_with(".new-") && old {
            crate::fs::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes anonymous volumes with their container.
pub(super) fn remove_anonymous(store: &Store, volumes: &[AnonymousVolume]) -> Result<(), Error> {
    if volumes.is_empty() {
        return Ok(());
    }
    let _removing = lock_for_removal(store.paths())?;
    let uses = volume_uses(store)?;
    for volume in volumes {
        // Another container may have it from this one.
        if !uses.contains_key(&volume.name) && named(store.paths(), &volume.name).exists() {
            erase(store.paths(), &volume.name)?;
        }
    }
    Ok(())
}

/// Keeps volumes from being removed while a container is made that will use some.
pub(super) fn lock_for_use(paths: &Paths) -> Result<Lock, Error> {
    Ok(Lock::shared(&lock_path(paths)?)?)
}

fn lock_for_removal(paths: &Paths) -> Result<Lock, Error> {
    Ok(Lock::exclusive(&lock_path(paths)?)?)
}

fn lock_path(paths: &Paths) -> Result<PathBuf, Error> {
    let dir = paths.volumes();
    std::fs::create_dir_all(&dir).at("create", &dir)?;
    Ok(dir.join(".lock"))
}

/// The directory of a container's anonymous volume.
pub(super) fn anonymous(paths: &Paths, dir: &Dir, volume: &AnonymousVolume) -> PathBuf {
    // Where versions before kept it.
    let own = dir.path("volumes").join(&volume.name);
    if own.is_dir() {
        return own;
    }
    named(paths, &volume.name)
}

/// The directory of a volume.
pub(super) fn named(paths: &Paths, name: &str) -> PathBuf {
    paths.volumes().join(name).join("_data")
}

/// Makes a container's anonymous volume.
pub(super) fn make_anonymous(
    paths: &Paths,
    name: &str,
    image: &View,
    target: &str,
    copy: bool,
) -> Result<(), Error> {
    let labels = BTreeMap::from([(ANONYMOUS.to_owned(), String::new())]);
    ensure(paths, name, &labels, &BTreeMap::new())?;
    if copy {
        fill::fill(&paths.volumes().join(name), image, target)?;
    }
    Ok(())
}

/// Makes a named volume unless it is there, and fills it while it is empty.
pub(super) fn make_named(
    paths: &Paths,
    request: &VolumeRequest,
    image: &View,
    target: &str,
    copy: bool,
) -> Result<(), Error> {
    let name = request.name.as_deref().unwrap_or_default();
    options::check(&request.options)?;
    ensure(paths, name, &request.labels, &request.options)?;
    let found = volume(paths, name)?;
    if copy && backing(&found.options) == Backing::Directory {
        fill::fill(&paths.volumes().join(name), image, target)?;
    }
    Ok(())
}

/// What a container of the volume mounts.
pub(super) fn backing_of(paths: &Paths, name: &str) -> Result<Backing, Error> {
    Ok(backing(&volume(paths, name)?.options))
}

#[cfg(test)]
mod tests;
