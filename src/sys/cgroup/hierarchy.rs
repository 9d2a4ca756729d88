//! Where the controllers of this machine are.

use std::path::{Path, PathBuf};

/// The mounted hierarchies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchies {
    pub(super) v1: Vec<V1>,
    pub(super) v2: Option<V2>,
}

/// A version 1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct V1 {
    /// Its controllers: one, or several that are mounted together.
    pub(super) controllers: Vec<String>,
    pub(super) mount: PathBuf,
    /// This process' group, beneath the mount.
    pub(super) own: PathBuf,
}

/// The version 2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct V2 {
    pub(super) mount: PathBuf,
    /// This process' group, beneath the mount.
    pub(super) own: PathBuf,
}

impl Hierarchies {
    /// Looks them up. Without `/proc` there are none.
    pub fn discover() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`.
    ///
    /// Source: proc_pid_mountinfo(5), cgroups(7).
    pub(super) fn parse(mountinfo: &str, cgroup: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let mut left = left.split(' ').skip(3);
            let (Some(root), Some(mount)) = (left.next(), left.next()) else {
                continue;
            };
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
            let mount = PathBuf::from(unescape(mount));
            let own = |is_it: &dyn Fn(&str, &str) -> bool| {
                let path = own_path(cgroup, is_it).unwrap_or("/");
                let beneath = path.strip_prefix(root.trim_end_matches('/'));
                PathBuf::from(beneath.unwrap_or_default().trim_start_matches('/'))
            };
            match kind {
                Some("cgroup2") if found.v2.is_none() => {
                    let own = own(&|number, list| number == "0" && list.is_empty());
                    found.v2 = Some(V2 { mount, own });
                }
                Some("cgroup") => {
                    let controllers = controllers(options);
                    let known = found.v1.iter().any(|v1| v1.controllers == controllers);
                    if let (Some(first), false) = (controllers.first(), known) {
                        let own = own(&|_, list| list.split(',').any(|one| one == first));
                        found.v1.push(V1 {
                            controllers,
                            mount,
                            own,
                        });
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Where version 2 is mounted beside controllers of version 1.
    pub fn mixed(&self) -> Option<&Path> {
        let v2 = self.v2.as_ref().filter(|_| !self.v1.is_empty());
        v2.map(|v2| v2.mount.as_path())
    }

    /// Removes the groups above `name` that are empty, in every hierarchy of this
    /// machine, also those without a controller.
    pub fn remove_empty_above(name: &str) {
        let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let kind = right.split(' ').next().unwrap_or_default();
            let mount = unescape(left.split(' ').nth(4).unwrap_or_default());
            if !matches!(kind, "cgroup" | "cgroup2") {
                continue;
            }
            for above in Path::new(name).ancestors().skip(1) {
                let is_some = above.components().next().is_some();
                // Others of ours live there as a rule.
                if !is_some || std::fs::remove_dir(Path::new(&mount).join(above)).is_err() {
                    break;
                }
            }
        }
    }

    /// The version 1 hierarchy of a controller.
    pub(super) fn v1_of(&self, controller: &str) -> Option<&V1> {
        self.v1
            .iter()
            .find(|v1| v1.controllers.iter().any(|one| one == controller))
    }

    /// The mounts as a sandbox shows them: directory name beneath
    /// `/sys/fs/cgroup`, file system type and its options. With version 2 alone
    /// the name is empty.
    pub fn mounts(mountinfo: &str) -> Vec<(String, &'static str, String)> {
        let mut mounts: Vec<(String, &'static str, String)> = Vec::new();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let place = unescape(left.split(' ').nth(4).unwrap_or_default());
            let Some(name) = Path::new(&place).strip_prefix("/sys/fs/cgroup").ok() else {
                continue;
            };
            let name = name.to_string_lossy().into_owned();
            if name.contains('/') || mounts.iter().any(|(known, ..)| *known == name) {
                continue;
            }
            let mut right = right.split(' ');
            let (kind, options) = (right.next(), right.nth(1).unwrap_or_default());
            match kind {
                Some("cgroup2") => mounts.push((name, "cgroup2", String::new())),
                Some("cgroup") if !name.is_empty() => {
                    let wanted: Vec<&str> = options
                        .split(',')
                        .filter(|option| !matches!(*option, "rw" | "ro"))
                        .filter(|option| !option.starts_with("release_agent="))
                        .collect();
                    mounts.push((name, "cgroup", wanted.join(",")));
                }
                _ => {}
            }
        }
        mounts
    }
}

/// The controllers among a super block's options. Named hierarchies have none.
fn controllers(options: &str) -> Vec<String> {
    const OTHERS: [&str; 7] = [
        "rw",
        "ro",
        "xattr",
        "noprefix",
        "clone_children",
        "cpuset_v2_mode",
        "favordynmods",
    ];
    options
        .split(',')
        .filter(|option| !option.contains('=') && !OTHERS.contains(option))
        .map(str::to_owned)
        .collect()
}

/// The path of the line `number:controllers:path` that is the right one.
fn own_path<'a>(cgroup: &'a str, is_it: &dyn Fn(&str, &str) -> bool) -> Option<&'a str> {
    cgroup.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, list, path) = (fields.next()?, fields.next()?, fields.next()?);
        is_it(number, list).then_some(path)
    })
}

/// Undoes mountinfo's octal escapes of blanks and backslashes.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn controllers_are_found_where_they_are_mounted() {
        let found = Hierarchies::parse(HYBRID, "4:memory:/a/b\n1:cpu,cpuacct:/\n0::/c\n");
        let memory = found.v1_of("memory").unwrap();
        assert_eq!(memory.mount, Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(memory.own, Path::new("a/b"));
        assert_eq!(found.v1_of("cpuacct"), found.v1_of("cpu"));
        assert_eq!(found.v1_of("systemd"), None);
        let v2 = found.v2.unwrap();
        assert_eq!(v2.mount, Path::new("/sys/fs/cgroup/unified"));
        assert_eq!(v2.own, Path::new("c"));
    }

    #[test]
    fn a_mount_of_a_part_hides_the_path_above_it() {
        let line = "9 1 0:3 /docker/x /sys/fs/cgroup/pids ro - cgroup cgroup rw,pids\n";
        let found = Hierarchies::parse(line, "8:pids:/docker/x\n");
        assert_eq!(found.v1_of("pids").unwrap().own, Path::new(""));
        let found = Hierarchies::parse(line, "8:pids:/docker/x/y\n");
        assert_eq!(found.v1_of("pids").unwrap().own, Path::new("y"));
    }

    #[test]
    fn a_sandbox_shows_the_hosts_hierarchies() {
        let mounts = Hierarchies::mounts(HYBRID);
        let shown: Vec<(&str, &str, &str)> = mounts
            .iter()
            .map(|(name, kind, options)| (name.as_str(), *kind, options.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("cpu,cpuacct", "cgroup", "cpu,cpuacct"),
                ("memory", "cgroup", "memory"),
                ("systemd", "cgroup", "xattr,name=systemd"),
                ("unified", "cgroup2", ""),
            ]
        );
        let unified = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(
            Hierarchies::mounts(unified),
            [(String::new(), "cgroup2", String::new())]
        );
    }
}
