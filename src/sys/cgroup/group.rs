//! One group across all hierarchies.

use std::fmt::Display;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::Hierarchies;

/// The controllers that a group is made in: those that limits need, that a
/// pause needs, and that statistics need.
const CONTROLLERS: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "freezer", "blkio"];
/// The period that CPU time is counted over. Source: Docker's default.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;
/// The least CPU time a period that the kernel takes.
const LEAST_CPU_MICROSECONDS: u64 = 1_000;
/// How often a directory that is just being left is tried again.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

/// What a group limits. `None` leaves it alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory in bytes. Swap may be used to the same amount again, as in Docker.
    pub memory_bytes: Option<u64>,
    /// CPU time in units of 10^-9 CPU.
    pub nano_cpus: Option<u64>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
}

/// A group: one directory in each hierarchy that has a controller for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    dirs: Vec<Dir>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Dir {
    path: PathBuf,
    /// The directory that was there before; `path` is beneath it.
    base: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
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
        for controller in CONTROLLERS {
            if let Some(v1) = hierarchies.v1_of(controller) {
                group.make(Version::One, &[&v1.mount, &v1.mount.join(&v1.own)], name);
            }
        }
        if let Some(v2) = &hierarchies.v2 {
            let available = read(&v2.mount, "cgroup.controllers").unwrap_or_default();
            let wanted = |one: &str| CONTROLLERS.contains(&one) || one == "io";
            // Beside version 1 it may have no controller that matters.
            if hierarchies.v1.is_empty() || available.split_whitespace().any(wanted) {
                let own = v2.mount.join(&v2.own);
                // A group with processes hands out no controllers, so the group
                // beside the own one comes before the one beneath it.
                let beside = own.parent().unwrap_or(&own);
                let beside = if v2.own.as_os_str().is_empty() {
                    &own
                } else {
                    beside
                };
                group.make(Version::Two, &[&v2.mount, beside, &own], name);
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
    fn make(&mut self, version: Version, bases: &[&Path], name: &Path) {
        let path_is_known = |path: &Path| self.dirs.iter().any(|dir| dir.path == path);
        for base in bases {
            let path = base.join(name);
            if path_is_known(&path) {
                return;
            }
            if version == Version::Two {
                // Fails in a group that has processes; then limits warn.
                enable(base);
            }
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
                    enable(&above);
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

    /// Whether there is no directory at all.
    pub fn is_empty(&self) -> bool {
        self.dirs.is_empty()
    }

    fn limit(&self, limits: &Limits) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut set = |limit: &str, result: Result<(), String>| {
            if let Err(why) = result {
                warnings.push(format!("the {limit} limit is not set: {why}"));
            }
        };
        if let Some(bytes) = limits.memory_bytes {
            set("memory", self.limit_memory(bytes));
        }
        if let Some(nano_cpus) = limits.nano_cpus {
            set("CPU", self.limit_cpu(nano_cpus));
        }
        if let Some(pids) = limits.pids {
            set("process", self.limit_pids(pids));
        }
        warnings
    }

    fn limit_memory(&self, bytes: u64) -> Result<(), String> {
        let (dir, file, swap, swap_bytes) =
            if let Some(dir) = self.dir_with("memory.limit_in_bytes") {
                let both = bytes.saturating_mul(2);
                (
                    dir,
                    "memory.limit_in_bytes",
                    "memory.memsw.limit_in_bytes",
                    both,
                )
            } else if let Some(dir) = self.dir_with("memory.max") {
                (dir, "memory.max", "memory.swap.max", bytes)
            } else {
                return Err(no_controller("memory"));
            };
        write(&dir.path, file, bytes)?;
        // Swap is often not accounted for; the memory limit holds without it.
        let _unaccounted = write(&dir.path, swap, swap_bytes);
        Ok(())
    }

    fn limit_cpu(&self, nano_cpus: u64) -> Result<(), String> {
        let nanoseconds = u128::from(nano_cpus) * u128::from(CPU_PERIOD_MICROSECONDS);
        let quota = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(u64::MAX);
        let quota = quota.max(LEAST_CPU_MICROSECONDS);
        if let Some(dir) = self.dir_with("cpu.cfs_quota_us") {
            write(&dir.path, "cpu.cfs_period_us", CPU_PERIOD_MICROSECONDS)?;
            write(&dir.path, "cpu.cfs_quota_us", quota)
        } else if let Some(dir) = self.dir_with("cpu.max") {
            let text = format!("{quota} {CPU_PERIOD_MICROSECONDS}");
            write(&dir.path, "cpu.max", text)
        } else {
            Err(no_controller("cpu"))
        }
    }

    fn limit_pids(&self, pids: u64) -> Result<(), String> {
        let dir = self.dir_with("pids.max");
        let dir = dir.ok_or_else(|| no_controller("pids"))?;
        write(&dir.path, "pids.max", pids)
    }

    fn dir_with(&self, file: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.path.join(file).exists())
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

/// The last process may still be on its way out.
fn remove_dir(path: &Path) {
    for _ in 0..REMOVE_TRIES {
        match std::fs::remove_dir(path) {
            Err(err) if err.kind() == io::ErrorKind::ResourceBusy => {
                std::thread::sleep(REMOVE_PAUSE);
            }
            _ => return,
        }
    }
}

/// Hands the wanted controllers to the groups beneath, each for itself: one that
/// is refused does not take the others along.
fn enable(dir: &Path) {
    let available = read(dir, "cgroup.controllers").unwrap_or_default();
    let enabled = read(dir, "cgroup.subtree_control").unwrap_or_default();
    for controller in available.split_whitespace() {
        let wanted = CONTROLLERS.contains(&controller) || controller == "io";
        if wanted && !enabled.split_whitespace().any(|one| one == controller) {
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

fn no_controller(name: &str) -> String {
    format!("the `{name}` controller is not available")
}

fn read(dir: &Path, file: &str) -> io::Result<String> {
    std::fs::read_to_string(dir.join(file))
}

fn write(dir: &Path, file: &str, value: impl Display) -> Result<(), String> {
    let path = dir.join(file);
    std::fs::write(&path, value.to_string())
        .map_err(|err| format!("cannot write `{}`: {err}", path.display()))
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
        };
        let (group, warnings) =
            Group::create(&hierarchies(top.path()), "rbuild/x", &limits).unwrap();
        assert!(top.path().join("pids/rbuild/x").is_dir());
        let text = warnings.join("\n");
        for word in ["memory limit", "CPU limit", "process limit"] {
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
