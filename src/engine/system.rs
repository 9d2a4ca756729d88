//! Verbs on the data root as a whole.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::images::{ImageSummary, StoredLayer};
use super::{Engine, Error};
use crate::build::usage::{self, CacheItem, CacheItemId, PruneOptions, PrunedCache};
use crate::container;
use crate::network;
use crate::oci::ChainId;
use crate::snapshot;
use crate::store::Kept;

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
    /// Volumes.
    pub volumes: Usage,
    /// Results of build steps that no image shares, and cache mounts.
    pub build_cache: Usage,
}

/// What an image takes.
#[derive(Debug, Clone)]
pub struct ImageUsage {
    /// The image.
    pub summary: ImageSummary,
    /// Bytes of its layers that other images have too.
    pub shared_bytes: u64,
    /// How many containers were made from it.
    pub containers: usize,
}

impl Engine {
    /// What each image takes, newest first.
    pub fn image_usage(&self) -> Result<Vec<ImageUsage>, Error> {
        let uses = self.uses()?;
        let summaries = self.images(&super::ImageFilter::default())?;
        let mut holders: BTreeMap<ChainId, usize> = BTreeMap::new();
        let mut stacks = Vec::with_capacity(summaries.len());
        for summary in &summaries {
            let layers = self.layers(&summary.image)?;
            for layer in &layers {
                *holders.entry(layer.chain).or_default() += 1;
            }
            stacks.push(layers);
        }
        let usage = |(summary, layers): (ImageSummary, Vec<StoredLayer>)| {
            let shared = layers.iter().filter(|layer| holders[&layer.chain] > 1);
            let of_this = uses.iter().filter(|one| one.image == summary.image.id);
            ImageUsage {
                shared_bytes: shared.map(|layer| layer.bytes).sum(),
                containers: of_this.count(),
                summary,
            }
        };
        Ok(summaries.into_iter().zip(stacks).map(usage).collect())
    }

    /// What the build cache holds, in no particular order.
    pub fn build_cache(&self) -> Result<Vec<CacheItem>, Error> {
        Ok(usage::list(&self.store)?)
    }

    /// Removes from the build cache, or says what would be removed. Layers that
    /// images have stay.
    pub fn prune_build_cache(&self, options: &PruneOptions) -> Result<PrunedCache, Error> {
        let mut pruned = usage::prune(&self.store, options)?;
        if !options.dry_run && options.filters.is_empty() {
            if options.all {
                self.store.cache_forget_absent()?;
            }
            // What killed builds and prunes have left behind.
            pruned.bytes += self.collect()?;
        }
        Ok(pruned)
    }

    /// Makes items of the build cache stay, or no longer: each text is the ID of an
    /// item, or an image, whose layers stay then. Returns the items.
    pub fn keep_in_build_cache(
        &self,
        texts: &[String],
        keep: bool,
    ) -> Result<Vec<CacheItemId>, Error> {
        let mut ids = Vec::new();
        for text in texts {
            ids.extend(self.cache_items(text)?);
        }
        for id in &ids {
            let (kind, number) = match id {
                CacheItemId::Layer(id) => (Kept::Layer, id.0),
                CacheItemId::Mount(id) => (Kept::Mount, i64::try_from(*id).unwrap_or(i64::MAX)),
                CacheItemId::Git(_) | CacheItemId::Context(_) => {
                    let message = format!("{id} cannot be pinned: it is fetched or made again");
                    return Err(Error::Unsupported(message));
                }
            };
            self.store.keep(kind, number, keep)?;
        }
        Ok(ids)
    }

    /// The items that a text names. The same layers may have been made more than
    /// once; a build finds any of them, so an image stands for all.
    fn cache_items(&self, text: &str) -> Result<Vec<CacheItemId>, Error> {
        if let Ok(id) = text.parse::<CacheItemId>() {
            let known = match id {
                CacheItemId::Layer(id) => self.store.snapshot_get(id)?.is_some(),
                CacheItemId::Mount(id) => self.store.cache_mounts()?.iter().any(|m| m.id == id),
                CacheItemId::Git(_) | CacheItemId::Context(_) => true,
            };
            return if known {
                Ok(vec![id])
            } else {
                Err(Error::NoCacheItem(text.to_owned()))
            };
        }
        let image = self.image(text)?;
        let chain = ChainId::of(&image.config.rootfs.diff_ids);
        let rows = self.store.snapshot_list()?.into_iter();
        let tops: Vec<CacheItemId> = rows
            .filter(|row| chain.is_some() && row.chain_id == chain)
            .map(|row| CacheItemId::Layer(row.id))
            .collect();
        if tops.is_empty() {
            return Err(Error::NoCacheItem(text.to_owned()));
        }
        Ok(tops)
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
        let volume_uses = self.volume_uses()?;
        for volume in self.volumes(&super::VolumeFilter::default())? {
            // One that is removed meanwhile takes no room.
            let bytes = self.volume_size(&volume).unwrap_or(0);
            let used = volume_uses.contains_key(&volume.name);
            usage.volumes.total += 1;
            usage.volumes.active += u64::from(used);
            usage.volumes.bytes += bytes;
            if !used {
                usage.volumes.reclaimable += bytes;
            }
        }
        for item in self.build_cache()?.iter().filter(|item| !item.is_shared) {
            usage.build_cache.total += 1;
            usage.build_cache.active += u64::from(item.in_use);
            usage.build_cache.bytes += item.bytes;
            if item.is_reclaimable() {
                usage.build_cache.reclaimable += item.bytes;
            }
        }
        Ok(usage)
    }
}
