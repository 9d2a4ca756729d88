//! Setting a group's limits, in the files of either version.

use std::fmt::Display;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::device;
use super::group::{Dir, Group, Version, read};
use super::refusal::{Name, Refusal, refused};

/// The period that CPU time is counted over. Source: Docker's default.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;
/// The least CPU time a period that the kernel takes.
const LEAST_CPU_MICROSECONDS: u64 = 1_000;
/// Bounds of CPU shares. Source: kernel/sched/sched.h, `MIN_SHARES`, `MAX_SHARES`.
const SHARES: (u64, u64) = (2, 262_144);
/// Where a version 1 kernel with that scheduler weighs single disks.
const BFQ_DEVICE: &str = "blkio.bfq.weight_device";

type Written = Result<(), Refusal>;

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
    fn name(self) -> Name {
        match self {
            Self::Weight => Name::DeviceWeight,
            Self::ReadBytes => Name::ReadBytes,
            Self::WriteBytes => Name::WriteBytes,
            Self::ReadOperations => Name::ReadOperations,
            Self::WriteOperations => Name::WriteOperations,
        }
    }

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
    /// Sets the limits; a sentence for each that does not apply.
    pub fn limit(&self, limits: &Limits) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut set = |name: Name, result: Result<(), Refusal>| {
            if let Err(refusal) = result {
                let warning = name.tell(&refusal);
                // Processors and memory nodes are one controller's.
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        };
        if let Some(bytes) = limits.memory_bytes {
            let mut memory = self.limit_memory(bytes);
            let swap = self.limit_swap(bytes, limits.memory_swap_bytes);
            if memory.is_err() && swap.is_ok() {
                // Version 1 keeps the first beneath the second, which was raised just now.
                memory = self.limit_memory(bytes);
            }
            set(Name::Memory, memory);
            if limits.memory_swap_bytes.is_some() {
                set(Name::Swap, swap);
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
            set(Name::Pids, self.write_to("pids.max", pids));
        }
        if let Some(weight) = limits.blkio_weight {
            set(Name::Weight, self.weigh_blocks(weight));
        }
        for rate in &limits.blkio_devices {
            set(rate.kind.name(), self.rate(rate));
        }
        if let Some(rules) = &limits.devices {
            set(Name::Devices, self.allow_devices(rules));
        }
        warnings
    }

    fn limit_memory_further(&self, limits: &Limits, set: &mut impl FnMut(Name, Written)) {
        if let Some(bytes) = limits.memory_reservation_bytes {
            let files = ["memory.soft_limit_in_bytes", "memory.low"];
            set(Name::Reservation, self.write_to_one_of(files, bytes));
        }
        if let Some(swappiness) = limits.memory_swappiness {
            let result = self.write_to("memory.swappiness", swappiness);
            set(Name::Swappiness, result);
        }
        if limits.oom_kill_disable {
            set(Name::OomKiller, self.write_to("memory.oom_control", 1));
        }
    }

    fn limit_processors(&self, limits: &Limits, set: &mut impl FnMut(Name, Written)) {
        if let Some(nano_cpus) = limits.nano_cpus {
            set(Name::Cpus, self.limit_cpu(nano_cpus));
        } else if limits.cpu_quota.is_some() || limits.cpu_period.is_some() {
            let period = limits.cpu_period.unwrap_or(CPU_PERIOD_MICROSECONDS);
            set(Name::Quota, self.set_quota(limits.cpu_quota, period));
        }
        if let Some(period) = limits.cpu_realtime_period {
            set(Name::RealTime, self.write_to("cpu.rt_period_us", period));
        }
        if let Some(runtime) = limits.cpu_realtime_runtime {
            set(Name::RealTime, self.write_to("cpu.rt_runtime_us", runtime));
        }
        if let Some(shares) = limits.cpu_shares {
            set(Name::Shares, self.share_cpu(shares));
        }
        if let Some(cpus) = &limits.cpuset_cpus {
            set(Name::Processors, self.write_to("cpuset.cpus", cpus));
        }
        if let Some(nodes) = &limits.cpuset_mems {
            set(Name::Nodes, self.write_to("cpuset.mems", nodes));
        }
    }

    fn weigh_blocks(&self, weight: u16) -> Written {
        for file in ["blkio.weight", "blkio.bfq.weight", "io.bfq.weight"] {
            if self.dir_with(file).is_some() {
                return self.write_to(file, weight);
            }
        }
        self.write_to("io.weight", format!("default {}", io_weight(weight.into())))
    }

    fn rate(&self, rate: &DeviceRate) -> Written {
        let (file, key) = rate.kind.files();
        let device = format!("{}:{}", rate.major, rate.minor);
        let files = [file]
            .into_iter()
            .chain(key.is_none().then_some(BFQ_DEVICE));
        for file in files {
            if self.dir_with(file).is_some() {
                return self.write_to(file, format!("{device} {}", rate.value));
            }
        }
        let Some(key) = key else {
            let weight = if self.dir_with("io.bfq.weight").is_some() {
                ("io.bfq.weight", rate.value)
            } else {
                ("io.weight", io_weight(rate.value))
            };
            return self.write_to(weight.0, format!("{device} {}", weight.1));
        };
        self.write_to("io.max", format!("{device} {key}={}", rate.value))
    }

    fn allow_devices(&self, rules: &[String]) -> Written {
        if self.dir_with("devices.deny").is_some() {
            self.write_to("devices.deny", "a")?;
            return rules
                .iter()
                .try_for_each(|rule| self.write_to("devices.allow", rule));
        }
        let dir = self.dirs.iter().find(|dir| dir.version == Version::Two);
        let dir = dir.ok_or(Refusal::Missing)?;
        device::restrict(&dir.path, rules)
            .map_err(|err| refused("cannot attach a program to the cgroup", &err))
    }

    fn limit_memory(&self, bytes: u64) -> Written {
        self.write_to_one_of(["memory.limit_in_bytes", "memory.max"], bytes)
    }

    /// Version 1 counts memory and swap together, version 2 swap alone.
    fn limit_swap(&self, memory_bytes: u64, both: Option<u64>) -> Written {
        let unlimited = both == Some(u64::MAX);
        let both = both.unwrap_or_else(|| memory_bytes.saturating_mul(2));
        let (file, unlimited, value) = match self.dir_with("memory.limit_in_bytes") {
            Some(_) => (
                "memory.memsw.limit_in_bytes",
                unlimited.then_some("-1"),
                both,
            ),
            None => (
                "memory.swap.max",
                unlimited.then_some("max"),
                both.saturating_sub(memory_bytes),
            ),
        };
        self.write_to(
            file,
            unlimited.map_or_else(|| value.to_string(), str::to_owned),
        )
    }

    fn limit_cpu(&self, nano_cpus: u64) -> Written {
        let nanoseconds = u128::from(nano_cpus) * u128::from(CPU_PERIOD_MICROSECONDS);
        let quota = u64::try_from(nanoseconds / 1_000_000_000).unwrap_or(u64::MAX);
        let quota = i64::try_from(quota.max(LEAST_CPU_MICROSECONDS)).unwrap_or(i64::MAX);
        self.set_quota(Some(quota), CPU_PERIOD_MICROSECONDS)
    }

    /// A quota of CPU time in each period; negative or none for as much as there is.
    fn set_quota(&self, quota: Option<i64>, period: u64) -> Written {
        let quota = quota.filter(|quota| *quota > 0);
        if self.dir_with("cpu.cfs_quota_us").is_some() {
            self.write_to("cpu.cfs_period_us", period)?;
            return self.write_to("cpu.cfs_quota_us", quota.unwrap_or(-1));
        }
        let quota = quota.map_or_else(|| "max".to_owned(), |quota| quota.to_string());
        self.write_to("cpu.max", format!("{quota} {period}"))
    }

    fn share_cpu(&self, shares: u64) -> Written {
        let shares = shares.clamp(SHARES.0, SHARES.1);
        if self.dir_with("cpu.shares").is_some() {
            return self.write_to("cpu.shares", shares);
        }
        self.write_to("cpu.weight", cpu_weight(shares))
    }

    fn write_to_one_of(&self, files: [&str; 2], value: impl Display) -> Written {
        let first = self.dir_with(files[0]).is_some();
        self.write_to(if first { files[0] } else { files[1] }, value)
    }

    fn write_to(&self, file: &str, value: impl Display) -> Written {
        let dir = self.dir_with(file).ok_or(Refusal::Missing)?;
        let path = dir.path.join(file);
        std::fs::write(&path, value.to_string())
            .map_err(|err| refused(format_args!("cannot write `{}`", path.display()), &err))
    }

    pub(super) fn dir_with(&self, file: &str) -> Option<&Dir> {
        self.dirs.iter().find(|dir| dir.path.join(file).exists())
    }
}

/// Version 1's shares on version 2's scale from 1 to 10,000: the ends meet the
/// ends and the usual 1,024 the usual 100, with a square curve through the logarithms.
///
/// Source: opencontainers/cgroups, `ConvertCPUSharesToCgroupV2Value`.
fn cpu_weight(shares: u64) -> u64 {
    let (least, most) = SHARES;
    if shares <= least {
        return 1;
    }
    if shares >= most {
        return 10_000;
    }
    let shares = u32::try_from(shares).map_or(f64::from(u32::MAX), f64::from);
    let logarithm = shares.log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm) / 612.0 - 7.0 / 34.0;
    let weight = 10_f64.powf(exponent).ceil();
    // A search instead of a cast: the least whole number that is not below.
    (1..10_000)
        .find(|whole: &u16| f64::from(*whole) >= weight)
        .map_or(10_000, u64::from)
}

/// A weight from 10 to 1,000 at the same place on version 2's scale from 1 to 10,000.
///
/// Source: opencontainers/cgroups, `ConvertBlkIOToIOWeightValue`.
fn io_weight(weight: u64) -> u64 {
    1 + weight.saturating_sub(10) * 9_999 / 990
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
        assert_eq!(set, ["67108864", "33554432", "100", "0", "0"]);
        let unlimited = Limits {
            memory_swap_bytes: Some(u64::MAX),
            ..limits()
        };
        group.limit(&unlimited);
        assert_eq!(read(&leaf, "memory.swap.max").unwrap(), "max");
    }

    #[test]
    fn shares_and_weights_keep_their_places_on_the_scales() {
        let weights = [2, 3, 512, 1024, 2048, 262_143, 262_144].map(cpu_weight);
        assert_eq!(weights, [1, 2, 59, 100, 174, 10_000, 10_000]);
        assert_eq!([10, 500, 1000].map(io_weight), [1, 4950, 10_000]);
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
        assert!(warnings[0].contains("CPU shares"), "{warnings:?}");
        let both = read(&memory, "memory.memsw.limit_in_bytes").unwrap();
        assert_eq!(both, (96 << 20).to_string());
        assert_eq!(
            read(&top.path().join("cpuset/r"), "cpuset.cpus").unwrap(),
            "0-3"
        );
        assert_eq!(read(&sets, "cpuset.cpus").unwrap(), "0");
    }
}
