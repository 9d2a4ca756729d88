//! Building from end to end: Dockerfile and context in, image out.

mod add;
mod archives;
mod cache;
mod cache_transfer;
mod config;
mod contexts;
mod copy;
mod copy_flags;
mod copy_link;
mod crash;
mod disk;
mod du;
mod epoch;
mod errors;
mod explain;
mod flags;
mod mount;
mod outputs;
mod peers;
mod progress;
mod platforms;
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

use project::Project;
use tree::Tree;

use crate::support::{Need, Outcome, needs};

/// What a build with RUN or a base image needs.
const RUNS: [Need; 3] = [Need::Root, Need::Busybox, Need::Overlay];
/// What a build from scratch needs.
const FILES: [Need; 1] = [Need::Root];
