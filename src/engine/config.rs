//! Where data lives, and what `main` read from the environment.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything from outside that the engine depends on. `main` makes it once.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data root: `/var/lib/rbuild`, `--root`, `RBUILD_ROOT`.
    pub data: PathBuf,
    /// The runtime directory: `/run/rbuild/<hash of the data root>`.
    pub run: PathBuf,
    /// The environment of the command, for `-e NAME`, `--build-arg NAME` and proxies.
    pub environment: BTreeMap<String, String>,
    /// The directory that relative paths start at.
    pub working_directory: PathBuf,
}
