//! Cache mounts: taken from the store, filled when new.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::error::{MountError, RunError};
use crate::build::graph::{Graph, Op};
use crate::build::mount::{CacheSpec, FileSpec, RunMount, RunMountKind};
use crate::build::ops::Tools;
use crate::dockerfile::Sharing;
use crate::fs::At;
use crate::layer::{EntryKind, Lower as _};
use crate::progress::StepId;
use crate::snapshot::{self, View};
use crate::store::{CacheMount, CacheMountKey, CacheSharing, SnapshotId};

/// How long to wait before a cache that somebody else has is asked for again.
const PAUSE: Duration = Duration::from_millis(50);

/// The caches of a step, held until it has ended.
#[derive(Debug, Default)]
pub(super) struct Caches(BTreeMap<CacheMountKey, CacheMount>);

impl Caches {
    /// Takes every cache that the mounts ask for, each once, in an order that all
    /// builds have in common: so two of them never wait for each other.
    pub(super) fn take(
        tools: &Tools<'_>,
        mounts: &[(&RunMount, Option<SnapshotId>)],
        step: StepId,
    ) -> Result<Self, RunError> {
        let mut wanted: BTreeMap<CacheMountKey, (&RunMount, &CacheSpec, Option<SnapshotId>)> =
            BTreeMap::new();
        for (mount, tree) in mounts {
            let RunMountKind::Cache(spec) = &mount.kind else {
                continue;
            };
            let entry = wanted
                .entry(key(spec, *tree))
                .or_insert((mount, spec, *tree));
            if strictness(spec.sharing) > strictness(entry.1.sharing) {
                entry.1 = spec;
            }
        }
        let mut caches = Self::default();
        for (key, (mount, spec, tree)) in wanted {
            let mut taken = wait_for(tools, &key, spec, step)?;
            if taken.is_new {
                fill(tools, &taken, spec, tree).map_err(|error| error.at(mount.span))?;
                restore(tools, &key, &taken, tree, step);
                tools.store.cache_mount_ready(&mut taken)?;
            } else {
                restore(tools, &key, &taken, tree, step);
            }
            caches.0.insert(key, taken);
        }
        Ok(caches)
    }

    /// The directory of a cache.
    pub(super) fn path(&self, spec: &CacheSpec, tree: Option<SnapshotId>) -> Option<&Path> {
        let mount = self.0.get(&key(spec, tree))?;
        Some(&mount.row.path)
    }
}

/// Fills an empty cache with what another data root has exported of it.
fn restore(
    tools: &Tools<'_>,
    key: &CacheMountKey,
    mount: &CacheMount,
    tree: Option<SnapshotId>,
    step: StepId,
) {
    if tree.is_none() && tools.imports.restore_mount(key, &mount.row.path) {
        tools.note(step, format!("cache mount {} imported", key.key));
    }
}

/// The caches of a build whose names mean the same on every data root.
pub(in crate::build) fn portable(graph: &Graph) -> Vec<CacheMountKey> {
    let runs = graph.vertices.iter().filter_map(|vertex| match &vertex.op {
        Op::Run(op) => Some(op),
        _ => None,
    });
    let specs = runs.flat_map(|op| &op.mounts).filter_map(|mount| {
        let RunMountKind::Cache(spec) = &mount.kind else {
            return None;
        };
        spec.from.is_none().then(|| key(spec, None))
    });
    let mut keys: Vec<CacheMountKey> = specs.collect();
    keys.sort();
    keys.dedup();
    keys
}

/// A cache that begins with other content is another cache, as with BuildKit.
fn key(spec: &CacheSpec, tree: Option<SnapshotId>) -> CacheMountKey {
    let mut base = Vec::new();
    if let Some(tree) = tree {
        base.push(format!("tree={tree}"));
        base.push(format!("source={}", spec.source));
    }
    if let Some(FileSpec { mode, uid, gid }) = spec.directory {
        base.push(format!("mode={mode:o}"));
        base.push(format!("owner={uid}:{gid}"));
    }
    CacheMountKey {
        namespace: spec.namespace.clone(),
        key: spec.id.clone(),
        base: base.join(","),
    }
}

fn strictness(sharing: Sharing) -> u8 {
    match sharing {
        Sharing::Shared => 0,
        Sharing::Private => 1,
        Sharing::Locked => 2,
    }
}

fn wait_for(
    tools: &Tools<'_>,
    key: &CacheMountKey,
    spec: &CacheSpec,
    step: StepId,
) -> Result<CacheMount, RunError> {
    let store = tools.store;
    // What BuildKit makes the directory with is a step of its own, and is run again
    // as every step without the cache.
    if tools.request.no_cache && spec.directory.is_some() {
        let mut renewed = tools.renewed_caches();
        if renewed.insert(key.clone()) {
            store.cache_mount_renew(key)?;
        }
    }
    let sharing = match spec.sharing {
        Sharing::Shared => CacheSharing::Shared,
        Sharing::Private => CacheSharing::Private,
        Sharing::Locked => CacheSharing::Locked,
    };
    let mut waited = false;
    loop {
        if let Some(mount) = store.cache_mount_try(key, sharing)? {
            return Ok(mount);
        }
        if tools.cancel.is_stopped() {
            return Err(RunError::Canceled);
        }
        if !waited {
            tools.note(step, format!("waiting for the cache mount `{}`", key.key));
            waited = true;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Gives a new directory its content, mode and owner.
fn fill(
    tools: &Tools<'_>,
    mount: &CacheMount,
    spec: &CacheSpec,
    tree: Option<SnapshotId>,
) -> Result<(), MountError> {
    let path = &mount.row.path;
    if tree.is_some() {
        let view = View::open(tools.store, tree)?;
        let source = view.resolve(Path::new(&spec.source), true)?;
        match view.entry(&source)? {
            Some(entry) if matches!(entry.kind, EntryKind::Directory { .. }) => {
                snapshot::copy_directory(&view, &source, path)?;
            }
            Some(_) => return Err(MountError::CacheOfFile(format!("/{}", spec.source))),
            None => return Err(MountError::NoSource(format!("/{}", spec.source))),
        }
    }
    if let Some(FileSpec { mode, uid, gid }) = spec.directory {
        // The owner first: changing it takes bits of the mode away.
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).at("set the owner of", path)?;
        let mode = std::fs::Permissions::from_mode(mode & 0o7777);
        std::fs::set_permissions(path, mode).at("set the mode of", path)?;
    }
    Ok(())
}
