//! What a container uses.

use std::time::Duration;

use super::dir::Dir;
use super::request::NetworkMode;
use super::{Error, bundle, find};
use crate::sandbox::ResourceLimits;
use crate::store::Store;
use crate::sys::cgroup::{Group, Hierarchies, Sample, members, tree};

/// What a container uses at one moment. Processor times count from its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// The container's ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Whether it runs; the rest is 0 otherwise.
    pub is_running: bool,
    /// Its processes.
    pub sample: Sample,
    /// Processor time of the whole machine, idle time included.
    pub machine: Duration,
    /// Processors of the machine.
    pub processors: u32,
    /// Bytes received over its networks.
    pub received: u64,
    /// Bytes sent over its networks.
    pub sent: u64,
}

/// What the container `text` uses now.
pub fn usage(store: &Store, text: &str) -> Result<Usage, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let state = dir.state()?;
    let mut usage = Usage {
        id: row.id,
        name: row.name,
        is_running: state.has_process(),
        ..Usage::default()
    };
    if !usage.is_running {
        return Ok(usage);
    }
    let request = dir.record()?.request;
    let group = Group::existing(
        &Hierarchies::discover(),
        &bundle::group_name(&request, dir.id()),
    );
    let processes = || {
        if request.shares_processes() {
            tree(&[state.pid])
        } else {
            members(state.pid)
        }
    };
    usage.sample = match group.ok().filter(|group| !group.is_empty()) {
        Some(group) => {
            let mut sample = group.sample();
            if request.limits() == ResourceLimits::default() {
                // It may have joined late, and what it had by then is counted elsewhere.
                let own = Sample::of_processes(&processes());
                sample.memory = own.memory;
                sample.cpu = sample.cpu.max(own.cpu);
            }
            sample
        }
        None => Sample::of_processes(&processes()),
    };
    (usage.machine, usage.processors) = machine_time();
    if request.network != NetworkMode::Host {
        (usage.received, usage.sent) = network(state.pid);
    }
    Ok(usage)
}

/// Processor time of the machine, and its processors.
fn machine_time() -> (Duration, u32) {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    // Guest time is part of user time already.
    let ticks: u64 = first
        .split_ascii_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    let is_one = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    let processors = text.lines().filter(is_one).count();
    let processors = u32::try_from(processors).unwrap_or(1).max(1);
    (Duration::from_millis(ticks * 10), processors)
}

/// Bytes received and sent by the devices of a process' network, without loopback.
fn network(pid: i32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut sums = (0, 0);
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else {
            continue;
        };
        if name.trim() == "lo" {
            continue;
        }
        let numbers: Vec<u64> = numbers
            .split_ascii_whitespace()
            .filter_map(|number| number.parse().ok())
            .collect();
        sums.0 += numbers.first().copied().unwrap_or(0);
        sums.1 += numbers.get(8).copied().unwrap_or(0);
    }
    sums
}
