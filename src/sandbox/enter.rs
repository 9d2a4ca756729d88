//! A further process in a running sandbox.

use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::spawn::begin;
use super::{
    Error, NetworkNamespace, Overlay, ResourceLimits, Rlimit, RootFs, Running, Seccomp, Spec,
    Stdio, Terminal,
};

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

/// Starts a further process in the sandbox whose first process is `pid`: in its
/// namespaces and its root file system. It ends with them, whatever it does.
pub fn enter(pid: i32, spec: &ExecSpec, stdio: Stdio<'_>) -> Result<Running, Error> {
    let process = Pid::from_raw(pid).ok_or(rustix::io::Errno::SRCH);
    let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    let process = process.map_err(|err| Error::SetUp {
        step: "find the sandbox".to_owned(),
        source: err.into(),
    })?;
    begin(&spec.whole(), stdio, None, Some(process.as_fd()))
}

impl ExecSpec {
    /// The same as a specification of a sandbox, of which only the process is looked at.
    fn whole(&self) -> Spec {
        Spec {
            rootfs: RootFs {
                mountpoint: PathBuf::new(),
                overlay: Overlay {
                    lower: Vec::new(),
                    upper: PathBuf::new(),
                    work: PathBuf::new(),
                    volatile: false,
                },
            },
            mounts: Vec::new(),
            argv: self.argv.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            create_cwd: false,
            uid: self.uid,
            gid: self.gid,
            groups: self.groups.clone(),
            hostname: None,
            network: NetworkNamespace::Host,
            capabilities: self.capabilities.clone(),
            no_new_privileges: self.no_new_privileges,
            seccomp: self.seccomp.clone(),
            mask_paths: false,
            read_only: false,
            rlimits: self.rlimits.clone(),
            shm_bytes: 0,
            sysctls: Vec::new(),
            terminal: self.terminal,
            cgroup: self.cgroup.clone(),
            resources: ResourceLimits::default(),
            die_with_parent: true,
        }
    }
}
