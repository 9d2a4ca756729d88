//! Setting a group's limits, in the files of either version.

use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::group::{Dir, Group, read};

/// The period that CPU time is counted over. Source: Docker's default.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;
/// The least CPU time a period that the kernel takes.
const LEAST_CPU_MICROSECONDS: u64 = 1_000;
/// Bounds of CPU shares. Source: kernel/sched/sched.h, `MIN_SHARES`, `MAX_SHARES`.
const SHARES: (u64, u64) = (2, 262_144);

/// What a group limits. `None` leaves it alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, in bytes; `u64::MAX` for no limit of swap. When
    /// absent, as much swap may be used as memory, as in Docker.
    pub memory_swap_bytes: Option<u64>,
    /// Memory that is left to the group where memory is short, in bytes.
    pub memory_reservation_bytes: Option<u64>,
    /// How readily memory is swapped out, 0 to 100; version 1 only.
    pub memory_swappiness: Option<u64>,
    /// Whether processes wait for memory instead of being killed; version 1 only.
    pub oom_kill_disable: bool,
    /// CPU time in units of 10^-9 CPU (`--cpus 0.5` is 500,000,000).
    pub nano_cpus: Option<u64>,
    /// Period that CPU time is counted over, in microseconds; 100,000 when absent.
    pub cpu_period: Option<u64>,
    /// CPU time in each period, in microseconds; negative for no limit.
    pub cpu_quota: Option<i64>,
    /// Period of real-time CPU time, in microseconds; version 1 only.
    pub cpu_realtime_period: Option<u64>,
    /// Real-time CPU time in each of its periods, in microseconds; version 1 only.
    pub cpu_realtime_runtime: Option<i64>,
    /// Share of CPU time where others want it too: 2 to 262,144, the usual is 1,024.
    pub cpu_shares: Option<u64>,
    /// Processors that may be used, as in `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used, as in `0,1`.
    pub cpuset_mems: Option<String>,
    /// Number of processes and threads; `u64::MAX` for any number.
    pub pids: Option<u64>,
    /// Share of disk time where others want it too, 10 to 1,000.
    pub blkio_weight: Option<u16>,
    /// What single disks give.
    pub blkio_devices: Vec<DeviceRate>,
    /// The only devices that may be used, in the words of version 1's
    /// `devices.allow`; every device when absent.
    pub devices: Option<Vec<String>>,
}

/// How much one disk gives a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    /// The disk's path on the host, for messages.
    pub path: String,
    /// Its major number.
    pub major: u32,
    /// Its minor number.
    pub minor: u32,
    /// What is limited.
    pub kind: RateKind,
    /// The limit: a weight, bytes or operations a second.
    pub value: u64,
}

/// What of a disk is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RateKind {
    /// The share of its time.
    Weight,
    /// Bytes read a second.
    ReadBytes,
    /// Bytes written a second.
    WriteBytes,
    /// Reads a second.
    ReadOperations,
    /// Writes a second.
    WriteOperations,
}

impl RateKind {
    /// The file of version 1, and the key in version 2's `io.max`.
    fn files(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Weight => ("blkio.weight_device", None),
            Self::ReadBytes => ("blkio.throttle.read_bps_device", Some("rbps")),
            Self::WriteBytes => ("blkio.throttle.write_bps_device", Some("wbps")),
            Self::ReadOperations => ("blkio.throttle.read_iops_device", Some("riops")),
            Self::WriteOperations => ("blkio.throttle.write_iops_device", Some("wiops")),
        }
    }
}

impl Limits {
    /// Whether the controller of processors and memory nodes is needed. It is left
    /// alone otherwise: in version 1 every new group of it has to be filled in.
    pub(super) fn wants_cpuset(&self) -> bool {
        self.cpuset_cpus.is_some() || self.cpuset_mems.is_some()
    }

    /// Whether the controller of devices is needed.
    pub(super) fn wants_devices(&self) -> bool {
        self.devices.is_some()
    }
}

impl Group {
    /// Sets the limits; a sentence for each that could not be set.
    pub fn limit(&self, limits: &Limits) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut set = |limit: &str, result: Result<(), String>| {
            if let Err(why) = result {
                warnings.push(format!("the {limit} limit is not set: {why}"));
            }
        };
        if let Some(bytes) = limits.memory_bytes {
            let mut memory = self.limit_memory(bytes);
            let swap = self.limit_swap(bytes, limits.memory_swap_bytes);
            if memory.is_err() && swap.is_ok() {
                // Version 1 keeps the first beneath the second, which was raised just now.
                memory = self.limit_memory(bytes);
            }
            set("memory", memory);
            if limits.memory_swap_bytes.is_some() {
                set("swap", swap);
            }
            // Otherwise: swap is often not accounted for; the memory limit holds without it.
        }
        self.limit_memory_further(limits, &mut set);
        self.limit_processors(limits, &mut set);
        if let Some(pids) = limits.pids {
            let pids = match pids {
                u64::MAX => "max".to_owned(),
                pids => pids.to_string(),
            };
            set("process", self.write_to("pids", "pids.max", pids));
        }
        if let Some(weight) = limits.blkio_weight {
            set("block I/O weight", self.weigh_blocks(weight));
        }
        for rate in &limits.blkio_devices {
            set(&format!("block I/O ({})", rate.path), self.rate(rate));
        }
        if let Some(rules) = &limits.devices {
            set("device", self.allow_devices(rules));
        }
        warnings
    }

    fn limit_memory_further(
        &self,
        limits: &Limits,
        set: &mut impl FnMut(&str, Result<(), String>),
    ) {
        if let Some(bytes) = limits.memory_reservation_bytes {
            let result = if let Some(dir) = self.dir_with("memory.soft_limit_in_bytes") {
                write(&dir.path, "memory.soft_limit_in_bytes", bytes)
            } else {
                self.write_to("memory", "memory.low", bytes)
            };
            set("memory reservation", result);
        }
        if let Some(swappiness) = limits.memory_swappiness {
            let result = self.write_to("memory", "memory.swappiness", swappiness);
            set("memory swappiness", result);
        }
        if limits.oom_kill_disable {
            set(
                "out-of-memory killer",
                self.write_to("memory", "memory.oom_control", 1),
            );
        }
    }

    fn limit_processors(&self, limits: &Limits, set: &mut impl FnMut(&str, Result<(), String>)) {
        if let Some(nano_cpus) = limits.nano_cpus {
            set("CPU", self.limit_cpu(nano_cpus));
        } else if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
            let period = limits.cpu_period.unwrap_or(CPU_PERIOD_MICROSECONDS);
            set("CPU", self.set_quota(limits.cpu_quota, period));
        }
        if let Some(period) = limits.cpu_realtime_period {
            let result = self.write_to("cpu", "cpu.rt_period_us", period);
            set("real-time CPU period", result);
        }
        if let Some(runtime) = limits.cpu_realtime_runtime {
            let result = self.write_to("cpu", "cpu.rt_runtime_us", runtime);
            set("real-time CPU runtime", result);
        }
        if let Some(shares) = limits.cpu_shares {
            set("CPU share", self.share_cpu(shares));
        }
        if let Some(cpus) = &limits.cpuset_cpus {
            let result = self.write_to("cpuset", "cpuset.cpus", cpus);
            set("processor set", result);
        }
        if let Some(nodes) = &limits.cpuset_mems {
            let result = self.write_to("cpuset", "cpuset.mems", nodes);
            set("memory node set", result);
        }
    }

    fn weigh_blocks(&self, weight: u16) -> Result<(), String> {
        for file in ["blkio.weight", "blkio.bfq.weight"] {
            if let Some(dir) = self.dir_with(file) {
                return write(&dir.path, file, weight);
            }
        }
        if self.dir_with("io.bfq.weight").is_some() {
            return self.write_to("io", "io.bfq.weight", weight);
        }
        // The same place on a scale from 1 to 10,000. Source: runc, ConvertBlkIOToIOWeightValue.
        let weight = 1 + (u64::from(weight).saturating_sub(10)) * 9_999 / 990;
        self.write_to("io", "io.weight", format!("default {weight}"))
    }

    fn rate(&self, rate: &DeviceRate) -> Result<(), String> {
        let (file, key) = rate.kind.files();
        let device = format!("{}:{}", rate.major, rate.minor);
        if let Some(dir) = self.dir_with(file) {
            return write(&dir.path, file, format!("{device} {}", rate.value));
        }
        match key {
            Some(key) => self.write_to("io", "io.max", format!("{device} {key}={}", rate.value)),
            None => Err("the kernel does not weigh single disks".to_owned()),
        }
    }

    fn allow_devices(&self, rules: &[String]) -> Result<(), String> {
        self.write_to("devices", "devices.deny", "a")?;
        rules
            .iter()
            .try_for_each(|rule| self.write_to("devices", "devices.allow", rule))
    }

    fn limit_memory(&self, bytes: u64) -> Result<(), String> {
        if let Some(dir) = self.dir_with("memory.limit_in_bytes") {
            write(&dir.path, "memory.limit_in_bytes", bytes)
        } else {
            self.write_to("memory", "memory.max", bytes)
        }
    }

    /// Version 1 counts memory and swap together, version 2 swap alone.
    fn limit_swap(&self, memory_bytes: u64, both: Option<u64>) -> Result<(), String> {
        let unlimited = both == Some(u64::MAX);
        let both = both.unwrap_or_else(|| memory_bytes.saturating_mul(2));
        if let Some(dir) = self.dir_with("memory.limit_in_bytes") {
            let value = if unlimited {
                "-1".to_owned()
            } else {
                both.to_string()
            };
            return write(&dir.path, "memory.memsw.limit_in_bytes", value);
        }
        let swap = both.saturating_sub(memory_bytes);
        let value = if unlimited {
            "max".to_owned()
        } else {
            swap.to_string()
        };
        self.write_to("memory", "memory.swap.max", value)
    }

    fn limit_cpu(&self, nano_cpus: u64) -> Result<(), String> {
        let nanoseconds = u128::from(nano_cpus) * u128::from(CPU_PERIOD_MICROSECONDS);
        let quota = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(u64::MAX);
        let quota = i64::try_from(quota.max(LEAST_CPU_MICROSECONDS)).unwrap_or(i64::MAX);
        self.set_quota(Some(quota), CPU_PERIOD_MICROSECONDS)
    }

    /// A quota of CPU time in each period; negative or none for as much as there is.
    fn set_quota(&self, quota: Option<i64>, period: u64) -> Result<(), String> {
        let quota = quota.filter(|quota| *quota > 0);
        if let Some(dir) = self.dir_with("cpu.cfs_quota_us") {
            write(&dir.path, "cpu.cfs_period_us", period)?;
            return write(&dir.path, "cpu.cfs_quota_us", quota.unwrap_or(-1));
        }
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        self.write_to("cpu", "cpu.max", format!("{quota} {period}"))
    }

    fn share_cpu(&self, shares: u64) -> Result<(), String> {
        let shares = shares.clamp(SHARES.0, SHARES.1);
        if let Some(dir) = self.dir_with("cpu.shares") {
            return write(&dir.path, "cpu.shares", shares);
        }
        // The same place on a scale from 1 to 10,000. Source: runc, ConvertCPUSharesToCgroupV2Value.
        let weight = 1 + (shares - SHARES.0) * 9_999 / (SHARES.1 - SHARES.0);
        self.write_to("cpu", "cpu.weight", weight)
    }

    fn write_to(&self, controller: &str, file: &str, value: impl Display) -> Result<(), String> {
        match self.dir_with(file) {
            Some(dir) => write(&dir.path, file, value),
            None => Err(format!("the `{controller}` controller is not available")),
        }
    }

    pub(super) fn dir_with(&self, file: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.path.join(file).exists())
    }
}

/// Gives a new version 1 group the processors and memory nodes of the one above:
/// it has none of its own, and no process can join it so. Whether it has them.
pub(super) fn inherit_cpuset(group: &Path) -> bool {
    let Some(above) = group.parent() else {
        return false;
    };
    ["cpuset.cpus", "cpuset.mems"].iter().all(|file| {
        let has = |dir: &Path| read(dir, file).is_ok_and(|text| !text.trim().is_empty());
        if !has(group)
            && let Ok(text) = read(above, file)
        {
            let _refused = std::fs::write(group.join(file), text.trim());
        }
        has(group)
    })
}

fn write(dir: &Path, file: &str, value: impl Display) -> Result<(), String> {
    let path = dir.join(file);
    std::fs::write(&path, value.to_string())
        .map_err(|err| format!("cannot write `{}`: {err}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchies;
    use super::super::hierarchy::{V1, V2};
    use super::*;
    use std::path::PathBuf;

    fn limits() -> Limits {
        Limits {
            memory_bytes: Some(64 << 20),
            memory_swap_bytes: Some(96 << 20),
            cpu_shares: Some(1024),
            cpuset_cpus: Some("0".to_owned()),
            cpuset_mems: Some("0".to_owned()),
            ..Limits::default()
        }
    }

    #[test]
    fn version_two_has_swap_alone_and_a_weight() {
        let top = tempfile::tempdir().unwrap();
        let leaf = top.path().join("rbuild/x");
        std::fs::create_dir_all(&leaf).unwrap();
        let files = [
            "memory.max",
            "memory.swap.max",
            "cpu.weight",
            "cpuset.mems",
            "cpuset.cpus",
        ];
        for file in files {
            std::fs::write(leaf.join(file), "").unwrap();
        }
        let hierarchies = Hierarchies {
            v1: Vec::new(),
            v2: Some(V2 {
                mount: top.path().to_owned(),
                own: PathBuf::new(),
            }),
        };
        let (group, warnings) = Group::create(&hierarchies, "rbuild/x", &limits()).unwrap();
        assert_eq!(warnings, Vec::<String>::new());
        let set = files.map(|file| read(&leaf, file).unwrap());
        assert_eq!(set, ["67108864", "33554432", "39", "0", "0"]);
        let unlimited = Limits {
            memory_swap_bytes: Some(u64::MAX),
            ..limits()
        };
        group.limit(&unlimited);
        assert_eq!(read(&leaf, "memory.swap.max").unwrap(), "max");
    }

    #[test]
    fn version_one_has_both_together_and_new_sets_inherit() {
        let top = tempfile::tempdir().unwrap();
        let v1 = |name: &str| V1 {
            controllers: vec![name.to_owned()],
            mount: top.path().join(name),
            own: PathBuf::new(),
        };
        let (memory, sets) = (top.path().join("memory/r/x"), top.path().join("cpuset/r/x"));
        for dir in [&memory, &sets] {
            std::fs::create_dir_all(dir).unwrap();
        }
        for file in ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] {
            std::fs::write(memory.join(file), "").unwrap();
        }
        // The kernel makes these files with every group, empty.
        for (dir, text) in [("cpuset", "0-3\n"), ("cpuset/r", ""), ("cpuset/r/x", "")] {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                std::fs::write(top.path().join(dir).join(file), text).unwrap();
            }
        }
        let hierarchies = Hierarchies {
            v1: vec![v1("memory"), v1("cpuset")],
            v2: None,
        };
        let (_, warnings) = Group::create(&hierarchies, "r/x", &limits()).unwrap();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("CPU share"), "{warnings:?}");
        let both = read(&memory, "memory.memsw.limit_in_bytes").unwrap();
        assert_eq!(both, (96 << 20).to_string());
        assert_eq!(
            read(&top.path().join("cpuset/r"), "cpuset.cpus").unwrap(),
            "0-3"
        );
        assert_eq!(read(&sets, "cpuset.cpus").unwrap(), "0");
    }
}
