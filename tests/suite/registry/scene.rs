//! A data root, settings and credentials for one test, and images of random bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild::store::{Paths, SnapshotState, Store};

use crate::support::{Home, Numbers, Outcome, finish};

/// What a test works with: nothing of the machine's own settings is seen.
#[derive(Debug)]
pub(super) struct Scene {
    home: Home,
    settings: PathBuf,
    environment: Vec<(String, String)>,
}

/// Variables that would lead to the machine's own settings and proxies.
const FOREIGN: [&str; 14] = [
    "DOCKER_CONFIG",
    "DOCKER_AUTH_CONFIG",
    "REGISTRY_AUTH_FILE",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
    "SSL_CERT_FILE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

impl Scene {
    pub(super) fn new() -> Self {
        let home = Home::new();
        let settings = home.file("settings/registries.toml", "");
        Self {
            home,
            settings,
            environment: Vec::new(),
        }
    }

    pub(super) fn home(&self) -> &Home {
        &self.home
    }

    /// The user's home directory.
    pub(super) fn user_home(&self) -> PathBuf {
        let path = self.home.scratch().join("user");
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    /// Where Docker's client has its settings.
    pub(super) fn docker_config(&self) -> PathBuf {
        self.user_home().join(".docker/config.json")
    }

    /// The directory of `registries.toml`.
    pub(super) fn settings_dir(&self) -> &Path {
        self.settings.parent().unwrap()
    }

    /// Adds settings of a registry.
    pub(super) fn set(&self, host: &str, lines: &str) {
        let mut text = std::fs::read_to_string(&self.settings).unwrap();
        text.push_str(&format!("[registry.\"{host}\"]\n{lines}\n"));
        std::fs::write(&self.settings, text).unwrap();
    }

    /// Forgets all settings of registries.
    pub(super) fn unset(&self) {
        std::fs::write(&self.settings, "").unwrap();
    }

    /// The same with a variable in the environment.
    pub(super) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command(arguments);
        for name in FOREIGN {
            command.env_remove(name);
        }
        command
            .env("HOME", self.user_home())
            .env("RBUILD_REGISTRIES", &self.settings);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, "")
    }

    pub(super) fn run_with(&self, arguments: &[&str], input: &str) -> Outcome {
        finish(self.command(arguments), input.as_bytes())
    }

    /// Logs in.
    pub(super) fn log_in(&self, host: &str, user: &str, password: &str) -> Outcome {
        self.run_with(&["login", "-u", user, "--password-stdin", host], password)
    }

    /// Makes an image with a layer of so many random bytes each.
    pub(super) fn image(&self, name: &str, seed: u64, layers: &[usize]) {
        let dir = self.home.scratch().join(format!("context-{seed}"));
        std::fs::create_dir_all(&dir).unwrap();
        let mut numbers = Numbers::new(seed);
        let mut dockerfile = "FROM scratch\n".to_owned();
        for (index, size) in layers.iter().enumerate() {
            std::fs::write(dir.join(index.to_string()), numbers.bytes(*size)).unwrap();
            dockerfile.push_str(&format!("COPY {index} /\n"));
        }
        dockerfile.push_str("CMD [\"/0\"]\n");
        std::fs::write(dir.join("Dockerfile"), dockerfile).unwrap();
        self.home
            .run(&["build", "-q", "-t", name, dir.to_str().unwrap()])
            .ok();
    }

    /// The ID of an image.
    pub(super) fn id(&self, name: &str) -> String {
        let arguments = ["image", "inspect", "-f", "{{.Id}}", name];
        self.home.run(&arguments).ok().to_owned()
    }

    pub(super) fn store(&self) -> Store {
        Store::open(Paths::new(self.home.root(), self.home.run_root())).unwrap()
    }

    /// Every image of the store keeps its promises; returns how many there are.
    #[track_caller]
    pub(super) fn assert_valid(&self) -> usize {
        let store = self.store();
        let images = rbuild::image::find_all(&store).unwrap();
        for (image, names) in &images {
            rbuild::image::validate(&store, image)
                .unwrap_or_else(|err| panic!("{names:?}: {err:?}"));
        }
        images.len()
    }

    /// No image, no blob, no tree and nothing half done is in the store.
    #[track_caller]
    pub(super) fn assert_empty(&self) {
        let store = self.store();
        assert_eq!(rbuild::image::find_all(&store).unwrap().len(), 0);
        let snapshots = store.snapshot_list().unwrap();
        let half_done = |row: &&rbuild::store::SnapshotRow| row.state != SnapshotState::Committed;
        let half_done: Vec<_> = snapshots.iter().filter(half_done).collect();
        assert!(half_done.is_empty(), "half done: {half_done:?}");
        let mut files = Vec::new();
        for dir in [store.paths().tmp(), store.paths().blobs()] {
            walk(&dir, &mut files);
        }
        assert!(files.is_empty(), "left behind: {files:?}");
    }
}

/// Every file beneath a directory.
fn walk(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, files);
        } else {
            files.push(path);
        }
    }
}

/// How many rounds a test goes, unless a variable says otherwise.
pub(super) fn rounds(variable: &str, usual: u64) -> u64 {
    number(variable).unwrap_or(usual)
}

/// Where random numbers begin: `RBUILD_TEST_SEED`, else another number in each run. A test
/// that fails shows it.
pub(super) fn seed() -> u64 {
    number("RBUILD_TEST_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::from(now.unwrap().subsec_micros())
    })
}

fn number(variable: &str) -> Option<u64> {
    let found = std::env::vars_os().find(|(name, _)| name == variable);
    found.map(|(_, value)| value.to_str().unwrap().parse().unwrap())
}
