//! A group as a scope of systemd's, where systemd runs: it knows then that the
//! processes are nobody else's, shows them under a name of their own, and does not
//! end them with the session or service that they were started from.
//!
//! In the scope systemd decides nothing (`Delegate=yes`). The sandbox's init lives
//! in the group `init` there, so that the scope stays as long as the init does, and
//! the container in the group `container`, whose limits are set as everywhere else.
//! systemd removes the scope when the init has ended.
//!
//! Source: systemd's docs/CGROUP_DELEGATION and org.freedesktop.systemd1(5).

mod bus;
mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::bus::{Bus, Unit};

/// There while systemd is the first process. Source: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";
/// There where version 2 alone is mounted in the usual place.
const UNIFIED: &str = "/sys/fs/cgroup/cgroup.controllers";
/// Where scopes are unless somebody names another slice, as in Docker.
const SLICE: &str = "system.slice";
/// The container's group in its scope, and that of its keeper.
const CONTAINER: &str = "container";
const INIT: &str = "init";
/// How long an earlier scope of the same name may take to go.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(10);

/// Who makes groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// This program, as directories.
    Cgroupfs,
    /// systemd, which is asked to; the limits are set by this program all the same.
    Systemd,
}

impl Driver {
    /// systemd where it runs and the tree is version 2 alone: beside version 1 its
    /// scopes delegate nothing.
    pub fn detect() -> Self {
        if Path::new(BOOTED).is_dir() && Path::new(UNIFIED).exists() {
            Self::Systemd
        } else {
            Self::Cgroupfs
        }
    }

    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }

    /// The group of the container `id`, beneath each hierarchy's root. `parent` is a
    /// slice for systemd, or else a path, beneath which systemd is not asked.
    pub fn group_name(self, parent: Option<&str>, id: &str) -> String {
        let plain = parent.unwrap_or("rbuild").trim_matches('/');
        let slice = match (self, parent) {
            (Self::Cgroupfs, _) => None,
            (Self::Systemd, None) => Some(SLICE.to_owned()),
            (Self::Systemd, Some(_)) => slice_path(plain),
        };
        slice.map_or_else(
            || format!("{plain}/{id}"),
            |slice| format!("{slice}/rbuild-{id}.scope/{CONTAINER}"),
        )
    }
}

/// Where a slice is: `a-b.slice` is in `a.slice`. Nothing for what is no slice.
///
/// Source: systemd.slice(5).
fn slice_path(name: &str) -> Option<String> {
    let stem = name.strip_suffix(".slice")?;
    if stem == "-" {
        return Some(String::new());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.:".contains(c);
    let parts: Vec<&str> = stem.split('-').collect();
    if !parts
        .iter()
        .all(|part| !part.is_empty() && part.chars().all(plain))
    {
        return None;
    }
    let levels = (1..=parts.len()).map(|count| format!("{}.slice", parts[..count].join("-")));
    Some(levels.collect::<Vec<_>>().join("/"))
}

/// The scope that the group `name` is to lie in, if it is one of [`Driver::group_name`]'s
/// and systemd runs.
pub fn scope_of(name: &str) -> Option<Scope> {
    let path = Path::new(name.strip_suffix(CONTAINER)?.strip_suffix('/')?);
    let unit = path.file_name()?.to_str()?;
    unit.strip_suffix(".scope")?;
    if Driver::detect() != Driver::Systemd {
        return None;
    }
    let slice = path.parent().and_then(Path::file_name);
    let slice = slice.map_or(Some("-.slice"), |name| name.to_str())?;
    Some(Scope {
        unit: unit.to_owned(),
        slice: slice.to_owned(),
        path: path.to_owned(),
    })
}

/// A scope that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    unit: String,
    slice: String,
    /// Beneath the hierarchy's root.
    path: PathBuf,
}

impl Scope {
    /// Makes the scope and moves the calling process, which has one thread, into it,
    /// where it has to stay for as long as the scope is needed.
    ///
    /// # Errors
    /// When systemd cannot be asked, or refuses.
    pub fn enter(&self) -> io::Result<()> {
        let unit = Unit {
            name: &self.unit,
            slice: &self.slice,
            description: "container of rbuild",
            pid: std::process::id(),
        };
        let until = Instant::now() + PATIENCE;
        loop {
            match Bus::connect()?.start(&unit) {
                Err(bus::Refusal::Exists) if Instant::now() < until => {
                    // The one of the container's last run is on its way out.
                    std::thread::sleep(PAUSE);
                }
                result => break result?,
            }
        }
        // Groups beneath can be given controllers only if the scope itself has no process.
        let scope = Path::new(UNIFIED).with_file_name("").join(&self.path);
        let init = scope.join(INIT);
        std::fs::create_dir(&init)?;
        std::fs::write(init.join("cgroup.procs"), "0")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_as_their_driver_wants() {
        let name = |driver: Driver, parent: Option<&str>| driver.group_name(parent, "id");
        assert_eq!(name(Driver::Cgroupfs, None), "rbuild/id");
        assert_eq!(name(Driver::Cgroupfs, Some("/a/b/")), "a/b/id");
        assert_eq!(name(Driver::Cgroupfs, Some("a.slice")), "a.slice/id");
        let systemd = |parent| name(Driver::Systemd, parent);
        assert_eq!(systemd(None), "system.slice/rbuild-id.scope/container");
        assert_eq!(
            systemd(Some("a-b.slice")),
            "a.slice/a-b.slice/rbuild-id.scope/container"
        );
        assert_eq!(systemd(Some("/a/b")), "a/b/id");
        for wrong in ["a--b.slice", "-a.slice", ".slice", "a/b.slice"] {
            assert_eq!(slice_path(wrong), None, "{wrong}");
        }
    }
}
