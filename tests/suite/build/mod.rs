//! Building from end to end: Dockerfile and context in, image out.

mod add;
mod archives;
mod cache;
mod cache_transfer;
mod config;
mod context;
mod contexts;
mod copy;
mod copy_flags;
mod copy_link;
mod crash;
mod debug;
mod disk;
mod du;
mod epoch;
mod errors;
mod explain;
mod flags;
mod mount;
mod on_error;
mod outputs;
mod peers;
mod platforms;
mod progress;
mod project;
mod refusals;
mod remote;
mod report;
mod run;
mod run_flags;
mod secret;
mod sources;
mod together;
mod tree;

pub(crate) use project::Project;
use tree::Tree;

use crate::support::{Need, Outcome, needs};

/// What a build with RUN or a base image needs.
pub(crate) const RUNS: [Need; 3] = [Need::Root, Need::Busybox, Need::Overlay];
/// What a build from scratch needs.
const FILES: [Need; 1] = [Need::Root];
