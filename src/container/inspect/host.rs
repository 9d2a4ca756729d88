//! `HostConfig`: what was asked of the host.

use std::ops::RangeInclusive;

use serde_json::{Map, Value, json};

use super::push;
use crate::container::request::{MountRequest, Request, Ulimit};
use crate::network::PortPublish;

pub(super) fn host_config(request: &Request) -> Value {
    let hosts: Vec<String> = request
        .extra_hosts
        .iter()
        .map(|(name, address)| format!("{name}:{address}"))
        .collect();
    let tmpfs: Map<String, Value> = request
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            MountRequest::Tmpfs {
                target, options, ..
            } => Some((target.clone(), json!(options))),
            _ => None,
        })
        .collect();
    let mut config = json!({
        "Binds": or_null(&binds(request)),
        "ContainerIDFile": "",
        "LogConfig": { "Type": "json-file", "Config": {} },
        "NetworkMode": request.network.text(),
        "PortBindings": port_bindings(request),
        "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
        "AutoRemove": request.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": null,
        "ConsoleSize": [0, 0],
        "Dns": request.dns,
        "DnsOptions": request.dns_options,
        "DnsSearch": request.dns_search,
        "ExtraHosts": or_null(&hosts),
        "GroupAdd": or_null(&request.group_add),
        "Links": null,
        "PublishAllPorts": request.publish_all,
        "ReadonlyRootfs": request.read_only,
        "Tmpfs": tmpfs,
        "Runtime": "rbuild",
    });
    for part in [isolation(request), limits(request)] {
        if let (Value::Object(config), Value::Object(part)) = (&mut config, part) {
            config.extend(part);
        }
    }
    config
}

fn isolation(request: &Request) -> Value {
    let masked = !request.privileged && !request.has_security_option("systempaths=unconfined");
    json!({
        "CapAdd": or_null(&request.cap_add),
        "CapDrop": or_null(&request.cap_drop),
        "CgroupnsMode": "private",
        "IpcMode": "private",
        "Cgroup": "",
        "PidMode": "",
        "Privileged": request.privileged,
        "SecurityOpt": or_null(&request.security_opt),
        "Sysctls": request.sysctls,
        "UTSMode": "",
        "UsernsMode": "",
        "Isolation": "",
        "MaskedPaths": if masked { json!(MASKED) } else { Value::Null },
        "ReadonlyPaths": if masked { json!(READ_ONLY) } else { Value::Null },
    })
}

fn limits(request: &Request) -> Value {
    let ulimit = |ulimit: &Ulimit| {
        let (soft, hard) = (limit(ulimit.limit.soft), limit(ulimit.limit.hard));
        json!({ "Name": ulimit.name, "Soft": soft, "Hard": hard })
    };
    let ulimits: Vec<Value> = request.ulimits.iter().map(ulimit).collect();
    json!({
        "OomScoreAdj": 0,
        "ShmSize": request.shm_bytes,
        "CpuShares": 0,
        "Memory": request.memory_bytes.unwrap_or(0),
        "NanoCpus": request.nano_cpus.unwrap_or(0),
        "CgroupParent": "",
        "CpuPeriod": 0,
        "CpuQuota": 0,
        "CpusetCpus": "",
        "CpusetMems": "",
        "Devices": [],
        "MemoryReservation": 0,
        "MemorySwap": request.memory_bytes.map_or(0, |bytes| bytes.saturating_mul(2)),
        "MemorySwappiness": null,
        "OomKillDisable": null,
        "PidsLimit": request.pids_limit,
        "Ulimits": ulimits,
    })
}

/// The paths of `/proc` and `/sys` that a container does not see.
///
/// Source: moby `daemon/pkg/oci/defaults.go`.
const MASKED: [&str; 11] = [
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

fn binds(request: &Request) -> Vec<String> {
    let suffix = |read_only: bool| if read_only { ":ro" } else { "" };
    request
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            MountRequest::Bind {
                source,
                target,
                read_only,
                create: true,
                ..
            } => Some(format!(
                "{}:{target}{}",
                source.display(),
                suffix(*read_only)
            )),
            MountRequest::Volume {
                name: Some(name),
                target,
                read_only,
                ..
            } => Some(format!("{name}:{target}{}", suffix(*read_only))),
            _ => None,
        })
        .collect()
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
