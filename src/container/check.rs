//! Requests that could never start, in Docker's words.

use super::request::{MountRequest, NetworkMode, Request};
use super::{Error, capabilities, signal};
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
            if self.hostname.is_some() {
                return invalid("conflicting options: hostname and the network mode".to_owned());
            }
        }
        if !self.network.is_joined() && self.endpoints.len() > 1 {
            let mode = self.network.text();
            return invalid(format!(
                "conflicting options: cannot attach a container of the network mode `{mode}` to further networks"
            ));
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

    /// Only settings that belong to a namespace may be set: the others are the host's.
    fn check_sysctls(&self) -> Result<(), Error> {
        for name in self.sysctls.keys() {
            let network = name.starts_with("net.");
            if network && matches!(self.network, NetworkMode::Host | NetworkMode::Container(_)) {
                return Err(Error::Invalid(format!(
                    "sysctl '{name}' is not allowed without a network of the container's own"
                )));
            }
            let namespaced =
                network || IPC_SYSCTLS.contains(&name.as_str()) || name.starts_with("fs.mqueue.");
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
        check(|request| request.memory_bytes = Some(1 << 20), "6MB");
        check(
            |request| request.nano_cpus = Some(3_000_000_000),
            "Range of CPUs is from 0.01 to 2.00",
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
            "network of the container's own",
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
