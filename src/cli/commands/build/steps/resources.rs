//! Limits of what a step may use.

use rbuild::build::BuildRequest;
use rbuild::sandbox::ResourceLimits;

use crate::cli::report::Failure;
use crate::cli::{human, values};

/// The usual period of CPU time, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// Bounds of a period, in microseconds. Source: kernel/sched/core.c.
const CPU_PERIODS: std::ops::RangeInclusive<u64> = 1_000..=1_000_000;
/// Docker's floor: less does not start a program.
const MEMORY_FLOOR: u64 = 6 << 20;

/// The flags that `--memory` and its like do not have already.
#[derive(Debug, clap::Args)]
pub(crate) struct Resources {
    /// A limit by name: memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus,
    /// cpuset-mems
    #[arg(long, value_name = "KEY=VALUE")]
    resource: Vec<String>,
    /// Memory and swap together that a RUN step may use; -1 for any amount of swap
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Share of CPU time of a RUN step where others want it too; the usual is 1024
    #[arg(short, long, value_name = "SHARES")]
    cpu_shares: Option<String>,
    /// How many CPUs a RUN step may use, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// Processors that a RUN step may use, such as 0-2,4
    #[arg(long, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that a RUN step may use
    #[arg(long, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// The cgroup above those of RUN steps
    #[arg(long, value_name = "PATH")]
    cgroup_parent: Option<String>,
}

impl Resources {
    /// Puts them into the request, which has `--memory` and the like already.
    pub(super) fn apply(&self, build: &mut BuildRequest) -> Result<(), Failure> {
        self.limit(&mut build.resources)
            .map_err(|why| Failure::new(1, why))?;
        if let Some(path) = &self.cgroup_parent {
            build.steps.cgroup_parent = cgroup(path).map_err(|why| Failure::new(1, why))?;
        }
        Ok(())
    }

    fn limit(&self, limits: &mut ResourceLimits) -> Result<(), String> {
        if let Some(cpus) = &self.cpus {
            if limits.nano_cpus.is_some() {
                let message = "Conflicting options: Nano CPUs and CPU Period cannot both be set.";
                return Err(message.to_owned());
            }
            limits.nano_cpus = Some(values::nano_cpus(cpus)?);
        }
        let mut wanted = Wanted::default();
        for (key, value) in [
            ("memory-swap", &self.memory_swap),
            ("cpu-shares", &self.cpu_shares),
            ("cpuset-cpus", &self.cpuset_cpus),
            ("cpuset-mems", &self.cpuset_mems),
        ] {
            if let Some(value) = value {
                wanted.set(key, value, limits)?;
            }
        }
        for text in &self.resource {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| format!("invalid resource {text:?}: expected KEY=VALUE"))?;
            wanted.set(key, value, limits)?;
        }
        wanted.finish(limits)
    }
}

/// What only means something together.
#[derive(Debug, Default)]
struct Wanted {
    period: Option<u64>,
    quota: Option<u64>,
}

impl Wanted {
    fn set(&mut self, key: &str, value: &str, limits: &mut ResourceLimits) -> Result<(), String> {
        let wrong = || format!("invalid value {value:?} for {key}");
        let number = || value.parse::<u64>().map_err(|_| wrong());
        match key {
            "memory" => {
                let bytes = human::parse_size(value)?;
                if bytes < MEMORY_FLOOR {
                    return Err("Minimum memory limit allowed is 6MB".to_owned());
                }
                limits.memory_bytes = Some(bytes);
            }
            "memory-swap" if value == "-1" => limits.memory_swap_bytes = Some(u64::MAX),
            "memory-swap" => limits.memory_swap_bytes = Some(human::parse_size(value)?),
            "cpu-shares" => limits.cpu_shares = Some(number()?).filter(|shares| *shares > 0),
            "cpu-period" => {
                let period = Some(number()?).filter(|period| CPU_PERIODS.contains(period));
                self.period = Some(period.ok_or_else(wrong)?);
            }
            "cpu-quota" => self.quota = Some(number()?),
            "cpuset-cpus" => limits.cpuset_cpus = Some(set(value).ok_or_else(wrong)?),
            "cpuset-mems" => limits.cpuset_mems = Some(set(value).ok_or_else(wrong)?),
            _ => {
                let known = "memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus, cpuset-mems";
                return Err(format!("unknown resource {key:?}: expected one of {known}"));
            }
        }
        Ok(())
    }

    fn finish(&self, limits: &mut ResourceLimits) -> Result<(), String> {
        if let Some(quota) = self.quota {
            let period = self.period.unwrap_or(CPU_PERIOD);
            let share = u128::from(quota) * 1_000_000_000 / u128::from(period);
            limits.nano_cpus = Some(u64::try_from(share).unwrap_or(u64::MAX));
        }
        match (limits.memory_bytes, limits.memory_swap_bytes) {
            (None, Some(_)) => Err(
                "You should always set the Memory limit when using Memoryswap limit, see usage"
                    .to_owned(),
            ),
            (Some(memory), Some(both)) if both < memory => Err(
                "Minimum memoryswap limit should be larger than memory limit, see usage".to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

/// A list of numbers and ranges, as the kernel takes it.
fn set(text: &str) -> Option<String> {
    let number = |text: &str| text.parse::<u32>().ok();
    let fits = text.split(',').all(|part| match part.split_once('-') {
        Some((first, last)) => number(first)
            .zip(number(last))
            .is_some_and(|(first, last)| first <= last),
        None => number(part).is_some(),
    });
    fits.then(|| text.to_owned())
}

/// The group above those of steps; nothing for the root.
fn cgroup(path: &str) -> Result<Option<String>, String> {
    let relative = path.trim_matches('/');
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    if relative.is_empty() && path.starts_with('/') {
        return Ok(None);
    }
    if !relative.split('/').all(is_plain) {
        return Err(format!("invalid cgroup parent {path:?}"));
    }
    Ok(Some(relative.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(resources: &[&str]) -> Result<ResourceLimits, String> {
        let mut limits = ResourceLimits::default();
        let flags = Resources {
            resource: resources.iter().map(|one| (*one).to_owned()).collect(),
            memory_swap: None,
            cpu_shares: None,
            cpus: None,
            cpuset_cpus: None,
            cpuset_mems: None,
            cgroup_parent: None,
        };
        flags.limit(&mut limits).map(|()| limits)
    }

    #[test]
    fn resources_are_read_by_name() {
        let all = limits(&[
            "memory=64m",
            "memory-swap=-1",
            "cpu-shares=512",
            "cpu-period=50000",
            "cpu-quota=25000",
            "cpuset-cpus=0-1,3",
            "cpuset-mems=0",
        ])
        .unwrap();
        let wanted = ResourceLimits {
            memory_bytes: Some(64 << 20),
            memory_swap_bytes: Some(u64::MAX),
            nano_cpus: Some(500_000_000),
            cpu_shares: Some(512),
            cpuset_cpus: Some("0-1,3".to_owned()),
            cpuset_mems: Some("0".to_owned()),
            pids: None,
            ..ResourceLimits::default()
        };
        assert_eq!(all, wanted);
        for (wrong, why) in [
            (&["memory"][..], "expected KEY=VALUE"),
            (&["x=1"], "unknown resource"),
            (&["memory=1k"], "Minimum memory limit"),
            (&["memory-swap=1g"], "always set the Memory limit"),
            (
                &["memory=64m", "memory-swap=32m"],
                "larger than memory limit",
            ),
            (&["cpuset-cpus=2-1"], "invalid value"),
            (&["cpuset-cpus=x"], "invalid value"),
            (&["cpu-period=10"], "invalid value"),
        ] {
            assert!(limits(wrong).unwrap_err().contains(why), "{wrong:?}");
        }
    }

    #[test]
    fn a_cgroup_is_a_plain_path() {
        assert_eq!(cgroup("/a/b/"), Ok(Some("a/b".to_owned())));
        assert_eq!(cgroup("a"), Ok(Some("a".to_owned())));
        assert_eq!(cgroup("/"), Ok(None));
        for wrong in ["", "a/../b", "a//b"] {
            assert!(cgroup(wrong).is_err(), "{wrong}");
        }
    }
}
