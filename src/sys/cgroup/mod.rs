//! Control groups of version 1, version 2 and both at once.
//!
//! Each controller is looked up where it is mounted. Nothing here fails because
//! a controller is missing: what could not be limited is told in a sentence that
//! names the limit. Only directories that were made here are changed or removed,
//! and no process is moved but the calling one.
//!
//! Source: the kernel's admin-guide/cgroup-v1 and admin-guide/cgroup-v2.

mod freeze;
mod group;
mod hierarchy;
mod limits;
mod sample;

pub use freeze::{members, tree};
pub use group::{Group, Usage};
pub use hierarchy::Hierarchies;
pub use limits::{DeviceRate, Limits, RateKind};
pub use sample::Sample;
