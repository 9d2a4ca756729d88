//! What RUN steps get: secrets, agents, rights, limits of time and resources.

mod given;
mod resources;
mod rules;

use rbuild::build::{BuildRequest, Entitlement, RunNetwork};
use rbuild::engine::Config;

use crate::cli::report::Failure;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Steps {
    /// Give steps a secret from a file or a variable
    #[arg(long, value_name = "id=ID[,src=FILE|,env=NAME]")]
    secret: Vec<String>,
    /// Let steps use an SSH agent
    #[arg(long, value_name = "default|ID[=SOCKET]")]
    ssh: Vec<String>,
    /// Allow what a Dockerfile cannot have by itself: network.host, security.insecure,
    /// secrets.in-layers
    #[arg(long, value_name = "ENTITLEMENT")]
    pub(super) allow: Vec<String>,
    /// Kill a step after this time, such as 10m; with a pattern, steps by stage or text
    #[arg(long, value_name = "[PATTERN=]TIME")]
    timeout: Vec<String>,
    /// Try a failed step again, so many times; DELAY doubles each time [default: 1s]
    #[arg(long, value_name = "[PATTERN=]TIMES[,DELAY]")]
    retry: Vec<String>,
    #[command(flatten)]
    resources: resources::Resources,
    /// Security options; steps have the default ones
    #[arg(long, hide = true, value_name = "OPTION")]
    security_opt: Vec<String>,
}

impl Steps {
    /// Puts what was asked for into the request.
    pub(super) fn apply(&self, build: &mut BuildRequest, config: &Config) -> Result<(), Failure> {
        let wrong = |why: String| Failure::new(1, why);
        let steps = &mut build.steps;
        for text in &self.secret {
            if let Some((id, secret)) = given::secret(text, config)? {
                steps.secrets.insert(id, secret);
            }
        }
        for text in &self.ssh {
            let (id, agent) = given::agent(text, config)?;
            if steps.agents.insert(id.clone(), agent).is_some() {
                return Err(wrong(format!("invalid duplicate ID {id}")));
            }
        }
        for text in self.allow.iter().flat_map(|text| text.split(',')) {
            steps.allow.extend(entitlement(text).map_err(wrong)?);
        }
        // As buildx does: who gives the network to all steps gives it to each.
        if build.network == RunNetwork::Host {
            steps.allow.insert(Entitlement::NetworkHost);
        }
        for text in &self.timeout {
            steps.rules.push(rules::timeout(text).map_err(wrong)?);
        }
        for text in &self.retry {
            steps.rules.push(rules::retry(text).map_err(wrong)?);
        }
        for option in &self.security_opt {
            accept_security_option(option).map_err(wrong)?;
        }
        self.resources.apply(build)
    }
}

/// The entitlement of a name; nothing for those that mean nothing here.
fn entitlement(name: &str) -> Result<Option<Entitlement>, String> {
    if let Some(known) = Entitlement::of_name(name) {
        return Ok(Some(known));
    }
    // Devices are refused where a step asks for one; the others allow buildx to read
    // and write files of the caller, which the caller's own process may anyway.
    let kind = name.split('=').next().unwrap_or(name);
    match kind {
        "device" | "fs" | "fs.read" | "fs.write" | "ssh" | "buildx.local.delete" => Ok(None),
        _ => Err(format!("unknown entitlement {name}")),
    }
}

/// The classic builder took these; a step always has the default profile.
fn accept_security_option(option: &str) -> Result<(), String> {
    let name = option.split(['=', ':']).next().unwrap_or(option);
    match name {
        "seccomp" | "apparmor" | "label" | "no-new-privileges" | "credentialspec" => Ok(()),
        _ => Err(format!("invalid --security-opt: {option:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements_are_known_by_name() {
        let known = entitlement("network.host");
        assert_eq!(known, Ok(Some(Entitlement::NetworkHost)));
        assert_eq!(entitlement("fs.read=/x"), Ok(None));
        assert!(entitlement("network").is_err());
    }
}
