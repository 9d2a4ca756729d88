//! What the user asked for; after [`Request::with_image`], with the image's
//! defaults filled in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::health::{self, HealthRequest};
use super::machine::BUILT_IN;
pub use super::mounts::MountRequest;
use super::restart::RestartPolicy;
use super::{DeviceWish, EndpointRequest, Error, signal};
use crate::oci::{ContainerConfig, Healthcheck};
use crate::sandbox::{ResourceLimits, Rlimit};

/// Size of `/dev/shm` in a container, as Docker's.
const SHM_BYTES: u64 = 64 << 20;

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
    /// The networks that it is on at first, in order; `network` says the first one.
    pub endpoints: Vec<EndpointRequest>,
    /// Published ports, each in the form of `-p`.
    pub publish: Vec<String>,
    /// Whether every exposed port is published on a free one.
    pub publish_all: bool,
    /// Ports that are only told, as `80/tcp`.
    pub expose: Vec<String>,
    /// Mounts, in order.
    pub mounts: Vec<MountRequest>,
    /// The words of each `-v`, with the whole path of a source here.
    pub binds: Vec<String>,
    /// The words of each `--tmpfs`: target and options.
    pub tmpfs: BTreeMap<String, String>,
    /// The targets of each `--mount`.
    pub long_mounts: Vec<String>,
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
    /// Limits of the container's cgroup.
    pub resources: ResourceLimits,
    /// The cgroup above the container's own; `rbuild` when absent.
    pub cgroup_parent: Option<String>,
    /// How readily the kernel kills it for want of memory, -1,000 to 1,000.
    pub oom_score_adj: Option<i32>,
    /// Devices of the host that it may use.
    pub devices: Vec<DeviceRequest>,
    /// Devices by kind and number, or by the names that their vendors gave them.
    pub device_wishes: Vec<DeviceWish>,
    /// Further rules for devices, such as `c 42:* rmw`.
    pub device_rules: Vec<String>,
    /// The runtime that makes its sandbox; empty or `rbuild` for this program.
    pub runtime: String,
    /// NIS domain name.
    pub domain_name: Option<String>,
    /// Whether a small init is the first process and starts the program.
    pub init: bool,
    /// What happens after its end.
    pub restart: RestartPolicy,
    /// How its health is probed; after [`Request::with_image`] with what the image says.
    pub health: HealthRequest,
    /// Where its output goes.
    pub log: LogRequest,
    /// Whose processes it sees: empty, `host` or `container:X`.
    pub pid_mode: String,
    /// Whose IPC objects it sees: empty, `none`, `private`, `shareable`, `host` or `container:X`.
    pub ipc_mode: String,
    /// Whose host name it has: empty or `host`.
    pub uts_mode: String,
    /// Whose users it has: empty or `host`.
    pub userns_mode: String,
    /// Which cgroups it sees: empty, `private` or `host`.
    pub cgroupns_mode: String,
    /// Further key-value pairs.
    pub annotations: BTreeMap<String, String>,
    /// Containers whose mounts it has too, as `NAME[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// Containers of the default bridge that it knows, as `NAME[:ALIAS]`.
    pub links: Vec<String>,
    /// The file that its ID was written to.
    pub cid_file: String,
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
            endpoints: Vec::new(),
            publish: Vec::new(),
            publish_all: false,
            expose: Vec::new(),
            mounts: Vec::new(),
            binds: Vec::new(),
            tmpfs: BTreeMap::new(),
            long_mounts: Vec::new(),
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
            resources: ResourceLimits::default(),
            cgroup_parent: None,
            oom_score_adj: None,
            devices: Vec::new(),
            device_wishes: Vec::new(),
            device_rules: Vec::new(),
            runtime: String::new(),
            domain_name: None,
            init: false,
            restart: RestartPolicy::default(),
            health: HealthRequest::default(),
            log: LogRequest::default(),
            pid_mode: String::new(),
            ipc_mode: String::new(),
            uts_mode: String::new(),
            userns_mode: String::new(),
            cgroupns_mode: String::new(),
            annotations: BTreeMap::new(),
            volumes_from: Vec::new(),
            links: Vec::new(),
            cid_file: String::new(),
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
    /// One that a user made.
    Named(String),
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
                Some(_) => Err(Error::Invalid(
                    "invalid container format container:<name|id>".to_owned(),
                )),
                None => Ok(Self::Named(other.to_owned())),
            },
        }
    }

    /// Whether the container is on networks of its own choice.
    pub(super) fn is_joined(&self) -> bool {
        matches!(self, Self::Bridge | Self::Named(_))
    }

    /// The form that [`NetworkMode::parse`] takes.
    pub fn text(&self) -> String {
        match self {
            Self::Bridge => "bridge".to_owned(),
            Self::Host => "host".to_owned(),
            Self::None => "none".to_owned(),
            Self::Container(container) => format!("container:{container}"),
            Self::Named(name) => name.clone(),
        }
    }
}

/// A device of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// Its path on the host.
    pub host: PathBuf,
    /// Its path in the container.
    pub container: String,
    /// What may be done with it: some of `r`, `w` and `m`.
    pub permissions: String,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    /// `json-file`, `local`, `none`, `journald` or `syslog`.
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

impl Default for LogRequest {
    fn default() -> Self {
        Self {
            driver: "json-file".to_owned(),
            options: BTreeMap::new(),
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
        // Docker's order: what was asked for, then what only the image has.
        let mut env = Vec::new();
        for variable in std::mem::take(&mut self.env) {
            set_variable(&mut env, variable);
        }
        for variable in &image.env {
            let name = variable.split('=').next();
            if !env.iter().any(|own: &String| own.split('=').next() == name) {
                env.push(variable.clone());
            }
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
        self.health.merge(image.healthcheck.as_ref());
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

    /// What the user should know of a request that is fine otherwise.
    pub(super) fn warnings(&self) -> Vec<String> {
        let discarded = self.network == NetworkMode::Host && !self.publish.is_empty();
        let text = "Published ports are discarded when using host network mode";
        discarded.then(|| text.to_owned()).into_iter().collect()
    }

    /// The health probe, if there is one.
    pub(super) fn probe(&self) -> Option<&Healthcheck> {
        self.health
            .check
            .as_ref()
            .filter(|check| health::probes(check))
    }

    /// The processes that it sees are not its own alone.
    pub(super) fn shares_processes(&self) -> bool {
        !matches!(self.pid_mode.as_str(), "" | "private")
    }

    /// Whether an outside runtime makes its sandbox.
    pub(super) fn runs_outside(&self) -> bool {
        !matches!(self.runtime.as_str(), "" | BUILT_IN)
    }

    /// The container in `container:X`.
    pub(super) fn container_in(mode: &str) -> Option<&str> {
        mode.strip_prefix("container:")
            .filter(|name| !name.is_empty())
    }

    /// The limits of the container's cgroup.
    pub(super) fn limits(&self) -> ResourceLimits {
        ResourceLimits {
            devices: self.device_limits(),
            ..self.resources.clone()
        }
    }
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
