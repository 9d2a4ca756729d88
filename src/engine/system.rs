//! Verbs on the data root as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::images::StoredLayer;
use super::{Engine, Error};
use crate::container;
use crate::network;
use crate::oci::ChainId;
use crate::snapshot;
use crate::store::SnapshotId;

/// How much of one kind of thing there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// How many there are.
    pub total: u64,
    /// How many of them are in use.
    pub active: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Bytes of those that are not in use.
    pub reclaimable: u64,
}

/// What lies in the data root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUsage {
    /// Images.
    pub images: Usage,
    /// Containers, by what they have written.
    pub containers: Usage,
    /// Results of build steps that no image shares.
    pub build_cache: Usage,
}

impl Engine {
    /// Forgets every result of a build step and removes the trees that only the
    /// cache reached. Layers of images stay. Returns the bytes freed.
    pub fn prune_build_cache(&self) -> Result<u64, Error> {
        self.store.cache_clear()?;
        self.collect()
    }

    /// Removes what nothing reaches; returns the bytes freed.
    pub fn collect(&self) -> Result<u64, Error> {
        Ok(snapshot::collect(&self.store)?)
    }

    /// The address under which the host is reached on the default bridge.
    pub fn default_gateway(&self) -> Result<Ipv4Addr, Error> {
        match self.store.network_get(network::DEFAULT)? {
            Some(network) => Ok(network.gateway),
            None => Err(Error::Unsupported(
                "the default bridge has no address yet: run something on it first".to_owned(),
            )),
        }
    }

    /// Takes down the default bridge and its rules when nothing is on it;
    /// returns whether it did. It comes back with the next container.
    pub fn prune_networks(&self) -> Result<bool, Error> {
        Ok(network::teardown_default(&self.store)?)
    }

    /// What lies in the data root, and what of it could go.
    pub fn disk_usage(&self) -> Result<DiskUsage, Error> {
        let images = self.images(&super::ImageFilter::default())?;
        let uses = self.uses()?;
        let mut usage = DiskUsage::default();
        // A layer counts once, however many images share it.
        let mut layers: BTreeMap<ChainId, (StoredLayer, bool)> = BTreeMap::new();
        for summary in &images {
            let used = uses.iter().any(|one| one.image == summary.image.id);
            usage.images.total += 1;
            usage.images.active += u64::from(used);
            for layer in self.layers(&summary.image)? {
                layers.entry(layer.chain).or_insert((layer, false)).1 |= used;
            }
        }
        for (layer, used) in layers.values() {
            usage.images.bytes += layer.bytes;
            usage.images.reclaimable += if *used { 0 } else { layer.bytes };
        }
        let mut of_images: BTreeSet<SnapshotId> = layers
            .values()
            .filter_map(|(layer, _)| layer.snapshot)
            .collect();
        for id in of_images.clone() {
            let row = self.store.snapshot_get(id)?;
            of_images.extend(row.and_then(|row| row.layer));
        }
        for one in &uses {
            // One that is removed meanwhile takes no room.
            let bytes = container::own_size(&self.store, &one.container).unwrap_or(0);
            usage.containers.total += 1;
            usage.containers.active += u64::from(one.running);
            usage.containers.bytes += bytes;
            if !one.running {
                usage.containers.reclaimable += bytes;
            }
        }
        for id in self.snapshot_directories() {
            let Some(row) = self.store.snapshot_get(id)? else {
                continue;
            };
            if !of_images.contains(&id) {
                usage.build_cache.total += 1;
                let own = if row.layer.is_none() { row.bytes } else { 0 };
                usage.build_cache.bytes += own;
                usage.build_cache.reclaimable += own;
            }
        }
        Ok(usage)
    }

    /// The snapshots that have a directory. One that vanishes meanwhile is no loss.
    fn snapshot_directories(&self) -> Vec<SnapshotId> {
        let Ok(entries) = std::fs::read_dir(self.store.paths().snapshots()) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .map(SnapshotId)
            .collect()
    }
}
