//! Flags of `run` and `create` about a container's life: what watches it, what
//! restarts it, where its output goes, and whose namespaces it shares.

use std::collections::BTreeMap;

use rbuild::engine::{HealthRequest, LogRequest};
use rbuild::oci::Healthcheck;

use crate::cli::commands::filters;
use crate::cli::values;

/// What happens to it.
#[derive(Debug, clap::Args)]
pub(super) struct Life {
    /// When to start it again: no, on-failure[:N], always, unless-stopped
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "no",
        hide_default_value = true
    )]
    pub(super) restart: String,
    /// Run a small init as its first process
    #[arg(long)]
    pub(super) init: bool,
    /// Command line that tells whether it is healthy
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two probes, such as 30s
    #[arg(long, value_name = "TIME")]
    health_interval: Option<String>,
    /// Time that a probe may take
    #[arg(long, value_name = "TIME")]
    health_timeout: Option<String>,
    /// Time in which failures do not count
    #[arg(long, value_name = "TIME")]
    health_start_period: Option<String>,
    /// Time between two probes in that time
    #[arg(long, value_name = "TIME")]
    health_start_interval: Option<String>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    health_retries: Option<i64>,
    /// Do not probe, whatever the image says
    #[arg(long)]
    no_healthcheck: bool,
    /// Where its output goes: json-file, local, none, journald, syslog
    #[arg(long, value_name = "DRIVER")]
    log_driver: Option<String>,
    /// An option of that: KEY=VALUE
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    log_opt: Vec<(String, String)>,
    /// A further key and value
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    pub(super) annotation: Vec<(String, String)>,
    /// Who makes its sandbox: rbuild, crun, runc, a path, or a name of the settings
    #[arg(long, value_name = "RUNTIME")]
    pub(super) runtime: Option<String>,
    /// Accepted for compatibility
    #[arg(long, value_name = "KIND", hide = true)]
    isolation: Option<String>,
    /// Accepted for compatibility: no kernel has this limit any more
    #[arg(long, value_name = "BYTES", hide = true)]
    kernel_memory: Option<String>,
    /// Accepted for compatibility: there is no Notary
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, value_name = "BOOL")]
    #[arg(default_missing_value = "true")]
    disable_content_trust: Option<String>,
}

/// Whose namespaces it shares.
#[derive(Debug, clap::Args)]
pub(super) struct Namespaces {
    /// Whose processes it sees: host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub(super) pid: Option<String>,
    /// Whose shared memory it sees: none, private, shareable, host or container:NAME
    #[arg(long, value_name = "MODE")]
    pub(super) ipc: Option<String>,
    /// Whose host name it has: host
    #[arg(long, value_name = "MODE")]
    pub(super) uts: Option<String>,
    /// Whose users it has: host
    #[arg(long, value_name = "MODE")]
    pub(super) userns: Option<String>,
    /// Which cgroups it sees: host or private
    #[arg(long, value_name = "MODE")]
    pub(super) cgroupns: Option<String>,
}

impl Life {
    /// How health is probed.
    pub(super) fn health(&self) -> Result<HealthRequest, String> {
        let times = [
            ("health-interval", &self.health_interval),
            ("health-timeout", &self.health_timeout),
            ("health-start-period", &self.health_start_period),
            ("health-start-interval", &self.health_start_interval),
        ];
        let mut numbers = [0; 4];
        for (number, (flag, text)) in numbers.iter_mut().zip(times) {
            *number = nanoseconds(flag, text.as_deref())?;
        }
        let [interval, timeout, start_period, start_interval] = numbers;
        let retries = self.health_retries.unwrap_or(0);
        if retries < 0 {
            return Err("--health-retries cannot be negative".to_owned());
        }
        let command = self.health_cmd.as_deref().filter(|text| !text.is_empty());
        let test = command.map(|text| vec!["CMD-SHELL".to_owned(), text.to_owned()]);
        let check = Healthcheck {
            test: test.unwrap_or_default(),
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
        };
        let is_said = check != Healthcheck::default();
        if self.no_healthcheck && is_said {
            return Err("--no-healthcheck conflicts with --health-* options".to_owned());
        }
        Ok(HealthRequest {
            off: self.no_healthcheck,
            check: is_said.then_some(check),
        })
    }

    /// Where output goes.
    pub(super) fn log(&self) -> LogRequest {
        let default = LogRequest::default();
        let options: BTreeMap<String, String> = self.log_opt.iter().cloned().collect();
        LogRequest {
            driver: self
                .log_driver
                .clone()
                .filter(|text| !text.is_empty())
                .unwrap_or(default.driver),
            options,
        }
    }

    /// Refuses what only Windows has.
    pub(super) fn check_isolation(&self) -> Result<(), String> {
        match self.isolation.as_deref() {
            None | Some("" | "default") => Ok(()),
            Some(kind) => Err(format!(
                "invalid isolation ({kind}): linux only supports 'default'"
            )),
        }
    }
}

fn nanoseconds(flag: &str, text: Option<&str>) -> Result<i64, String> {
    let Some(text) = text else {
        return Ok(0);
    };
    let wrong = || {
        format!(
            "invalid argument \"{text}\" for \"--{flag}\" flag: time: invalid duration \"{text}\""
        )
    };
    let span = filters::go_duration(text).ok_or_else(wrong)?;
    let nanoseconds = i64::try_from(span.as_nanos()).map_err(|_| wrong())?;
    if nanoseconds < 0 {
        return Err(format!("--{flag} cannot be negative"));
    }
    Ok(nanoseconds)
}
