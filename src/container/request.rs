//! What the user asked for; after [`Request::with_image`], with the image's
//! defaults filled in.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Error, capabilities, signal};
use crate::oci::ContainerConfig;
use crate::sandbox::{ResourceLimits, Rlimit};

/// Size of `/dev/shm` in a container, as Docker's.
const SHM_BYTES: u64 = 64 << 20;
/// The least memory that Docker lets a container have.
const LEAST_MEMORY: u64 = 6 << 20;

/// A container to be made. It is written to the container's directory once the
/// image's defaults are in it: a start needs nothing else of the image's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The image as the user wrote it.
    pub image: String,
    /// The name; one is made up when absent.
    pub name: Option<String>,
    /// The program and its fixed arguments; `None` for the image's.
    pub entrypoint: Option<Vec<String>>,
    /// The arguments; `None` for the image's.
    pub command: Option<Vec<String>>,
    /// Variables as `NAME=value`, later ones win.
    pub env: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Host name; the short ID when absent.
    pub hostname: Option<String>,
    /// User and group; empty for the image's.
    pub user: String,
    /// Groups beside those of the user.
    pub group_add: Vec<String>,
    /// Working directory; empty for the image's.
    pub working_dir: String,
    /// Whether the program gets a terminal.
    pub tty: bool,
    /// Whether standard input stays open without a client.
    pub open_stdin: bool,
    /// Whether standard input ends with its first client.
    pub stdin_once: bool,
    /// Which streams the first client asked for: input, output, errors.
    pub attach: [bool; 3],
    /// Which network.
    pub network: NetworkMode,
    /// Published ports, each in the form of `-p`.
    pub publish: Vec<String>,
    /// Whether every exposed port is published on a free one.
    pub publish_all: bool,
    /// Ports that are only told, as `80/tcp`.
    pub expose: Vec<String>,
    /// Mounts, in order.
    pub mounts: Vec<MountRequest>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Whether the container may do nearly everything.
    pub privileged: bool,
    /// Capabilities added.
    pub cap_add: Vec<String>,
    /// Capabilities taken.
    pub cap_drop: Vec<String>,
    /// Security options as written.
    pub security_opt: Vec<String>,
    /// Names in `/etc/hosts`.
    pub extra_hosts: Vec<(String, IpAddr)>,
    /// Name servers; the host's when empty.
    pub dns: Vec<String>,
    /// Search domains; the host's when empty.
    pub dns_search: Vec<String>,
    /// Resolver options; the host's when empty.
    pub dns_options: Vec<String>,
    /// Resource limits of the process, with the name that the user wrote.
    pub ulimits: Vec<Ulimit>,
    /// Kernel settings of the namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
    /// Memory limit in bytes.
    pub memory_bytes: Option<u64>,
    /// CPU limit in 10^-9 CPU.
    pub nano_cpus: Option<u64>,
    /// Limit of processes and threads.
    pub pids_limit: Option<u64>,
    /// The signal that asks the program to end; the image's, else SIGTERM.
    pub stop_signal: Option<String>,
    /// Seconds between that and SIGKILL; 10 when absent, negative for ever.
    pub stop_timeout: Option<i64>,
    /// Whether the container is removed at its end.
    pub auto_remove: bool,
    /// Paths that get an anonymous volume; filled from the image.
    pub volumes: Vec<String>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            image: String::new(),
            name: None,
            entrypoint: None,
            command: None,
            env: Vec::new(),
            labels: BTreeMap::new(),
            hostname: None,
            user: String::new(),
            group_add: Vec::new(),
            working_dir: String::new(),
            tty: false,
            open_stdin: false,
            stdin_once: false,
            attach: [false; 3],
            network: NetworkMode::Bridge,
            publish: Vec::new(),
            publish_all: false,
            expose: Vec::new(),
            mounts: Vec::new(),
            read_only: false,
            privileged: false,
            cap_add: Vec::new(),
            cap_drop: Vec::new(),
            security_opt: Vec::new(),
            extra_hosts: Vec::new(),
            dns: Vec::new(),
            dns_search: Vec::new(),
            dns_options: Vec::new(),
            ulimits: Vec::new(),
            sysctls: BTreeMap::new(),
            shm_bytes: SHM_BYTES,
            memory_bytes: None,
            nano_cpus: None,
            pids_limit: None,
            stop_signal: None,
            stop_timeout: None,
            auto_remove: false,
            volumes: Vec::new(),
        }
    }
}

/// Which network a container is on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The default bridge.
    Bridge,
    /// The host's.
    Host,
    /// Loopback only.
    None,
    /// Another container's, by name or ID.
    Container(String),
}

impl NetworkMode {
    /// Parses the value of `--network`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "bridge" | "default" | "" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "none" => Ok(Self::None),
            other => match other.strip_prefix("container:") {
                Some(container) if !container.is_empty() => {
                    Ok(Self::Container(container.to_owned()))
                }
                _ => Err(Error::Invalid(format!("network {other} not found"))),
            },
        }
    }

    /// The form that [`NetworkMode::parse`] takes.
    pub fn text(&self) -> String {
        match self {
            Self::Bridge => "bridge".to_owned(),
            Self::Host => "host".to_owned(),
            Self::None => "none".to_owned(),
            Self::Container(container) => format!("container:{container}"),
        }
    }
}

/// One mount asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountRequest {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Absolute path in the container.
        target: String,
        /// Whether it is read-only.
        read_only: bool,
        /// Propagation, such as `rshared`; `rprivate` when absent.
        propagation: Option<String>,
        /// Whether a missing source becomes a directory (`-v`) or an error (`--mount`).
        create: bool,
    },
    /// A volume of the host's store; anonymous, and removed with the container, without a name.
    Volume {
        /// Its name.
        name: Option<String>,
        /// Absolute path in the container.
        target: String,
        /// Whether it is read-only.
        read_only: bool,
        /// Whether an empty volume is filled with what the image has at `target`.
        copy: bool,
    },
    /// Memory.
    Tmpfs {
        /// Absolute path in the container.
        target: String,
        /// Mount options such as `size=64m,mode=1777`.
        options: String,
    },
}

impl MountRequest {
    /// Where it goes in the container.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. }
            | Self::Volume { target, .. }
            | Self::Tmpfs { target, .. } => target,
        }
    }
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Its name in Docker's spelling, such as `nofile`.
    pub name: String,
    /// The limit.
    pub limit: Rlimit,
}

impl Request {
    /// Fills in what the image says and the request does not.
    ///
    /// An entrypoint of the request's own makes the image's arguments void, as
    /// they were meant for the image's program.
    pub(super) fn with_image(mut self, image: &ContainerConfig) -> Self {
        if let Some(entrypoint) = &mut self.entrypoint {
            // `--entrypoint ""` resets the image's.
            entrypoint.retain(|word| !word.is_empty());
        } else {
            self.entrypoint.clone_from(&image.entrypoint);
            if self.command.is_none() {
                self.command.clone_from(&image.cmd);
            }
        }
        let mut env = image.env.clone();
        for variable in std::mem::take(&mut self.env) {
            set_variable(&mut env, variable);
        }
        self.env = env;
        for (name, value) in &image.labels {
            let own = self.labels.entry(name.clone());
            own.or_insert_with(|| value.clone());
        }
        if self.user.is_empty() {
            self.user.clone_from(&image.user);
        }
        if self.working_dir.is_empty() {
            self.working_dir.clone_from(&image.working_dir);
        }
        for port in image.exposed_ports.keys() {
            if !self.expose.contains(port) {
                self.expose.push(port.clone());
            }
        }
        self.volumes = image.volumes.keys().cloned().collect();
        if self.stop_signal.is_none() {
            self.stop_signal.clone_from(&image.stop_signal);
        }
        self
    }

    /// The whole argument vector; empty when there is nothing to run.
    pub fn argv(&self) -> Vec<String> {
        let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
        [words(&self.entrypoint), words(&self.command)].concat()
    }

    /// The signal that asks the program to end.
    pub fn stop_signal_number(&self) -> i32 {
        self.stop_signal
            .as_deref()
            .and_then(|text| signal::parse(text).ok())
            .unwrap_or(signal::SIGTERM)
    }

    /// Refuses what could never start.
    pub(super) fn check(&self, cpus: usize) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::Invalid(message));
        if self.argv().is_empty() {
            return Err(Error::NoCommand);
        }
        if !self.working_dir.is_empty() && !self.working_dir.starts_with('/') {
            return invalid(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                self.working_dir
            ));
        }
        if let Some(text) = &self.stop_signal {
            signal::parse(text)?;
        }
        if let NetworkMode::Container(_) = self.network {
            if !self.publish.is_empty() || self.publish_all {
                let message =
                    "conflicting options: port publishing and the container type network mode";
                return invalid(message.to_owned());
            }
            if self.hostname.is_some() {
                return invalid("conflicting options: hostname and the network mode".to_owned());
            }
        }
        capabilities::kept(&self.cap_add, &self.cap_drop, self.privileged)?;
        if self.memory_bytes.is_some_and(|bytes| bytes < LEAST_MEMORY) {
            return invalid("Minimum memory limit allowed is 6MB".to_owned());
        }
        let most = u64::try_from(cpus)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000_000_000);
        if self
            .nano_cpus
            .is_some_and(|nano| nano > most || nano < 10_000_000)
        {
            return invalid(format!(
                "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
            ));
        }
        for option in &self.security_opt {
            check_security_option(option)?;
        }
        self.check_sysctls()?;
        self.check_mounts()
    }

    /// Whether a security option is set.
    pub(super) fn has_security_option(&self, name: &str) -> bool {
        let matching = |option: &&String| {
            option.as_str() == name
                || option
                    .strip_prefix(name)
                    .is_some_and(|rest| matches!(rest, ":true" | "=true"))
        };
        self.security_opt.iter().any(|option| matching(&option))
    }

    /// Only settings that belong to a namespace may be set: the others are the host's.
    fn check_sysctls(&self) -> Result<(), Error> {
        const IPC: [&str; 8] = [
            "kernel.msgmax",
            "kernel.msgmnb",
            "kernel.msgmni",
            "kernel.sem",
            "kernel.shmall",
            "kernel.shmmax",
            "kernel.shmmni",
            "kernel.shm_rmid_forced",
        ];
        for name in self.sysctls.keys() {
            let network = name.starts_with("net.");
            if network && matches!(self.network, NetworkMode::Host | NetworkMode::Container(_)) {
                return Err(Error::Invalid(format!(
                    "sysctl '{name}' is not allowed without a network of the container's own"
                )));
            }
            let namespaced =
                network || IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.");
            if !namespaced || name.contains('/') {
                return Err(Error::Invalid(format!("sysctl '{name}' is not allowed")));
            }
        }
        Ok(())
    }

    fn check_mounts(&self) -> Result<(), Error> {
        let mut seen = Vec::new();
        for mount in &self.mounts {
            let target = mount.target();
            let clean = target.trim_end_matches('/');
            if !target.starts_with('/') {
                return Err(Error::Invalid(format!(
                    "invalid mount path: '{target}' mount path must be absolute"
                )));
            }
            if clean.is_empty() {
                return Err(Error::Invalid(
                    "invalid specification: destination can't be '/'".to_owned(),
                ));
            }
            if seen.contains(&clean) {
                return Err(Error::Invalid(format!("Duplicate mount point: {clean}")));
            }
            seen.push(clean);
            if let MountRequest::Bind {
                source,
                create: false,
                ..
            } = mount
                && !source.exists()
            {
                return Err(Error::Invalid(format!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {}",
                    source.display()
                )));
            }
        }
        Ok(())
    }

    /// What the user should know of a request that is fine otherwise.
    pub(super) fn warnings(&self) -> Vec<String> {
        let discarded = self.network == NetworkMode::Host && !self.publish.is_empty();
        let text = "Published ports are discarded when using host network mode";
        discarded.then(|| text.to_owned()).into_iter().collect()
    }

    /// The limits of the container's cgroup.
    pub(super) fn limits(&self) -> ResourceLimits {
        ResourceLimits {
            memory_bytes: self.memory_bytes,
            nano_cpus: self.nano_cpus,
            pids: self.pids_limit,
        }
    }
}

fn check_security_option(option: &str) -> Result<(), Error> {
    let known = matches!(
        option,
        "no-new-privileges"
            | "no-new-privileges:true"
            | "no-new-privileges=true"
            | "no-new-privileges:false"
            | "no-new-privileges=false"
            | "seccomp=unconfined"
            | "seccomp:unconfined"
            | "seccomp=builtin"
            | "systempaths=unconfined"
    ) || option.starts_with("apparmor")
        || option.starts_with("label");
    if known {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "invalid --security-opt: \"{option}\""
    )))
}

/// Puts a variable into a list, over one of the same name. A bare name takes the variable away.
pub(super) fn set_variable(env: &mut Vec<String>, variable: String) {
    let name = variable.split('=').next().unwrap_or_default();
    let same = |known: &String| known.split('=').next() == Some(name);
    let at = env.iter().position(same);
    match (at, variable.contains('=')) {
        (Some(at), true) => env[at] = variable,
        (Some(at), false) => drop(env.remove(at)),
        (None, true) => env.push(variable),
        (None, false) => {}
    }
}
