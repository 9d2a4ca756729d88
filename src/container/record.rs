//! The documents in a container's directory. Each carries a version and is
//! replaced as a whole.

use serde::{Deserialize, Serialize};

use super::Request;
use super::health::HealthState;
use crate::network::{Place, PortForward};

/// The format of both documents.
const VERSION: u32 = 1;

/// `request.json`: what the container is, written once. A start needs this, the
/// container's row and its image's layers, nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// The container's ID.
    pub id: String,
    /// The image's ID, `sha256:` and 64 hexadecimal digits.
    pub image_id: String,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
    /// The request with the image's defaults filled in.
    pub request: Request,
    /// Its anonymous volumes.
    pub volumes: Vec<AnonymousVolume>,
}

/// A volume that was made for the container alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AnonymousVolume {
    /// Its name, 64 hexadecimal digits.
    pub name: String,
    /// Where it is mounted.
    pub target: String,
    /// Whether it is read-only.
    pub read_only: bool,
}

impl Record {
    /// A record of the current format.
    pub(super) fn new(id: String, image_id: String, created_at: i64, request: Request) -> Self {
        Self {
            version: VERSION,
            id,
            image_id,
            created_at,
            request,
            volumes: Vec::new(),
        }
    }
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Made, and never started with success.
    Created,
    /// Its first process runs.
    Running,
    /// All its processes are stopped for a while.
    Paused,
    /// Its first process ended and is to be started again.
    Restarting,
    /// Its first process ended.
    Exited,
    /// Its directory is damaged; it can only be removed.
    Dead,
}

impl Status {
    /// Docker's word.
    pub fn text(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
    /// Which run of the machine that was; 0 where nobody noted it.
    #[serde(default)]
    pub boot: u64,
}

/// `state.json`: what happened to the container; only its shim writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    version: u32,
    /// What it is doing.
    pub status: Status,
    /// Its first process on the host; 0 when it does not run.
    pub pid: i32,
    /// The shim of its last run.
    pub shim: Option<Process>,
    /// When it was started last, nanoseconds since 1970.
    pub started_at: Option<i64>,
    /// When it ended last, nanoseconds since 1970.
    pub finished_at: Option<i64>,
    /// The exit code of its last run.
    pub exit_code: i32,
    /// Why the last start failed; empty when it did not.
    pub error: String,
    /// Whether the kernel killed something in it for want of memory.
    pub out_of_memory: bool,
    /// Where it is on its networks, in the order in which it joined them.
    #[serde(default)]
    pub networks: Vec<Place>,
    /// Ports carried to it.
    pub ports: Vec<PortForward>,
    /// How often it was started again by its policy, since somebody started it.
    #[serde(default)]
    pub restarts: u32,
    /// Whether somebody stopped it, rather than it ending by itself.
    #[serde(default)]
    pub stopped_by_user: bool,
    /// Its health, where it is probed.
    #[serde(default)]
    pub health: Option<HealthState>,
}

impl State {
    /// A container that was never started.
    pub(super) fn created() -> Self {
        Self {
            version: VERSION,
            status: Status::Created,
            pid: 0,
            shim: None,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            error: String::new(),
            out_of_memory: false,
            networks: Vec::new(),
            ports: Vec::new(),
            restarts: 0,
            stopped_by_user: false,
            health: None,
        }
    }

    /// A container whose documents cannot be read.
    pub(super) fn dead() -> Self {
        Self {
            status: Status::Dead,
            ..Self::created()
        }
    }

    /// The same container when somebody is starting it: what its policy counted
    /// begins anew.
    #[must_use]
    pub(super) fn started_by_user(self) -> Self {
        Self {
            restarts: 0,
            stopped_by_user: false,
            ..self
        }
    }

    /// The same container when its first process runs.
    #[must_use]
    pub(super) fn running(self, pid: i32, shim: Process, now: i64) -> Self {
        Self {
            status: Status::Running,
            pid,
            shim: Some(shim),
            started_at: Some(now),
            exit_code: 0,
            error: String::new(),
            out_of_memory: false,
            ..self
        }
    }

    /// The same container when its first process ended.
    #[must_use]
    pub(super) fn exited(self, code: i32, out_of_memory: bool, now: i64) -> Self {
        Self {
            status: Status::Exited,
            pid: 0,
            shim: None,
            finished_at: Some(now),
            exit_code: code,
            out_of_memory,
            networks: Vec::new(),
            ports: Vec::new(),
            ..self
        }
    }

    /// The same container when its first process ended and it is started again
    /// soon; its shim stays.
    #[must_use]
    pub(super) fn restarting(self, code: i32, out_of_memory: bool, now: i64) -> Self {
        let shim = self.shim;
        let restarts = self.restarts.saturating_add(1);
        Self {
            status: Status::Restarting,
            shim,
            restarts,
            ..self.exited(code, out_of_memory, now)
        }
    }

    /// The same container when it could not be started: it keeps its status,
    /// unless that was to be started again.
    #[must_use]
    pub(super) fn not_started(self, code: i32, error: String) -> Self {
        let status = match self.status {
            Status::Restarting => Status::Exited,
            status => status,
        };
        Self {
            status,
            pid: 0,
            shim: None,
            exit_code: code,
            error,
            networks: Vec::new(),
            ports: Vec::new(),
            ..self
        }
    }

    /// What is true when the shim of a running container is gone: it took the
    /// container with it, and nobody knows the program's own code.
    #[must_use]
    pub(super) fn lost(self) -> Self {
        const UNKNOWN_EXIT: i32 = 255;
        let last = self.started_at.unwrap_or_default();
        self.exited(UNKNOWN_EXIT, false, last)
    }

    /// Whether a shim is with it: its first process runs, rests, or is started again soon.
    pub(super) fn is_running(&self) -> bool {
        matches!(
            self.status,
            Status::Running | Status::Paused | Status::Restarting
        )
    }

    /// Whether its first process exists.
    pub(super) fn has_process(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHIM: Process = Process {
        pid: 7,
        started: 99,
        boot: 0,
    };

    #[test]
    fn a_run_leaves_its_code_and_frees_its_place() {
        let running = State::created().running(8, SHIM, 1_000);
        assert!(running.is_running());
        assert_eq!(running.started_at, Some(1_000));
        let exited = running.exited(3, false, 2_000);
        assert_eq!(
            (exited.status, exited.exit_code, exited.pid),
            (Status::Exited, 3, 0)
        );
        assert_eq!(
            (exited.started_at, exited.finished_at),
            (Some(1_000), Some(2_000))
        );
        assert_eq!(exited.shim, None);
    }

    #[test]
    fn a_failed_start_keeps_the_status() {
        let failed = State::created().not_started(127, "no such".to_owned());
        assert_eq!((failed.status, failed.exit_code), (Status::Created, 127));
        let again = failed.running(8, SHIM, 5);
        assert_eq!((again.exit_code, again.error.as_str()), (0, ""));
    }

    #[test]
    fn a_lost_shim_means_exit_255() {
        let lost = State::created().running(8, SHIM, 5).lost();
        assert_eq!((lost.status, lost.exit_code), (Status::Exited, 255));
    }
}
