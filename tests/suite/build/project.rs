//! A Dockerfile and its context in a data root of their own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rbuild::image::Image;
use rbuild::store::{Paths, SnapshotState, Store};
use serde_json::Value;

use super::{Outcome, Tree};
use crate::support::Home;

/// The name that every build gives its image.
pub(crate) const NAME: &str = "result";
/// How long something that ends in the background may take to do so.
const PATIENCE: Duration = Duration::from_secs(20);

/// A context, and the data root that it is built in.
#[derive(Debug)]
pub(crate) struct Project {
    home: Home,
}

impl Project {
    /// With an empty data root.
    pub(crate) fn from_scratch(dockerfile: &str) -> Self {
        Self::on(Home::new(), dockerfile)
    }

    /// With an empty data root in memory where there is room: for many files.
    pub(crate) fn in_memory(dockerfile: &str) -> Self {
        Self::on(Home::in_memory(), dockerfile)
    }

    /// With busybox to build on.
    pub(crate) fn on_busybox(dockerfile: &str) -> Self {
        Self::on(Home::with_busybox(), dockerfile)
    }

    fn on(home: Home, dockerfile: &str) -> Self {
        let project = Self { home };
        project.file("Dockerfile", dockerfile);
        project
    }

    /// The data root.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// The context's directory.
    pub(crate) fn context(&self) -> PathBuf {
        self.home.scratch().join("context")
    }

    /// Writes a file into the context.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        self.home.file(&format!("context/{name}"), content)
    }

    /// Makes a link in the context.
    pub(crate) fn link(&self, name: &str, target: &str) {
        let path = self.context().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    /// What is typed for a build: steps have no network unless they ask for one.
    pub(crate) fn arguments(&self, more: &[&str]) -> Vec<String> {
        let common = ["build", "--network=none", "--progress=plain", "-t", NAME];
        let mut arguments: Vec<String> = common.map(str::to_owned).to_vec();
        arguments.extend(more.iter().map(|one| (*one).to_owned()));
        arguments.push(self.context().to_str().unwrap().to_owned());
        arguments
    }

    /// Builds the context, to whatever end.
    pub(crate) fn try_build(&self, more: &[&str]) -> Outcome {
        self.home.run(&self.arguments(more))
    }

    /// Builds the context, and checks every promise that the image makes.
    #[track_caller]
    pub(crate) fn build(&self, more: &[&str]) -> Outcome {
        let outcome = self.try_build(more);
        outcome.ok();
        self.image();
        outcome
    }

    /// Builds another Dockerfile of the same context; the tree of its image.
    #[track_caller]
    pub(crate) fn tree_of(&self, dockerfile: &str) -> Tree {
        self.file("Dockerfile", dockerfile);
        self.build(&[]);
        self.tree()
    }

    /// Fails to build another Dockerfile of the same context.
    #[track_caller]
    pub(crate) fn refuses(&self, dockerfile: &str, part: &str) {
        self.file("Dockerfile", dockerfile);
        self.try_build(&[]).fails(1, part);
        self.assert_tidy();
    }

    /// Starts a build and leaves it running.
    pub(crate) fn start(&self, more: &[&str]) -> Child {
        self.home
            .command(&self.arguments(more))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// The store, opened by the test.
    pub(crate) fn store(&self) -> Store {
        Store::open(Paths::new(self.home.root(), self.home.run_root())).unwrap()
    }

    /// The image of the last build, validated.
    #[track_caller]
    pub(crate) fn image(&self) -> Image {
        self.image_named(NAME)
    }

    /// An image by its name, validated.
    #[track_caller]
    pub(crate) fn image_named(&self, name: &str) -> Image {
        let store = self.store();
        let image = rbuild::image::find(&store, name).unwrap();
        rbuild::image::validate(&store, &image).unwrap();
        image
    }

    /// The tree of the last build's image.
    #[track_caller]
    pub(crate) fn tree(&self) -> Tree {
        Tree::of(&self.store(), &self.image())
    }

    /// The configuration of the last build's image as it is stored.
    #[track_caller]
    pub(crate) fn config(&self) -> Value {
        serde_json::from_slice(&self.image().config_bytes).unwrap()
    }

    /// Every image of the store keeps its promises.
    #[track_caller]
    pub(crate) fn assert_valid(&self) {
        let store = self.store();
        for (image, names) in rbuild::image::find_all(&store).unwrap() {
            rbuild::image::validate(&store, &image)
                .unwrap_or_else(|err| panic!("{names:?}: {err:?}"));
        }
    }

    /// Nothing runs or is mounted beneath the data root any more. What was
    /// killed may still be going when the command that killed it has ended.
    #[track_caller]
    pub(crate) fn assert_quiet(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let users = users_of(&self.home.root());
            if users.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {users:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What is on disk is what is registered, and nothing is half done.
    #[track_caller]
    pub(crate) fn assert_tidy(&self) {
        self.assert_quiet();
        let store = self.store();
        let rows = store.snapshot_list().unwrap();
        let half_done: Vec<_> = rows
            .iter()
            .filter(|row| row.state != SnapshotState::Committed)
            .collect();
        assert!(half_done.is_empty(), "active snapshots: {half_done:?}");
        let registered: BTreeSet<String> = rows.iter().map(|row| row.id.to_string()).collect();
        let paths = store.paths();
        assert_eq!(names(&paths.snapshots()), registered);
        assert_eq!(names(&paths.tmp()), BTreeSet::new());
        assert_eq!(names(&paths.mnt()), BTreeSet::new());
        assert!(store.lease_list("bridge").unwrap().is_empty());
    }
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Processes that see a mount with `root` in it, or work beneath it.
fn users_of(root: &Path) -> Vec<String> {
    let root = root.to_str().unwrap();
    let mut users = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let is_process = entry.file_name().to_string_lossy().parse::<u32>().is_ok();
        // A process may end while it is looked at.
        let Ok(mounts) = std::fs::read_to_string(entry.path().join("mountinfo")) else {
            continue;
        };
        if is_process && mounts.contains(root) {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let name = name.trim();
            users.push(format!("{} {name}", entry.path().display()));
        }
    }
    users
}

impl Outcome {
    /// The steps that progress told of and how each ended: `DONE` or `CACHED`.
    pub(crate) fn steps(&self) -> Vec<(String, String)> {
        let mut steps: Vec<(&str, String, String)> = Vec::new();
        for line in self.stderr.lines() {
            let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' '))
            else {
                continue;
            };
            match steps.iter_mut().find(|(known, ..)| *known == number) {
                None => steps.push((number, rest.to_owned(), String::new())),
                Some((_, _, end)) => {
                    let word = rest.split([' ', ':']).next().unwrap();
                    if ["DONE", "CACHED", "ERROR", "CANCELED"].contains(&word) {
                        word.clone_into(end);
                    }
                }
            }
        }
        let of_stages = steps.into_iter().filter_map(|(_, name, end)| {
            let (place, name) = name.strip_prefix('[')?.split_once("] ")?;
            let is_step = place.contains('/') && !name.starts_with("FROM ");
            is_step.then(|| (name.to_owned(), end))
        });
        of_stages.collect()
    }

    /// The steps that ended in this way.
    pub(crate) fn ended(&self, how: &str) -> Vec<String> {
        let steps = self.steps().into_iter().filter(|(_, end)| end == how);
        steps.map(|(name, _)| name).collect()
    }
}
