//! Every verb as request to result: the only thing that the doors use.
//!
//! A request is a plain value, a result is a plain value or a stream of plain
//! events, so that any door (command line, HTTP) can ask for the same thing.

mod build;
mod changes;
mod config;
mod containers;
mod copy;
mod dockerfile;
mod error;
mod events;
mod image_tree;
mod images;
mod lists;
mod networks;
mod referrers;
mod registries;
mod remote;
mod repositories;
mod serve;
mod system;
mod volumes;

pub use crate::build::usage::{
    CacheFilter, CacheItem, CacheItemId, FilterError, PruneOptions, PrunedCache,
};
pub use crate::image::Removed;
pub use changes::apply_changes;
pub use config::Config;
pub use containers::{
    Attached, ByPolicy, Change, CommitOptions, ContainerChanges, ContainerFilter,
    ContainerRemoveOptions, ContainerRequest, ContainerSummary, ContainerUsage, CopyIn, CopyOut,
    Created, DeviceRate, DeviceRegistry, DeviceRequest, DeviceWish, Event, ExecRequest, Health,
    HealthRequest, LogEntry, LogOptions, LogRequest, Machine, MountRequest, NetworkMode, Offers,
    PathFacts, PortForward, PortPublish, Program, RateKind, ResourceLimits, RestartPolicy, Spare,
    StartOptions, Started, Status, StopOptions, Stream, Streams, Ulimit, extract_local,
    is_device_name, local_facts, pack_local, run_code, signal,
};
pub use copy::{CombineRequest, Combined};
pub use error::{Error, ErrorKind};
pub use events::{EventFilter, EventKind, EventRecord, EventStream};
pub use image_tree::{ImageTree, TreeNode};
pub use images::{
    HistoryEntry, ImageDetails, ImageFilter, ImageSummary, Pruned, RemoveOptions, fits,
};
pub use lists::{ListRequest, MemberRequest};
pub use networks::{EndpointRequest, Network, NetworkMember, NewNetwork, parse_mac};
pub use referrers::Referrers;
pub use remote::Found;
pub use repositories::{Reach, Removal};
pub use serve::RegistryOptions;
pub use system::{DiskUsage, ImageUsage, Usage};
pub use volumes::{Volume, VolumeFilter, VolumeRequest};

use crate::store::{Paths, Store};

/// The engine over one data root.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    store: Store,
}

impl Engine {
    /// Opens the engine's store.
    pub fn open(config: Config) -> Result<Self, Error> {
        let store = Store::open(Paths::new(config.data.clone(), config.run.clone()))?;
        // The first command after a boot drops what belonged to processes of before.
        store.begin_boot_check()?;
        Ok(Self { config, store })
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its store.
    pub fn store(&self) -> &Store {
        &self.store
    }
}
