//! `HostConfig`: what was asked of the host.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::push;
use crate::container::capabilities;
use crate::container::machine::BUILT_IN;
use crate::container::request::{DeviceRequest, MountRequest, Request, Ulimit};
use crate::network::PortPublish;
use crate::sandbox::RateKind;

pub(super) fn host_config(owner: &str, request: &Request) -> Value {
    let hosts: Vec<String> = request
        .extra_hosts
        .iter()
        .map(|(name, address)| format!("{name}:{address}"))
        .collect();
    let (policy, retries) = request.restart.parts();
    let link = |text: &String| {
        let (name, alias) = text.split_once(':').unwrap_or((text, text));
        format!("/{name}:/{owner}/{alias}")
    };
    let links: Vec<String> = request.links.iter().map(link).collect();
    let binds = request.binds.iter().filter(|bind| bind.contains(':'));
    let binds: Vec<String> = binds.cloned().collect();
    let mut config = json!({
        "Binds": or_null(&binds),
        "ContainerIDFile": request.cid_file,
        "LogConfig": { "Type": request.log.driver, "Config": request.log.options },
        "NetworkMode": request.network.text(),
        "PortBindings": port_bindings(request),
        "RestartPolicy": { "Name": policy, "MaximumRetryCount": retries },
        "AutoRemove": request.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": or_null(&request.volumes_from),
        "ConsoleSize": [0, 0],
        "Dns": request.dns,
        "DnsOptions": request.dns_options,
        "DnsSearch": request.dns_search,
        "ExtraHosts": or_null(&hosts),
        "GroupAdd": or_null(&request.group_add),
        "Links": or_null(&links),
        "PublishAllPorts": request.publish_all,
        "ReadonlyRootfs": request.read_only,
        "Runtime": or(&request.runtime, BUILT_IN),
    });
    for part in [isolation(request), limits(request)] {
        if let (Value::Object(config), Value::Object(part)) = (&mut config, part) {
            config.extend(part);
        }
    }
    let mounts: Vec<Value> = request
        .mounts
        .iter()
        .filter_map(|m| long(request, m))
        .collect();
    // Docker leaves these out where nothing was said.
    for (key, value) in [
        ("Annotations", json!(request.annotations)),
        ("Sysctls", json!(request.sysctls)),
        ("Tmpfs", json!(request.tmpfs)),
        ("Mounts", json!(mounts)),
    ] {
        let said = value
            .as_object()
            .map(Map::len)
            .or(value.as_array().map(Vec::len));
        if said != Some(0) {
            config[key] = value;
        }
    }
    if request.init {
        config["Init"] = json!(true);
    }
    config
}

/// A mount of `--mount`, under Docker's keys.
fn long(request: &Request, mount: &MountRequest) -> Option<Value> {
    let target = mount.target();
    if !request.long_mounts.iter().any(|long| long == target) {
        return None;
    }
    let mut value = match mount {
        MountRequest::Bind {
            source,
            propagation,
            ..
        } => {
            let mut value = json!({ "Type": "bind", "Source": source, "Target": target });
            if let Some(propagation) = propagation {
                value["BindOptions"] = json!({ "Propagation": propagation });
            }
            value
        }
        MountRequest::Volume {
            name,
            copy,
            subpath,
            ..
        } => {
            let mut value = json!({ "Type": "volume" });
            if let Some(name) = name {
                value["Source"] = json!(name);
            }
            value["Target"] = json!(target);
            if !copy || subpath.is_some() {
                value["VolumeOptions"] = json!({ "NoCopy": !copy, "Subpath": subpath });
            }
            value
        }
        MountRequest::Tmpfs { options, .. } => {
            let option = |name: &str| {
                let mut words = options.split(',');
                words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
            };
            let mut value = json!({ "Type": "tmpfs", "Target": target });
            let size: Option<u64> = option("size").and_then(|size| size.parse().ok());
            if let Some(size) = size {
                value["TmpfsOptions"] = json!({ "SizeBytes": size });
            }
            value
        }
        MountRequest::Image { image, .. } => {
            json!({ "Type": "image", "Source": image, "Target": target })
        }
    };
    let read_only = match mount {
        MountRequest::Bind { read_only, .. }
        | MountRequest::Volume { read_only, .. }
        | MountRequest::Tmpfs { read_only, .. } => *read_only,
        MountRequest::Image { .. } => false,
    };
    if read_only {
        value["ReadOnly"] = json!(true);
    }
    Some(value)
}

fn isolation(request: &Request) -> Value {
    let masked = !request.privileged && !request.has_security_option("systempaths=unconfined");
    let mut security = request.security_opt.clone();
    let shares = request.pid_mode == "host" || request.ipc_mode == "host";
    let labelled = security.iter().any(|option| option.starts_with("label"));
    if (request.privileged || shares) && !labelled {
        security.push("label=disable".to_owned());
    }
    // Docker's own two ways of saying none.
    let none = if request.privileged {
        Value::Null
    } else {
        json!([])
    };
    let (hidden, open) = (none.clone(), none);
    json!({
        "CapAdd": or_null(&capabilities::normalized(&request.cap_add)),
        "CapDrop": or_null(&capabilities::normalized(&request.cap_drop)),
        "CgroupnsMode": or(&request.cgroupns_mode, "private"),
        "IpcMode": or(&request.ipc_mode, "private"),
        "Cgroup": "",
        "PidMode": request.pid_mode,
        "Privileged": request.privileged,
        "SecurityOpt": or_null(&security),
        "UTSMode": request.uts_mode,
        "UsernsMode": request.userns_mode,
        "Isolation": "",
        "MaskedPaths": if masked { json!(MASKED) } else { hidden },
        "ReadonlyPaths": if masked { json!(READ_ONLY) } else { open },
    })
}

fn limits(request: &Request) -> Value {
    let ulimit = |ulimit: &Ulimit| {
        let (soft, hard) = (limit(ulimit.limit.soft), limit(ulimit.limit.hard));
        json!({ "Name": ulimit.name, "Soft": soft, "Hard": hard })
    };
    let ulimits: Vec<Value> = request.ulimits.iter().map(ulimit).collect();
    let devices: Vec<Value> = request.devices.iter().map(device).collect();
    let limits = &request.resources;
    let swap = match (limits.memory_swap_bytes, limits.memory_bytes) {
        (Some(u64::MAX), _) => json!(-1),
        (Some(bytes), _) => json!(bytes),
        (None, memory) => json!(memory.map_or(0, |bytes| bytes.saturating_mul(2))),
    };
    let rates = |kind: RateKind| -> Vec<Value> {
        let rates = limits.blkio_devices.iter().filter(|rate| rate.kind == kind);
        let key = if kind == RateKind::Weight {
            "Weight"
        } else {
            "Rate"
        };
        rates
            .map(|rate| json!({ "Path": rate.path, key: rate.value }))
            .collect()
    };
    json!({
        "OomScoreAdj": request.oom_score_adj.unwrap_or(0),
        "ShmSize": request.shm_bytes,
        "CpuShares": limits.cpu_shares.unwrap_or(0),
        "Memory": limits.memory_bytes.unwrap_or(0),
        "NanoCpus": limits.nano_cpus.unwrap_or(0),
        "CgroupParent": request.cgroup_parent.as_deref().unwrap_or_default(),
        "BlkioWeight": limits.blkio_weight.unwrap_or(0),
        "BlkioWeightDevice": rates(RateKind::Weight),
        "BlkioDeviceReadBps": rates(RateKind::ReadBytes),
        "BlkioDeviceWriteBps": rates(RateKind::WriteBytes),
        "BlkioDeviceReadIOps": rates(RateKind::ReadOperations),
        "BlkioDeviceWriteIOps": rates(RateKind::WriteOperations),
        "CpuPeriod": limits.cpu_period.unwrap_or(0),
        "CpuQuota": limits.cpu_quota.unwrap_or(0),
        "CpuRealtimePeriod": limits.cpu_realtime_period.unwrap_or(0),
        "CpuRealtimeRuntime": limits.cpu_realtime_runtime.unwrap_or(0),
        "CpusetCpus": limits.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": limits.cpuset_mems.as_deref().unwrap_or_default(),
        "Devices": devices,
        "DeviceCgroupRules": or_null(&request.device_rules),
        "DeviceRequests": wishes(request),
        "MemoryReservation": limits.memory_reservation_bytes.unwrap_or(0),
        "MemorySwap": swap,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids.map(pids),
        "Ulimits": ulimits,
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
    })
}

fn device(device: &DeviceRequest) -> Value {
    json!({
        "PathOnHost": device.host,
        "PathInContainer": device.container,
        "CgroupPermissions": device.permissions,
    })
}

fn wishes(request: &Request) -> Value {
    let list = request.device_wishes.iter().map(|wish| {
        json!({
            "Driver": wish.driver,
            "Count": wish.count,
            "DeviceIDs": or_null(&wish.ids),
            "Capabilities": wish.capabilities,
            "Options": wish.options,
        })
    });
    let list: Vec<Value> = list.collect();
    if list.is_empty() {
        return Value::Null;
    }
    Value::Array(list)
}

fn or<'a>(text: &'a str, default: &'a str) -> &'a str {
    if text.is_empty() { default } else { text }
}

/// The paths of `/proc` and `/sys` that a container does not see.
///
/// Source: moby `daemon/pkg/oci/defaults.go`.
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// The paths of `/proc` that a container cannot write to; same source.
const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// A resource limit; -1 stands for none.
fn limit(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(-1)
}

/// A limit of processes; 0 stands for none.
fn pids(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(0)
}

fn port_bindings(request: &Request) -> Value {
    let mut bindings = Map::new();
    let parsed = request
        .publish
        .iter()
        .filter_map(|text| PortPublish::parse(text).ok());
    for port in parsed.flatten() {
        let key = format!("{}/{}", port.container_port, port.protocol);
        let binding = json!({
            "HostIp": port.host.map(|host| host.to_string()).unwrap_or_default(),
            "HostPort": port.host_port.as_ref().map(range).unwrap_or_default(),
        });
        push(&mut bindings, key, binding);
    }
    Value::Object(bindings)
}

/// `80` or `80-82`.
fn range(ports: &RangeInclusive<u16>) -> String {
    let (first, last) = (ports.start(), ports.end());
    if first == last {
        return first.to_string();
    }
    format!("{first}-{last}")
}

/// Docker writes `null` where nothing was said.
fn or_null(list: &[String]) -> Value {
    if list.is_empty() {
        Value::Null
    } else {
        json!(list)
    }
}
