//! A further process in a running sandbox.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::channel::TaskRef;
use super::spawn::{Filter, Origin, start};
use super::{Error, Rlimit, Running, Seccomp, Stdio, Terminal};

/// Everything about a further process. Serialised: it travels to the process
/// that becomes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The argument vector; the first one is looked up in the `PATH` of `env` unless it has a slash.
    pub argv: Vec<String>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Capabilities kept, as numbers of linux/capability.h.
    pub capabilities: Vec<u8>,
    /// Whether privileges may never be gained again (`no_new_privs`).
    pub no_new_privileges: bool,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Resource limits.
    pub rlimits: Vec<Rlimit>,
    /// Terminal size and allocation, for a terminal.
    pub terminal: Option<Terminal>,
    /// The sandbox's cgroup, beneath each controller's root.
    pub cgroup: Option<String>,
}

/// Starts a further process in the sandbox whose first process is `pid`.
///
/// Dropping the result kills that process alone, not what it left running.
pub fn enter(pid: i32, spec: &ExecSpec, stdio: Stdio<'_>) -> Result<Running, Error> {
    let filter = Filter {
        seccomp: &spec.seccomp,
        capabilities: &spec.capabilities,
    };
    start(
        TaskRef::Enter(pid, spec),
        stdio,
        None,
        &filter,
        Origin::Forked,
    )
}
