//! Requests that could never start, in Docker's words.

use super::request::{MountRequest, NetworkMode, Request};
use super::restart::RestartPolicy;
use super::{Error, capabilities, devices, shim, signal};
use crate::sandbox::IPC_SYSCTLS;

/// The least memory that Docker lets a container have.
const LEAST_MEMORY: u64 = 6 << 20;

impl Request {
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
            let links = "container type network can't be used with links. This would result in \
                         undefined behavior";
            for (said, what) in [
                (self.hostname.is_some(), "hostname and the network mode"),
                (!self.links.is_empty(), links),
                (!self.dns.is_empty(), "dns and the network mode"),
                (
                    !self.extra_hosts.is_empty(),
                    "custom host-to-IP mapping and the network mode",
                ),
                (
                    self.endpoints.iter().any(|endpoint| endpoint.mac.is_some()),
                    "mac-address and the network mode",
                ),
            ] {
                if said {
                    return invalid(format!("conflicting options: {what}"));
                }
            }
        }
        if !self.network.is_joined() && self.endpoints.len() > 1 {
            let mode = self.network.text();
            return invalid(format!(
                "conflicting options: cannot attach a container of the network mode `{mode}` to further networks"
            ));
        }
        capabilities::kept(&self.cap_add, &self.cap_drop, self.privileged)?;
        self.check_resources(cpus)?;
        self.check_modes()?;
        self.check_life()?;
        self.check_links()?;
        for option in &self.security_opt {
            check_security_option(option)?;
        }
        self.check_sysctls()?;
        self.check_mounts()
    }

    /// Refuses limits that contradict each other or this machine.
    pub(super) fn check_resources(&self, cpus: usize) -> Result<(), Error> {
        let invalid = |message: &str| Err(Error::Invalid(message.to_owned()));
        let limits = &self.resources;
        if limits
            .memory_bytes
            .is_some_and(|bytes| bytes < LEAST_MEMORY)
        {
            return invalid("Minimum memory limit allowed is 6MB");
        }
        let memory = limits.memory_bytes.unwrap_or(u64::MAX);
        match (limits.memory_bytes, limits.memory_swap_bytes) {
            (None, Some(swap)) if swap != u64::MAX => {
                return invalid(
                    "You should always set the Memory limit when using Memoryswap limit, see usage",
                );
            }
            (Some(memory), Some(swap)) if swap < memory => {
                return invalid(
                    "Minimum memoryswap limit should be larger than memory limit, see usage",
                );
            }
            _ => {}
        }
        if limits
            .memory_reservation_bytes
            .is_some_and(|bytes| bytes < LEAST_MEMORY)
        {
            return invalid("Minimum memory reservation allowed is 6MB");
        }
        if limits
            .memory_reservation_bytes
            .is_some_and(|bytes| bytes > memory)
        {
            return invalid(
                "Minimum memory limit can not be less than memory reservation limit, see usage",
            );
        }
        if limits
            .memory_swappiness
            .is_some_and(|swappiness| swappiness > 100)
        {
            return Err(Error::Invalid(format!(
                "Invalid value: {}, valid memory swappiness range is 0-100",
                limits.memory_swappiness.unwrap_or_default()
            )));
        }
        if self
            .oom_score_adj
            .is_some_and(|score| !(-1000..=1000).contains(&score))
        {
            return Err(Error::Invalid(format!(
                "Invalid value {}, range for oom score adj is [-1000, 1000]",
                self.oom_score_adj.unwrap_or_default()
            )));
        }
        if limits
            .blkio_weight
            .is_some_and(|weight| !(10..=1000).contains(&weight))
        {
            return invalid("Range of blkio weight is from 10 to 1000");
        }
        let shares = limits.cpu_shares.unwrap_or(1024);
        for (wrong, which, bound) in [
            (shares < 2, "minimum", 2),
            (shares > 262_144, "maximum", 262_144),
        ] {
            if wrong {
                let message = format!("the {which} allowed cpu-shares is {bound}");
                return Err(Error::Invalid(message));
            }
        }
        self.check_processors(cpus)
    }

    fn check_processors(&self, cpus: usize) -> Result<(), Error> {
        let limits = &self.resources;
        let invalid = |message: String| Err(Error::Invalid(message));
        let most = u64::try_from(cpus)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000_000_000);
        if let Some(nano) = limits.nano_cpus {
            if nano > most || nano < 10_000_000 {
                return invalid(format!(
                    "Range of CPUs is from 0.01 to {cpus}.00, as there are only {cpus} CPUs available"
                ));
            }
            for (name, set) in [
                ("Period", limits.cpu_period.is_some()),
                ("Quota", limits.cpu_quota.is_some()),
            ] {
                if set {
                    return invalid(format!(
                        "Conflicting options: Nano CPUs and CPU {name} cannot both be set"
                    ));
                }
            }
        }
        if limits
            .cpu_period
            .is_some_and(|period| !(1_000..=1_000_000).contains(&period))
        {
            return invalid("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)".to_owned());
        }
        if limits
            .cpu_quota
            .is_some_and(|quota| quota > 0 && quota < 1_000)
        {
            return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)".to_owned());
        }
        if let Some(set) = &limits.cpuset_cpus {
            check_set("cpuset cpus", "Requested CPUs are not available", set, cpus)?;
        }
        if let Some(set) = &limits.cpuset_mems {
            check_set(
                "cpuset mems",
                "Requested memory nodes are not available",
                set,
                listed("/sys/devices/system/node/online").unwrap_or(usize::MAX),
            )?;
        }
        Ok(())
    }

    /// The modes of namespaces, and what does not go with them.
    fn check_modes(&self) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::Invalid(message));
        let container = |mode: &str| Self::container_in(mode).is_some();
        if !matches!(self.pid_mode.as_str(), "" | "private" | "host") && !container(&self.pid_mode)
        {
            return invalid("--pid: invalid PID mode".to_owned());
        }
        let known = ["", "none", "private", "shareable", "host"];
        if !known.contains(&self.ipc_mode.as_str()) && !container(&self.ipc_mode) {
            return invalid(format!("invalid IPC mode: {}", self.ipc_mode));
        }
        if !matches!(self.uts_mode.as_str(), "" | "host") {
            return invalid("--uts: invalid UTS mode".to_owned());
        }
        if !matches!(self.userns_mode.as_str(), "" | "host") {
            return invalid("--userns: invalid USER mode".to_owned());
        }
        if !matches!(self.cgroupns_mode.as_str(), "" | "private" | "host") {
            return invalid("--cgroupns: invalid CGROUP mode".to_owned());
        }
        if self.uts_mode == "host" && (self.hostname.is_some() || self.domain_name.is_some()) {
            return invalid("conflicting options: hostname and the UTS mode".to_owned());
        }
        if self.network == NetworkMode::Host
            && self.domain_name.is_some()
            && self.uts_mode == "host"
        {
            return invalid("conflicting options: domainname and the network mode".to_owned());
        }
        if self.pid_mode == "host" && self.init {
            return invalid("conflicting options: --init and --pid host".to_owned());
        }
        Ok(())
    }

    /// Restarts, probes, output and devices.
    fn check_life(&self) -> Result<(), Error> {
        let invalid = |message: &str| Err(Error::Invalid(message.to_owned()));
        if self.auto_remove && self.restart != RestartPolicy::No {
            return invalid("conflicting options: cannot specify both --restart and --rm");
        }
        if let Some(check) = &self.health.check {
            const LEAST: i64 = 1_000_000;
            for (name, value) in [
                ("Interval", check.interval),
                ("Timeout", check.timeout),
                ("StartPeriod", check.start_period),
                ("StartInterval", check.start_interval),
            ] {
                if value != 0 && value < LEAST {
                    return invalid(&format!("{name} in Healthcheck cannot be less than 1ms"));
                }
            }
            if check.retries < 0 {
                return invalid("Retries in Healthcheck cannot be negative");
            }
        }
        shim::check_log(self)?;
        self.device_rules
            .iter()
            .try_for_each(|rule| devices::check_rule(rule))
    }

    /// Only settings that belong to a namespace of the container's own may be set: the
    /// others are the host's.
    fn check_sysctls(&self) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::Invalid(message));
        for (name, value) in &self.sysctls {
            let network = name.starts_with("net.");
            let ipc = IPC_SYSCTLS.contains(&name.as_str()) || name.starts_with("fs.mqueue.");
            if !network && !ipc || name.contains('/') {
                return invalid(format!("sysctl '{name}={value}' is not allowed"));
            }
            if network && self.network == NetworkMode::Host {
                let why = "not allowed in host network namespace";
                return invalid(format!("sysctl \"{name}\" {why}"));
            }
            if network && matches!(self.network, NetworkMode::Container(_)) {
                let why = "not allowed without a network of the container's own";
                return invalid(format!("sysctl \"{name}\" {why}"));
            }
            if ipc && self.ipc_mode == "host" {
                let why = "is not allowed in the hosts ipc namespace";
                return invalid(format!("sysctl \"{name}\" {why}"));
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
}

/// `0-2,4`.
fn check_set(name: &str, beyond: &str, set: &str, available: usize) -> Result<(), Error> {
    let wrong = || Error::Invalid(format!("Invalid value {set} for {name}"));
    for part in set.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.parse().map_err(|_| wrong())?;
        let last: usize = last.parse().map_err(|_| wrong())?;
        if first > last {
            return Err(wrong());
        }
        if last >= available {
            let there = match available {
                0 | 1 => "0".to_owned(),
                more => format!("0-{}", more - 1),
            };
            let message = format!("{beyond} - requested {set}, available: {there}");
            return Err(Error::Invalid(message));
        }
    }
    Ok(())
}

/// How many processors this machine has, whichever of them this process may use.
pub(super) fn processors() -> usize {
    listed("/sys/devices/system/cpu/online")
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// One more than the last number of a list such as `0-3,5`.
fn listed(path: &str) -> Option<usize> {
    let text = std::fs::read_to_string(path).ok()?;
    let last = text.trim().rsplit([',', '-']).next()?;
    Some(last.parse::<usize>().ok()? + 1)
}

fn check_security_option(option: &str) -> Result<(), Error> {
    if !option.contains(['=', ':']) && option != "no-new-privileges" {
        let message = format!("Invalid --security-opt: \"{option}\"");
        return Err(Error::Invalid(message));
    }
    let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
    let known = match name {
        "no-new-privileges" => matches!(value, "" | "true" | "false"),
        "systempaths" => value == "unconfined",
        "apparmor" | "label" => !value.is_empty(),
        "writable-cgroups" => matches!(value, "" | "true" | "false"),
        "seccomp" => {
            if !matches!(value, "unconfined" | "builtin") {
                crate::sandbox::check_profile(value).map_err(|why| {
                    Error::Invalid(format!("Decoding seccomp profile failed: {why}"))
                })?;
            }
            true
        }
        _ => false,
    };
    if known {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "invalid --security-opt 2: \"{option}\""
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Request), want: &str) {
        let mut request = Request {
            command: Some(vec!["true".to_owned()]),
            ..Request::default()
        };
        change(&mut request);
        let got = request
            .check(2)
            .map_or_else(|err| err.to_string(), |()| String::new());
        assert!(
            got.contains(want) && got.is_empty() == want.is_empty(),
            "{got}"
        );
    }

    #[test]
    fn what_cannot_start_is_refused() {
        check(|_| {}, "");
        check(|request| request.command = None, "no command specified");
        check(
            |request| request.working_dir = "rel".to_owned(),
            "absolute path",
        );
        check(
            |request| request.resources.memory_bytes = Some(1 << 20),
            "6MB",
        );
        check(
            |request| request.resources.nano_cpus = Some(3_000_000_000),
            "Range of CPUs is from 0.01 to 2.00",
        );
        check(
            |request| request.resources.cpuset_cpus = Some("0-9".to_owned()),
            "available: 0-1",
        );
        check(|request| request.pid_mode = "x".to_owned(), "--pid");
        check(
            |request| request.log.driver = "x".to_owned(),
            "no log driver",
        );
        check(
            |request| {
                request.auto_remove = true;
                request.restart = RestartPolicy::Always;
            },
            "both --restart and --rm",
        );
        check(
            |request| request.security_opt = vec!["seccomp={}".to_owned()],
            "seccomp profile",
        );
        check(
            |request| request.stop_signal = Some("SIGNOPE".to_owned()),
            "SIGNOPE",
        );
        check(
            |request| request.cap_add = vec!["NOSUCH".to_owned()],
            "NOSUCH",
        );
        check(
            |request| request.security_opt = vec!["nosuch".to_owned()],
            "nosuch",
        );
    }

    #[test]
    fn only_namespaced_settings_may_be_set() {
        let set = |name: &str, network: NetworkMode| {
            let name = name.to_owned();
            move |request: &mut Request| {
                request.network = network;
                request.sysctls.insert(name, "1".to_owned());
            }
        };
        check(set("net.ipv4.ip_forward", NetworkMode::None), "");
        check(set("kernel.shmmax", NetworkMode::Host), "");
        check(set("kernel.pid_max", NetworkMode::None), "kernel.pid_max");
        check(
            set("net.ipv4.ip_forward", NetworkMode::Host),
            "in host network namespace",
        );
        check(
            |request| {
                request.ipc_mode = "host".to_owned();
                request
                    .sysctls
                    .insert("kernel.shmmax".to_owned(), "1".to_owned());
            },
            "hosts ipc namespace",
        );
        check(
            set("net.ipv4/../../kernel.x", NetworkMode::None),
            "not allowed",
        );
    }

    #[test]
    fn a_shared_network_has_no_ports_or_name_of_its_own() {
        let shared = || NetworkMode::Container("x".to_owned());
        check(
            |request| {
                request.network = shared();
                request.publish = vec!["80".to_owned()];
            },
            "port publishing",
        );
        check(
            |request| {
                request.network = shared();
                request.hostname = Some("h".to_owned());
            },
            "hostname",
        );
    }
}
