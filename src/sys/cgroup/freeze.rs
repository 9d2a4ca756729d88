//! What is done to all processes of a group at once: taken in, frozen, killed.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::group::{Group, Version, read};

/// How long the kernel may take to stop every process.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);
/// How often the processes of a tree are looked up again: each round finds those
/// that were started during the one before.
const ROUNDS: u32 = 100;

impl Group {
    /// Moves a process tree that runs already into the group: these processes
    /// and everything that descends from them.
    pub fn adopt(&self, roots: &[i32]) -> io::Result<()> {
        let mut moved = BTreeSet::new();
        for _ in 0..ROUNDS {
            let new: Vec<i32> = tree(roots)
                .into_iter()
                .filter(|pid| !moved.contains(pid))
                .collect();
            if new.is_empty() {
                return Ok(());
            }
            for pid in new {
                for dir in &self.dirs {
                    match std::fs::write(dir.path.join("cgroup.procs"), pid.to_string()) {
                        // It has ended meanwhile.
                        Err(err) if err.raw_os_error() == Some(libc::ESRCH) => {}
                        result => result?,
                    }
                }
                moved.insert(pid);
            }
        }
        Err(io::Error::other("its processes multiply too fast"))
    }

    /// Stops every process of the group, and those that join it.
    pub fn freeze(&self) -> io::Result<()> {
        self.set_frozen(true)
    }

    /// Lets the processes of a frozen group go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.set_frozen(false)
    }

    fn set_frozen(&self, frozen: bool) -> io::Result<()> {
        let dir = |file: &str| self.dirs.iter().find(|dir| dir.path.join(file).exists());
        let until = Instant::now() + PATIENCE;
        let (path, version) = match (dir("freezer.state"), dir("cgroup.freeze")) {
            (Some(dir), _) | (None, Some(dir)) => (&dir.path, dir.version),
            (None, None) => return Err(io::Error::other("there is no freezer")),
        };
        loop {
            let is_done = match version {
                Version::One => {
                    let word = if frozen { "FROZEN" } else { "THAWED" };
                    // Written again each time: a fork may have escaped the first order.
                    std::fs::write(path.join("freezer.state"), word)?;
                    read(path, "freezer.state")?.trim() == word
                }
                Version::Two => {
                    std::fs::write(path.join("cgroup.freeze"), if frozen { "1" } else { "0" })?;
                    let wanted = format!("frozen {}", u8::from(frozen));
                    read(path, "cgroup.events")?
                        .lines()
                        .any(|line| line == wanted)
                }
            };
            if is_done {
                return Ok(());
            }
            if Instant::now() > until {
                if frozen {
                    // Half a pause is none.
                    self.set_frozen(false)?;
                }
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Kills every process of the group and of those beneath it at once, where the
    /// kernel does that; it does in version 2, from Linux 5.14.
    pub fn kill(&self) {
        for dir in &self.dirs {
            let file = dir.path.join("cgroup.kill");
            if file.exists() {
                // Who is left is found one by one.
                let _refused = std::fs::write(file, "1");
            }
        }
    }

    /// The processes in the group.
    pub fn processes(&self) -> Vec<i32> {
        let all = self.dirs.iter().flat_map(|dir| {
            let text = read(&dir.path, "cgroup.procs").unwrap_or_default();
            let pids: Vec<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
            pids
        });
        let all: BTreeSet<i32> = all.collect();
        all.into_iter().collect()
    }
}

/// Processes and all their descendants, as far as they are still there.
pub fn tree(roots: &[i32]) -> Vec<i32> {
    let mut found: Vec<i32> = Vec::new();
    let mut pending: Vec<i32> = roots.to_vec();
    while let Some(pid) = pending.pop() {
        let tasks = format!("/proc/{pid}/task");
        if found.contains(&pid) || !Path::new(&tasks).exists() {
            continue;
        }
        found.push(pid);
        for task in std::fs::read_dir(tasks).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children"));
            let children = children.unwrap_or_default();
            pending.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<i32>().ok()),
            );
        }
    }
    found
}

/// The processes in the PID namespace of `first` and everything beneath them: also those
/// that came in from outside, which are nobody's children there. Only the tree of
/// `first` where it shares this process' own namespace.
pub fn members(first: i32) -> Vec<i32> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(&first.to_string());
    if wanted.is_none() || wanted == namespace("self") {
        return tree(&[first]);
    }
    let mut roots = vec![first];
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if namespace(&pid.to_string()) == wanted {
            roots.push(pid);
        }
    }
    tree(&roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_in_its_own_tree_and_nobody_in_that_of_nobody() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(tree(&[own]).contains(&own));
        assert!(tree(&[i32::MAX]).is_empty());
        assert!(members(own).contains(&own));
        assert!(members(i32::MAX).is_empty());
    }
}
