//! The kernel, one safe function per call, and the only place with `unsafe`.
//!
//! Prefer `rustix` directly where it has the call; this module holds what it
//! lacks, and everything that starts a process.

pub mod cgroup;
pub mod command;
pub mod filter;
pub mod mount;
pub mod netns;
pub mod process;
pub mod signals;
