//! Control groups of version 1, version 2 and both at once.
//!
//! Each controller is looked up where it is mounted. Nothing here fails because
//! a controller is missing: what could not be limited is told in a sentence that
//! names the limit. Only directories that were made here are changed or removed,
//! and no process is moved but the calling one and those of a container.
//!
//! Where systemd runs it is asked for a scope, in which all this happens.
//!
//! Source: the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.

mod device;
mod freeze;
mod group;
mod hierarchy;
mod limits;
mod refusal;
mod sample;
mod systemd;

pub use freeze::{members, tree};
pub use group::{Group, Usage};
pub use hierarchy::Hierarchies;
pub use limits::{DeviceRate, Limits, RateKind};
pub use sample::Sample;
pub use systemd::{Driver, Scope, scope_of};
