//! One group across all hierarchies.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::Hierarchies;
use super::device;
use super::limits::{Limits, inherit_cpuset};

/// The controllers that a group is made in: those that limits need, that a
/// pause needs, and that statistics need. (`blkio` is version 2's `io`.)
const CONTROLLERS: [&str; 7] = ["memory", "cpu", "cpuacct", "pids", "freezer", "blkio", "io"];
/// How often a directory that is just being left is tried again.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

/// A group: one directory in each hierarchy that has a controller for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    pub(super) dirs: Vec<Dir>,
}

/// What a group's processes have used; `None` where nobody counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time.
    pub cpu: Option<Duration>,
    /// Most memory in use at once, in bytes.
    pub memory_peak: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dir {
    pub(super) path: PathBuf,
    /// The directory that was there before; `path` is beneath it.
    base: PathBuf,
    pub(super) version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Group {
    /// Makes the group `name`, such as `rbuild/<id>`, and sets its limits.
    /// Returns it with a sentence for each limit that could not be set.
    ///
    /// # Errors
    /// When `name` is no plain relative path. All else becomes a warning.
    pub fn create(
        hierarchies: &Hierarchies,
        name: &str,
        limits: &Limits,
    ) -> io::Result<(Self, Vec<String>)> {
        let name = checked(name)?;
        let mut group = Self { dirs: Vec::new() };
        let mut wanted = CONTROLLERS.to_vec();
        if limits.wants_cpuset() {
            wanted.push("cpuset");
        }
        if limits.wants_devices() {
            wanted.push("devices");
        }
        for controller in &wanted {
            if let Some(v1) = hierarchies.v1_of(controller) {
                let bases = [&*v1.mount, &v1.mount.join(&v1.own)];
                group.make(Version::One, &bases, name, &wanted);
            }
        }
        group.fill_cpusets(name);
        if !limits.wants_cpuset() {
            // Nothing has to be filled in there, and an update may want it.
            wanted.push("cpuset");
        }
        if let Some(v2) = &hierarchies.v2 {
            let available = read(&v2.mount, "cgroup.controllers").unwrap_or_default();
            // Beside version 1 it may have no controller that matters.
            let matters = |one: &str| wanted.contains(&one);
            if hierarchies.v1.is_empty() || available.split_whitespace().any(matters) {
                let own = v2.mount.join(&v2.own);
                // A group with processes hands out no controllers, so the group
                // beside the own one comes before the one beneath it.
                let beside = own.parent().unwrap_or(&own);
                let beside = if v2.own.as_os_str().is_empty() {
                    &own
                } else {
                    beside
                };
                let bases = [&*v2.mount, beside, &own];
                group.make(Version::Two, &bases, name, &wanted);
            }
        }
        let warnings = group.limit(limits);
        Ok((group, warnings))
    }

    /// The group `name` that exists already.
    ///
    /// # Errors
    /// When `name` is no plain relative path.
    pub fn existing(hierarchies: &Hierarchies, name: &str) -> io::Result<Self> {
        let name = checked(name)?;
        let v1 = hierarchies
            .v1
            .iter()
            .map(|v1| (Version::One, &v1.mount, v1.mount.join(&v1.own)));
        let v2 = hierarchies
            .v2
            .iter()
            .map(|v2| (Version::Two, &v2.mount, v2.mount.join(&v2.own)));
        let mut dirs = Vec::new();
        for (version, mount, own) in v1.chain(v2) {
            let beside = own.parent().unwrap_or(&own).to_owned();
            let bases = [mount.clone(), beside, own];
            let found = bases.into_iter().find(|base| base.join(name).is_dir());
            dirs.extend(found.map(|base| Dir {
                path: base.join(name),
                base,
                version,
            }));
        }
        Ok(Self { dirs })
    }

    /// Makes the directory in the first of `bases` that takes it.
    fn make(&mut self, version: Version, bases: &[&Path], name: &Path, wanted: &[&str]) {
        let path_is_known = |path: &Path| self.dirs.iter().any(|dir| dir.path == path);
        for base in bases {
            let path = base.join(name);
            if path_is_known(&path) {
                return;
            }
            if version == Version::Two {
                // Fails in a group that has processes; then limits warn.
                enable(base, wanted);
            }
            // One that an end without a witness left behind has limits of its own.
            let _none_as_a_rule = std::fs::remove_dir(&path);
            let mut made = std::fs::create_dir_all(&path);
            if made.is_err() {
                // Another sandbox may just have removed an empty parent.
                made = std::fs::create_dir_all(&path);
            }
            if made.is_err() {
                continue;
            }
            if version == Version::Two {
                let mut above = base.to_path_buf();
                for part in name.parent().into_iter().flat_map(Path::components) {
                    above.push(part);
                    enable(&above, wanted);
                }
            }
            self.dirs.push(Dir {
                path,
                base: base.to_path_buf(),
                version,
            });
            return;
        }
    }

    /// Fills in new version 1 groups of processors, from the top down. One that
    /// stays without any is given up: no process could join it.
    fn fill_cpusets(&mut self, name: &Path) {
        self.dirs.retain(|dir| {
            if !dir.path.join("cpuset.cpus").exists() {
                return true;
            }
            let mut level = dir.base.clone();
            let filled = name.components().all(|part| {
                level.push(part);
                inherit_cpuset(&level)
            });
            if !filled {
                remove_dir(&dir.path);
            }
            filled
        });
    }

    /// Whether the group says which devices may be used.
    pub fn restricts_devices(&self) -> bool {
        if let Some(dir) = self.dir_with("devices.list") {
            let text = read(&dir.path, "devices.list").unwrap_or_default();
            return !text.lines().any(|line| line.starts_with("a "));
        }
        let mut two = self.dirs.iter().filter(|dir| dir.version == Version::Two);
        two.any(|dir| device::is_restricted(&dir.path))
    }

    /// Whether there is no directory at all.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    /// What its processes have used, as far as the kernel has counted it.
    pub fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        for dir in &self.dirs {
            let number = |file: &str| read(&dir.path, file).ok()?.trim().parse::<u64>().ok();
            let peak = match dir.version {
                Version::One => number("memory.max_usage_in_bytes"),
                Version::Two => number("memory.peak"),
            };
            let cpu = match dir.version {
                Version::One => number("cpuacct.usage").map(Duration::from_nanos),
                Version::Two => read(&dir.path, "cpu.stat").ok().and_then(|text| {
                    let line = text
                        .lines()
                        .find_map(|line| line.strip_prefix("usage_usec "));
                    line?.trim().parse().ok().map(Duration::from_micros)
                }),
            };
            usage.cpu = usage.cpu.or(cpu);
            usage.memory_peak = usage.memory_peak.or(peak);
        }
        usage
    }

    /// Moves the calling process into the group.
    pub fn join(&self) -> io::Result<()> {
        for dir in &self.dirs {
            std::fs::write(dir.path.join("cgroup.procs"), "0")?;
        }
        Ok(())
    }

    /// Whether the kernel killed something in the group for want of memory.
    pub fn saw_out_of_memory_kill(&self) -> bool {
        self.dirs.iter().any(|dir| {
            let file = match dir.version {
                Version::One => "memory.oom_control",
                Version::Two => "memory.events",
            };
            let text = read(&dir.path, file).unwrap_or_default();
            text.lines()
                .filter_map(|line| line.strip_prefix("oom_kill "))
                .any(|count| count.trim() != "0")
        })
    }

    /// Removes the group, whose processes are dead, and those above it that were
    /// made for it and are empty now. Never fails: what the kernel keeps stays.
    pub fn remove(&self) {
        for dir in &self.dirs {
            remove_dir(&dir.path);
            let above = dir.path.ancestors().skip(1);
            for parent in above.take_while(|parent| **parent != *dir.base) {
                // Others of ours live there as a rule.
                if std::fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
    }
}

/// The last process may still be on its way out, and the container may have made
/// groups beneath its own.
fn remove_dir(path: &Path) {
    for attempt in 0..REMOVE_TRIES {
        match std::fs::remove_dir(path) {
            Err(err) if err.kind() == io::ErrorKind::ResourceBusy => {
                if attempt == 0 {
                    remove_beneath(path);
                } else {
                    std::thread::sleep(REMOVE_PAUSE);
                }
            }
            _ => return,
        }
    }
}

/// Removes the groups beneath one, the deepest first. The kernel bounds how many
/// there are and how deep.
fn remove_beneath(path: &Path) {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
                found.push(entry.path());
            }
        }
    }
    for dir in found.iter().rev() {
        let _tried_again_above = std::fs::remove_dir(dir);
    }
}

/// Hands the wanted controllers to the groups beneath, each for itself: one that
/// is refused does not take the others along.
fn enable(dir: &Path, wanted: &[&str]) {
    let available = read(dir, "cgroup.controllers").unwrap_or_default();
    let enabled = read(dir, "cgroup.subtree_control").unwrap_or_default();
    for controller in available.split_whitespace() {
        if wanted.contains(&controller) && !enabled.split_whitespace().any(|one| one == controller)
        {
            let _refused =
                std::fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
        }
    }
}

fn checked(name: &str) -> io::Result<&Path> {
    let path = Path::new(name);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if plain && !name.is_empty() {
        Ok(path)
    } else {
        Err(rustix::io::Errno::INVAL.into())
    }
}

pub(super) fn read(dir: &Path, file: &str) -> io::Result<String> {
    std::fs::read_to_string(dir.join(file))
}

#[cfg(test)]
mod tests {
    use super::super::hierarchy::{V1, V2};
    use super::*;

    fn hierarchies(top: &Path) -> Hierarchies {
        let v1 = |name: &str| V1 {
            controllers: vec![name.to_owned()],
            mount: top.join(name),
            own: PathBuf::new(),
        };
        Hierarchies {
            v1: vec![v1("pids"), v1("memory")],
            v2: None,
        }
    }

    #[test]
    fn a_missing_controller_is_a_warning_that_names_the_limit() {
        let top = tempfile::tempdir().unwrap();
        std::fs::create_dir(top.path().join("pids")).unwrap();
        let limits = Limits {
            memory_bytes: Some(1 << 20),
            nano_cpus: Some(1),
            pids: Some(5),
            ..Limits::default()
        };
        let (group, warnings) =
            Group::create(&hierarchies(top.path()), "rbuild/x", &limits).unwrap();
        assert!(top.path().join("pids/rbuild/x").is_dir());
        let text = warnings.join("\n");
        for word in ["memory limit", "NanoCPUs", "PIDs limit"] {
            assert!(text.contains(word), "{text}");
        }
        group.remove();
        assert!(!top.path().join("pids/rbuild").exists());
        assert!(top.path().join("pids").exists());
    }

    #[test]
    fn version_two_files_are_written_where_they_are() {
        let top = tempfile::tempdir().unwrap();
        let leaf = top.path().join("rbuild/x");
        std::fs::create_dir_all(&leaf).unwrap();
        for file in ["memory.max", "cpu.max", "pids.max", "memory.events"] {
            std::fs::write(leaf.join(file), "").unwrap();
        }
        let hierarchies = Hierarchies {
            v1: Vec::new(),
            v2: Some(V2 {
                mount: top.path().to_owned(),
                own: PathBuf::new(),
            }),
        };
        let limits = Limits {
            memory_bytes: Some(4096),
            nano_cpus: Some(500_000_000),
            pids: Some(7),
            ..Limits::default()
        };
        let (group, warnings) = Group::create(&hierarchies, "rbuild/x", &limits).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(read(&leaf, "memory.max").unwrap(), "4096");
        assert_eq!(read(&leaf, "cpu.max").unwrap(), "50000 100000");
        assert_eq!(read(&leaf, "pids.max").unwrap(), "7");
        assert!(!group.saw_out_of_memory_kill());
        std::fs::write(leaf.join("memory.events"), "oom 1\noom_kill 1\n").unwrap();
        assert!(group.saw_out_of_memory_kill());
        assert_eq!(Group::existing(&hierarchies, "rbuild/x").unwrap(), group);
    }

    #[test]
    fn names_that_climb_are_refused() {
        for name in ["", "/x", "../x", "a/../b"] {
            assert!(checked(name).is_err(), "{name}");
        }
    }
}
