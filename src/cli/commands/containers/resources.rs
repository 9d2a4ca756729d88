//! Limits that `run`, `create` and `update` share.

use rbuild::engine::{DeviceRate, RateKind, ResourceLimits};

use crate::cli::{human, values};

/// What a container may use.
#[derive(Debug, clap::Args)]
pub(super) struct Resources {
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = human::parse_size)]
    memory: Option<u64>,
    /// Memory and swap together, -1 for any amount of swap
    #[arg(long, value_name = "BYTES", value_parser = size_or_any, allow_hyphen_values = true)]
    memory_swap: Option<u64>,
    /// Memory that is left to it where memory is short
    #[arg(long, value_name = "BYTES", value_parser = human::parse_size)]
    memory_reservation: Option<u64>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = values::nano_cpus)]
    cpus: Option<u64>,
    /// Share of CPU time where others want it too; 1024 is the usual
    #[arg(short, long, value_name = "SHARES")]
    cpu_shares: Option<u64>,
    /// Period that CPU time is counted over, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// CPU time in each period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// Period of real-time CPU time, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    /// Real-time CPU time in each of its periods, in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<i64>,
    /// Processors that it may use, such as 0-2,4
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that it may use, such as 0,1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Limit of processes and threads, -1 for none
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
    /// Share of disk time where others want it too, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
}

impl Resources {
    /// Whether any flag was given, also one that changes nothing such as `--cpus 0`.
    pub(super) fn is_said(&self) -> bool {
        let sizes = [self.memory, self.memory_swap, self.memory_reservation];
        let numbers = [
            self.cpus,
            self.cpu_shares,
            self.cpu_period,
            self.cpu_rt_period,
        ];
        let signed = [self.cpu_quota, self.cpu_rt_runtime, self.pids_limit];
        sizes.iter().chain(&numbers).any(Option::is_some)
            || signed.iter().any(Option::is_some)
            || self.blkio_weight.is_some()
            || self.cpuset_cpus.is_some()
            || self.cpuset_mems.is_some()
    }

    /// The limits; with `lift`, one that is given as no limit takes an old one away.
    pub(super) fn limits(&self, lift: bool) -> ResourceLimits {
        let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let pids = self
            .pids_limit
            .and_then(|limit| match u64::try_from(limit) {
                Ok(limit) if limit > 0 => Some(limit),
                _ => lift.then_some(u64::MAX),
            });
        ResourceLimits {
            memory_bytes: self.memory.filter(|bytes| *bytes > 0),
            memory_swap_bytes: self.memory_swap.filter(|bytes| *bytes > 0),
            memory_reservation_bytes: self.memory_reservation.filter(|bytes| *bytes > 0),
            nano_cpus: self.cpus.filter(|cpus| *cpus > 0),
            cpu_shares: self.cpu_shares.filter(|shares| *shares > 0),
            cpu_period: self.cpu_period.filter(|period| *period > 0),
            cpu_quota: self.cpu_quota.filter(|quota| *quota != 0),
            cpu_realtime_period: self.cpu_rt_period.filter(|period| *period > 0),
            cpu_realtime_runtime: self.cpu_rt_runtime.filter(|runtime| *runtime != 0),
            cpuset_cpus: text(&self.cpuset_cpus),
            cpuset_mems: text(&self.cpuset_mems),
            pids,
            blkio_weight: self.blkio_weight.filter(|weight| *weight > 0),
            ..ResourceLimits::default()
        }
    }
}

/// A size, or -1 for any.
fn size_or_any(text: &str) -> Result<u64, String> {
    if text == "-1" {
        return Ok(u64::MAX);
    }
    human::parse_size(text)
}

/// Limits that only a new container takes.
#[derive(Debug, clap::Args)]
pub(super) struct Further {
    /// How readily its memory is swapped out, 0 to 100 (cgroup version 1)
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    memory_swappiness: Option<i64>,
    /// Let its processes wait for memory instead of killing one (cgroup version 1)
    #[arg(long)]
    oom_kill_disable: bool,
    /// How readily the kernel kills it for want of memory, -1000 to 1000
    #[arg(long, value_name = "SCORE", allow_hyphen_values = true)]
    pub(super) oom_score_adj: Option<i32>,
    /// Share of a disk's time: DEVICE:WEIGHT
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    blkio_weight_device: Vec<String>,
    /// Bytes a second that it reads from a disk at most: DEVICE:BYTES
    #[arg(long, value_name = "DEVICE:BYTES")]
    device_read_bps: Vec<String>,
    /// Bytes a second that it writes to a disk at most: DEVICE:BYTES
    #[arg(long, value_name = "DEVICE:BYTES")]
    device_write_bps: Vec<String>,
    /// Reads a second from a disk at most: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_read_iops: Vec<String>,
    /// Writes a second to a disk at most: DEVICE:NUMBER
    #[arg(long, value_name = "DEVICE:NUMBER")]
    device_write_iops: Vec<String>,
    /// The cgroup above the container's own
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup_parent: Option<String>,
}

impl Further {
    /// Adds them to the limits.
    pub(super) fn add_to(&self, limits: &mut ResourceLimits) -> Result<(), String> {
        limits.oom_kill_disable = self.oom_kill_disable;
        limits.memory_swappiness = match self.memory_swappiness {
            None | Some(-1) => None,
            Some(value) => {
                let wrong =
                    |_| format!("invalid value: {value}, valid memory swappiness range is 0-100");
                Some(u64::try_from(value).map_err(wrong)?)
            }
        };
        for (texts, kind) in [
            (&self.blkio_weight_device, RateKind::Weight),
            (&self.device_read_bps, RateKind::ReadBytes),
            (&self.device_write_bps, RateKind::WriteBytes),
            (&self.device_read_iops, RateKind::ReadOperations),
            (&self.device_write_iops, RateKind::WriteOperations),
        ] {
            for text in texts {
                limits.blkio_devices.push(rate(text, kind)?);
            }
        }
        Ok(())
    }
}

fn rate(text: &str, kind: RateKind) -> Result<DeviceRate, String> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let bad = || format!("bad format: {text}");
    let (path, value) = text.rsplit_once(':').ok_or_else(bad)?;
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    let value = match kind {
        RateKind::ReadBytes | RateKind::WriteBytes => human::parse_size(value)
            .map_err(|_| format!("invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"))?,
        RateKind::Weight => {
            let weight: u64 = value.parse().map_err(|_| format!("invalid weight for device: {text}"))?;
            if weight != 0 && !(10..=1000).contains(&weight) {
                return Err(format!("invalid weight for device: {text}"));
            }
            weight
        }
        _ => value.parse().map_err(|_| format!("invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"))?,
    };
    let meta = std::fs::metadata(path).map_err(|err| format!("cannot look at {path}: {err}"))?;
    if !meta.file_type().is_block_device() {
        return Err(format!("{path} is not a block device"));
    }
    Ok(DeviceRate {
        path: path.to_owned(),
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        kind,
        value,
    })
}
