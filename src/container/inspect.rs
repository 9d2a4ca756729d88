//! A container as Docker's `inspect` shows it.

use std::ops::RangeInclusive;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::dir::Dir;
use super::record::{AnonymousVolume, Record, State};
use super::request::{MountRequest, NetworkMode, Request, Ulimit};
use super::{Error, bundle, find, list, ports, volumes};
use crate::network::{PortForward, PortPublish};
use crate::store::{ContainerRow, Store};

/// What Docker writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Everything about the container `text`, under Docker's keys.
///
/// Source: Docker Engine API 1.47, `ContainerInspectResponse`.
pub fn inspect(store: &Store, text: &str) -> Result<Value, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let record = dir.record()?;
    let state = dir.state()?;
    let request = &record.request;
    let argv = request.argv();
    let (path, arguments) = argv
        .split_first()
        .map_or(("", &[][..]), |(path, rest)| (path, rest));
    let file = |name: &str| dir.path(name).display().to_string();
    Ok(json!({
        "Id": row.id,
        "Created": time(Some(row.created_at)),
        "Path": path,
        "Args": arguments,
        "State": state_value(&state),
        "Image": record.image_id,
        "ResolvConfPath": file("resolv.conf"),
        "HostnamePath": file("hostname"),
        "HostsPath": file("hosts"),
        "LogPath": file("log"),
        "Name": format!("/{}", row.name),
        "RestartCount": 0,
        "Driver": "overlayfs",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host_config(request),
        "GraphDriver": {
            "Name": "overlayfs",
            "Data": { "UpperDir": file("fs"), "WorkDir": file("work") },
        },
        "Mounts": mounts(store, &dir, &record),
        "Config": config(&row, request),
        "NetworkSettings": network_settings(&row, request, &state),
    }))
}

/// The ports that are carried to the running container `text`.
pub fn published(store: &Store, text: &str) -> Result<Vec<PortForward>, Error> {
    let row = find(store, text)?;
    Ok(Dir::new(store.paths(), &row.id).state()?.ports)
}

fn time(nanoseconds: Option<i64>) -> String {
    nanoseconds
        .and_then(|time| Timestamp::from_nanosecond(i128::from(time)).ok())
        .map_or_else(|| NEVER.to_owned(), |time| time.to_string())
}

fn state_value(state: &State) -> Value {
    json!({
        "Status": state.status.text(),
        "Running": state.is_running(),
        "Paused": false,
        "Restarting": false,
        "OOMKilled": state.out_of_memory,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started_at),
        "FinishedAt": time(state.finished_at),
    })
}

/// Docker writes `null` where nothing was said.
fn or_null(list: &[String]) -> Value {
    if list.is_empty() {
        Value::Null
    } else {
        json!(list)
    }
}

fn host_config(request: &Request) -> Value {
    let hosts: Vec<String> = request
        .extra_hosts
        .iter()
        .map(|(name, address)| format!("{name}:{address}"))
        .collect();
    let tmpfs: Map<String, Value> = request
        .mounts
        .iter()
        .filter_map(|mount| match mount {
            MountRequest::Tmpfs { target, options } => Some((target.clone(), json!(options))),
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

fn push(map: &mut Map<String, Value>, key: String, value: Value) {
    match map.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(list) => list.push(value),
        other => *other = Value::Array(vec![value]),
    }
}

fn mounts(store: &Store, dir: &Dir, record: &Record) -> Vec<Value> {
    let value = |kind: &str,
                 name: &str,
                 source: String,
                 target: &str,
                 read_only: bool,
                 propagation: &str| {
        let mut value = json!({
            "Type": kind,
            "Source": source,
            "Destination": target,
            "Mode": if read_only { "ro" } else { "" },
            "RW": !read_only,
            "Propagation": propagation,
        });
        if kind == "volume" {
            value["Name"] = json!(name);
            value["Driver"] = json!("local");
        }
        value
    };
    let mut list: Vec<Value> = record
        .volumes
        .iter()
        .map(|volume| {
            let source = volumes::anonymous(dir, volume).display().to_string();
            let AnonymousVolume {
                name,
                target,
                read_only,
            } = volume;
            value("volume", name, source, target, *read_only, "")
        })
        .collect();
    for mount in &record.request.mounts {
        list.extend(match mount {
            MountRequest::Bind {
                source,
                target,
                read_only,
                propagation,
                ..
            } => {
                let propagation = propagation.as_deref().unwrap_or("rprivate");
                Some(value(
                    "bind",
                    "",
                    source.display().to_string(),
                    target,
                    *read_only,
                    propagation,
                ))
            }
            MountRequest::Volume {
                name: Some(name),
                target,
                read_only,
                ..
            } => {
                let source = volumes::named(store.paths(), name).display().to_string();
                Some(value("volume", name, source, target, *read_only, ""))
            }
            MountRequest::Volume { name: None, .. } => None,
            MountRequest::Tmpfs { target, .. } => {
                Some(value("tmpfs", "", String::new(), target, false, ""))
            }
        });
    }
    list
}

fn config(row: &ContainerRow, request: &Request) -> Value {
    let [stdin, stdout, stderr] = request.attach;
    let set = |names: &[String]| -> Value {
        let names = names.iter().map(|name| (name.clone(), json!({})));
        Value::Object(names.collect())
    };
    let mut config = json!({
        "Hostname": request.hostname.clone().unwrap_or_else(|| row.id.chars().take(12).collect()),
        "Domainname": "",
        "User": request.user,
        "AttachStdin": stdin,
        "AttachStdout": stdout,
        "AttachStderr": stderr,
        "Tty": request.tty,
        "OpenStdin": request.open_stdin,
        "StdinOnce": request.stdin_once,
        "Env": with_path(request),
        "Cmd": request.command,
        "Image": request.image,
        "Volumes": if request.volumes.is_empty() { Value::Null } else { set(&request.volumes) },
        "WorkingDir": request.working_dir,
        "Entrypoint": request.entrypoint.as_ref().filter(|words| !words.is_empty()),
        "OnBuild": null,
        "Labels": request.labels,
    });
    let exposed: Vec<String> = exposed_ports(request);
    if !exposed.is_empty() {
        config["ExposedPorts"] = set(&exposed);
    }
    if let Some(signal) = &request.stop_signal {
        config["StopSignal"] = json!(signal);
    }
    if let Some(timeout) = request.stop_timeout {
        config["StopTimeout"] = json!(timeout);
    }
    config
}

/// The variables without those that every container gets for itself.
fn with_path(request: &Request) -> Vec<String> {
    let all = bundle::environment(request, "", "");
    all.into_iter()
        .filter(|variable| request.env.contains(variable) || variable.starts_with("PATH="))
        .collect()
}

fn exposed_ports(request: &Request) -> Vec<String> {
    let parsed = request
        .publish
        .iter()
        .filter_map(|text| PortPublish::parse(text).ok());
    let published = parsed
        .flatten()
        .map(|port| format!("{}/{}", port.container_port, port.protocol));
    let told = request
        .expose
        .iter()
        .flat_map(|text| ports::exposed(text))
        .map(|(port, protocol)| format!("{port}/{protocol}"));
    let mut all: Vec<String> = told.chain(published).collect();
    all.sort_unstable();
    all.dedup();
    all
}

fn network_settings(row: &ContainerRow, request: &Request, state: &State) -> Value {
    let mut forwarded = Map::new();
    if state.is_running() {
        for port in exposed_ports(request) {
            forwarded.insert(port, Value::Null);
        }
    }
    for forward in &state.ports {
        let key = format!("{}/{}", forward.container_port, forward.protocol);
        let binding = json!({
            "HostIp": forward.host.to_string(),
            "HostPort": forward.host_port.to_string(),
        });
        push(&mut forwarded, key, binding);
    }
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let place = state.network.as_ref();
    let address = place
        .map(|place| place.address.to_string())
        .unwrap_or_default();
    let gateway = place
        .map(|place| place.gateway.to_string())
        .unwrap_or_default();
    let prefix = place.map_or(0, |place| place.prefix);
    let mac = place.map(|place| mac(place.mac)).unwrap_or_default();
    let mut networks = Map::new();
    if !matches!(request.network, NetworkMode::Container(_)) {
        networks.insert(
            list::network_name(&request.network),
            json!({
                "IPAMConfig": null,
                "Links": null,
                "Aliases": null,
                "MacAddress": mac,
                "DriverOpts": null,
                "NetworkID": "",
                "EndpointID": if state.is_running() { row.id.as_str() } else { "" },
                "Gateway": gateway,
                "IPAddress": address,
                "IPPrefixLen": prefix,
                "IPv6Gateway": "",
                "GlobalIPv6Address": "",
                "GlobalIPv6PrefixLen": 0,
                "DNSNames": null,
            }),
        );
    }
    json!({
        "Bridge": "",
        "SandboxID": if state.is_running() { row.id.as_str() } else { "" },
        "SandboxKey": match state.pid {
            0 => String::new(),
            pid => format!("/proc/{pid}/ns/net"),
        },
        "Ports": forwarded,
        "Gateway": gateway,
        "IPAddress": address,
        "IPPrefixLen": prefix,
        "MacAddress": mac,
        "Networks": networks,
    })
}
