//! The life of a container: made from an image and a request, started under a
//! shim, listened to, stopped, removed.
//!
//! A container is a row in the store's register (its name, its image) and a
//! directory: `request.json` says what it is and never changes, `state.json` says
//! what happened to it and is written by its shim alone, `log` holds its output,
//! `fs` its own layer. There is no daemon: the shim is a process of its own that
//! outlives the command that started it, and every verb reads the documents or
//! talks to the shim's socket. A shim that was killed took the program with it;
//! whoever reads the state sees that it is gone.
//!
//! `bundle`, `mounts`, `ports`, `record`'s transitions and `status` are pure.

mod attach;
mod boot;
mod bundle;
mod capabilities;
mod cdi;
mod changes;
mod check;
mod commit;
mod copy;
mod create;
mod devices;
mod dir;
mod endpoint;
mod error;
mod events;
mod exec;
mod find;
mod gpus;
mod health;
mod inspect;
mod links;
mod list;
mod logs;
mod machine;
mod mounts;
mod names;
mod networks;
mod pause;
mod ports;
mod protocol;
mod record;
mod remove;
mod request;
mod restart;
mod shim;
pub mod signal;
mod socket;
mod start;
mod stats;
mod status;
mod stop;
mod top;
mod tree;
mod update;
mod volumes;

pub use attach::{Attached, Event, attach};
pub use boot::{ByPolicy, start_by_policy};
pub use cdi::{Registry as DeviceRegistry, is_qualified as is_device_name};
pub use changes::{Change, diff};
pub use commit::{CommitOptions, commit};
pub use copy::{
    CopyIn, CopyOut, PathFacts, copy_in, copy_out, export, extract_local, facts, local_facts,
    pack_local,
};
pub use create::{Created, create};
pub use endpoint::{EndpointRequest, parse_mac};
pub use error::Error;
pub use events::note_verb;
pub use exec::{ExecRequest, exec};
pub use find::{find, rename};
pub use gpus::DeviceWish;
pub use health::{Health, HealthRequest};
pub use inspect::{inspect, published};
pub use links::unlink;
pub use list::{Filter, Summary, list, own_size};
pub use logs::{LogEntry, LogOptions, Stream, logs};
pub use machine::{Machine, Offers, Program};
pub use mounts::BindRecursive;
pub use networks::{connect, disconnect, place, using};
pub use pause::{pause, unpause};
pub use protocol::Streams;
pub use record::Status;
pub use remove::{RemoveOptions, collect, remove};
pub use request::{DeviceRequest, LogRequest, MountRequest, NetworkMode, Request, Ulimit};
pub use restart::RestartPolicy;
pub use shim::{SHIM_ARGV0, shim_main};
pub use start::{Spare, StartOptions, Started, start};
pub use stats::{Usage, usage};
pub use stop::{StopOptions, kill, stop, wait};
pub use top::top;
pub use update::{Changes, update};
pub use volumes::{
    Volume, VolumeFilter, VolumeRequest, create_volume, export_volume, find_volume, import_volume,
    list_volumes, prune_volumes, remove_volume, volume_size, volume_uses,
};

/// Nanoseconds since 1970.
fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}
