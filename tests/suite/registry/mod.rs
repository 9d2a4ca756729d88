//! Registries: real ones, started for the test, and one that misbehaves.

mod auth;
mod build;
mod cache;
mod commands;
mod copy;
mod cuts;
mod fake;
mod hostile;
mod kills;
mod peers;
mod reach;
mod s3;
mod scene;
mod serve;
mod servers;
mod transfer;

use crate::support::Need;

/// What a test with a real registry needs.
const SERVED: [Need; 2] = [Need::Root, Need::DockerRegistry];
