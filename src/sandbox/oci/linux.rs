//! `linux`: namespaces, devices, limits, and what is hidden.

use serde_json::{Map, Value, json};

use super::super::init::READ_ONLY;
use super::super::{MountKind, Namespace, NetworkNamespace, RateKind, ResourceLimits, Spec};
use super::{Device, Facts, Stage};

/// `CAP_SYS_ADMIN` of linux/capability.h.
pub(super) const SYS_ADMIN: u8 = 21;
/// The period that CPU time is counted over. Source: Docker's default.
const CPU_PERIOD_MICROSECONDS: u64 = 100_000;

pub(super) fn linux(spec: &Spec, stage: Stage<'_>, network: bool, facts: &Facts) -> Value {
    let mut linux = Map::new();
    let mut put = |name: &str, value: Value| drop(linux.insert(name.to_owned(), value));
    put("namespaces", namespaces(spec, stage, network));
    if let Some(name) = &spec.cgroup {
        put("cgroupsPath", json!(format!("/{name}")));
    }
    let mut limits = resources(&spec.resources);
    limits["devices"] = device_rules(spec);
    put("resources", limits);
    if !facts.devices.is_empty() {
        let devices: Vec<Value> = facts.devices.iter().map(device).collect();
        put("devices", json!(devices));
    }
    if !spec.sysctls.is_empty() {
        let pairs = spec.sysctls.iter();
        let pairs = pairs.map(|(name, value)| (name.clone(), json!(value)));
        put("sysctl", Value::Object(pairs.collect()));
    }
    if let Some(seccomp) = &facts.seccomp {
        put("seccomp", seccomp.clone());
    }
    if spec.mask_paths {
        put("maskedPaths", json!(facts.masked));
        put("readonlyPaths", json!(READ_ONLY));
    }
    put("rootfsPropagation", json!(propagation(spec)));
    Value::Object(linux)
}

/// What mounts that hear of each other need of the root.
fn propagation(spec: &Spec) -> &'static str {
    let has = |kind: &str| {
        spec.mounts.iter().any(|mount| match &mount.kind {
            MountKind::Bind { propagation, .. } => propagation
                .as_deref()
                .is_some_and(|name| name.trim_start_matches('r') == kind),
            _ => false,
        })
    };
    if has("shared") { "shared" } else { "slave" }
}

fn namespaces(spec: &Spec, stage: Stage<'_>, network: bool) -> Value {
    let mut list = vec![json!({ "type": "mount" })];
    let particulars = &spec.particulars;
    let mut add = |kind: &str, which: Namespace| match which {
        Namespace::Own => list.push(json!({ "type": kind })),
        Namespace::Host => {}
        Namespace::Of(pid) => {
            list.push(json!({ "type": kind, "path": format!("/proc/{pid}/ns/{kind}") }));
        }
    };
    add("pid", particulars.processes);
    add("ipc", particulars.ipc);
    if spec.hostname.is_some() {
        add("uts", Namespace::Own);
    }
    if !particulars.host_cgroups {
        add("cgroup", Namespace::Own);
    }
    match spec.network {
        NetworkNamespace::Host => {}
        NetworkNamespace::Passed if network => {
            list.push(json!({ "type": "network", "path": stage.network() }));
        }
        NetworkNamespace::Isolated | NetworkNamespace::Passed => {
            list.push(json!({ "type": "network" }));
        }
    }
    Value::Array(list)
}

fn device(device: &Device) -> Value {
    let mut value = json!({
        "path": device.path,
        "type": device.kind.to_string(),
        "fileMode": device.mode & 0o7777,
        "uid": device.uid,
        "gid": device.gid,
    });
    // A pipe has no numbers.
    if device.kind != 'p' {
        value["major"] = json!(device.major);
        value["minor"] = json!(device.minor);
    }
    value
}

/// The rules of the device controller: nothing but what is named.
fn device_rules(spec: &Spec) -> Value {
    let Some(rules) = &spec.resources.devices else {
        let all = spec.particulars.host_devices;
        return json!([{ "allow": all, "access": "rwm" }]);
    };
    let mut list = vec![json!({ "allow": false, "access": "rwm" })];
    list.extend(rules.iter().filter_map(|rule| device_rule(rule)));
    Value::Array(list)
}

/// `c 1:3 rwm`
fn device_rule(rule: &str) -> Option<Value> {
    let mut fields = rule.split(' ');
    let (kind, numbers, access) = (fields.next()?, fields.next()?, fields.next()?);
    let (major, minor) = numbers.split_once(':')?;
    let mut value = json!({ "allow": true, "type": kind, "access": access });
    for (name, number) in [("major", major), ("minor", minor)] {
        if let Ok(number) = number.parse::<i64>() {
            value[name] = json!(number);
        }
    }
    Some(value)
}

/// Limits as `linux.resources` has them, without rules for devices.
pub(in crate::sandbox) fn resources(limits: &ResourceLimits) -> Value {
    let parts = [
        ("memory", memory(limits)),
        ("cpu", cpu(limits)),
        ("pids", pids(limits)),
        ("blockIO", block_io(limits)),
    ];
    let filled = parts.into_iter().filter(|(_, part)| !part.is_empty());
    let filled = filled.map(|(name, part)| (name.to_owned(), Value::Object(part)));
    Value::Object(filled.collect())
}

type Part = Map<String, Value>;

fn put<T: Into<Value>>(part: &mut Part, name: &str, value: Option<T>) {
    if let Some(value) = value {
        part.insert(name.to_owned(), value.into());
    }
}

/// A number of bytes or processes; -1 stands for any.
fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(-1)
}

fn memory(limits: &ResourceLimits) -> Part {
    let mut part = Part::new();
    put(&mut part, "limit", limits.memory_bytes.map(bound));
    let reservation = limits.memory_reservation_bytes;
    put(&mut part, "reservation", reservation.map(bound));
    // As much swap as memory where nothing is said of it, as in Docker.
    let swap = limits
        .memory_swap_bytes
        .or(limits.memory_bytes.map(|bytes| bytes.saturating_mul(2)));
    put(&mut part, "swap", swap.map(bound));
    put(&mut part, "swappiness", limits.memory_swappiness);
    let disabled = limits.oom_kill_disable.then_some(true);
    put(&mut part, "disableOOMKiller", disabled);
    part
}

fn cpu(limits: &ResourceLimits) -> Part {
    let mut part = Part::new();
    put(&mut part, "shares", limits.cpu_shares);
    if let Some(nano) = limits.nano_cpus {
        let period = limits.cpu_period.unwrap_or(CPU_PERIOD_MICROSECONDS);
        let quota = u128::from(nano) * u128::from(period) / 1_000_000_000;
        let quota = i64::try_from(quota).unwrap_or(i64::MAX);
        put(&mut part, "quota", Some(quota.max(1_000)));
        put(&mut part, "period", Some(period));
    } else {
        put(&mut part, "quota", limits.cpu_quota);
        put(&mut part, "period", limits.cpu_period);
    }
    put(&mut part, "realtimeRuntime", limits.cpu_realtime_runtime);
    put(&mut part, "realtimePeriod", limits.cpu_realtime_period);
    put(&mut part, "cpus", limits.cpuset_cpus.clone());
    put(&mut part, "mems", limits.cpuset_mems.clone());
    part
}

fn pids(limits: &ResourceLimits) -> Part {
    let mut part = Part::new();
    put(&mut part, "limit", limits.pids.map(bound));
    part
}

fn block_io(limits: &ResourceLimits) -> Part {
    let mut part = Part::new();
    put(&mut part, "weight", limits.blkio_weight);
    for (name, kind) in [
        ("weightDevice", RateKind::Weight),
        ("throttleReadBpsDevice", RateKind::ReadBytes),
        ("throttleWriteBpsDevice", RateKind::WriteBytes),
        ("throttleReadIOPSDevice", RateKind::ReadOperations),
        ("throttleWriteIOPSDevice", RateKind::WriteOperations),
    ] {
        let key = if kind == RateKind::Weight {
            "weight"
        } else {
            "rate"
        };
        let rates = limits.blkio_devices.iter().filter(|rate| rate.kind == kind);
        let rates: Vec<Value> = rates
            .map(|rate| json!({ "major": rate.major, "minor": rate.minor, key: rate.value }))
            .collect();
        put(&mut part, name, (!rates.is_empty()).then_some(rates));
    }
    part
}
