//! Where data lives, and what `main` read from the environment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::oci::Digest;

/// Everything from outside that the engine depends on. `main` makes it once.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data root: `/var/lib/rbuild`, `--root`, `RBUILD_ROOT`.
    pub data: PathBuf,
    /// The runtime directory: `/run/rbuild/<hash of the data root>`.
    pub run: PathBuf,
    /// The directory of the client's `config.json` (`--config`); `$DOCKER_CONFIG` or
    /// `~/.docker` when absent.
    pub client: Option<PathBuf>,
    /// The environment of the command, for `-e NAME`, `--build-arg NAME` and proxies.
    pub environment: BTreeMap<String, String>,
    /// The directory that relative paths start at.
    pub working_directory: PathBuf,
}

impl Config {
    /// The configuration, with defaults for the directories that were not named.
    ///
    /// Root keeps its data in `/var/lib/rbuild` and `/run/rbuild`; another user
    /// in `$XDG_DATA_HOME` and `$XDG_RUNTIME_DIR`. Two data roots never share a
    /// runtime directory.
    pub fn new(
        data: Option<PathBuf>,
        run: Option<PathBuf>,
        environment: BTreeMap<String, String>,
        working_directory: PathBuf,
    ) -> Self {
        let root = rustix::process::geteuid().is_root();
        let data = data.unwrap_or_else(|| default_data(root, &environment));
        let run = run.unwrap_or_else(|| default_run(root, &environment, &data));
        Self {
            data,
            run,
            client: None,
            environment,
            working_directory,
        }
    }
}

impl Config {
    /// A file of settings: the one that a variable names, else the user's own if there
    /// is one, else the machine's.
    pub(super) fn settings(&self, variable: &str, name: &str) -> PathBuf {
        let path = |name: &str| {
            let text = self.environment.get(name).filter(|text| !text.is_empty());
            text.map(PathBuf::from)
        };
        let own = path("XDG_CONFIG_HOME")
            .or_else(|| path("HOME").map(|home| home.join(".config")))
            .map(|dir| dir.join("rbuild").join(name))
            .filter(|file| file.is_file());
        path(variable)
            .or(own)
            .unwrap_or_else(|| Path::new("/etc/rbuild").join(name))
    }
}

fn default_data(root: bool, environment: &BTreeMap<String, String>) -> PathBuf {
    if root {
        return PathBuf::from("/var/lib/rbuild");
    }
    match directory(environment, "XDG_DATA_HOME") {
        Some(home) => home.join("rbuild"),
        None => directory(environment, "HOME")
            .unwrap_or_else(|| PathBuf::from("/"))
            .join(".local/share/rbuild"),
    }
}

fn default_run(root: bool, environment: &BTreeMap<String, String>, data: &Path) -> PathBuf {
    let base = if root {
        PathBuf::from("/run/rbuild")
    } else {
        directory(environment, "XDG_RUNTIME_DIR")
            .unwrap_or_else(|| {
                PathBuf::from(format!(
                    "/tmp/rbuild-{}",
                    rustix::process::geteuid().as_raw()
                ))
            })
            .join("rbuild")
    };
    base.join(Digest::of(data.as_os_str().as_encoded_bytes()).short())
}

/// A variable that names an absolute directory; others are ignored, as the XDG
/// base directory specification asks.
fn directory(environment: &BTreeMap<String, String>, name: &str) -> Option<PathBuf> {
    environment
        .get(name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_roots_do_not_share_a_runtime_directory() {
        let run = |data: &str| {
            Config::new(Some(data.into()), None, BTreeMap::new(), PathBuf::from("/")).run
        };
        assert_ne!(run("/a"), run("/b"));
        assert_eq!(run("/a"), run("/a"));
    }
}
