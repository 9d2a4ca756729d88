//! A container as Docker's `inspect` shows it.

mod host;
mod network;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::dir::Dir;
use super::health::ProbeResult;
use super::record::{AnonymousVolume, Record, State, Status};
use super::request::{MountRequest, Request};
use super::{Error, bundle, find, ports, volumes};
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
        "LogPath": if request.log.driver == "none" { String::new() } else { file("log") },
        "Name": format!("/{}", row.name),
        "RestartCount": state.restarts,
        "Driver": "overlayfs",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host::host_config(&row.name, request),
        "GraphDriver": {
            "Name": "overlayfs",
            "Data": { "UpperDir": file("fs"), "WorkDir": file("work") },
        },
        "Mounts": mounts(store, &dir, &record),
        "Config": config(&row, request),
        "NetworkSettings": network::network_settings(&row, request, &state, &dir.endpoints(&record)?),
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
    let mut value = json!({
        "Status": state.status.text(),
        "Running": state.is_running(),
        "Paused": state.status == Status::Paused,
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.out_of_memory,
        "Dead": state.status == Status::Dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started_at),
        "FinishedAt": time(state.finished_at),
    });
    if let Some(health) = &state.health {
        let result = |result: &ProbeResult| {
            json!({
                "Start": time(Some(result.start)),
                "End": time(Some(result.end)),
                "ExitCode": result.code,
                "Output": result.output,
            })
        };
        let results: Vec<Value> = health.results.iter().map(result).collect();
        value["Health"] = json!({
            "Status": health.status.text(),
            "FailingStreak": health.failing_streak,
            "Log": results,
        });
    }
    value
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
            let source = volumes::anonymous(store.paths(), dir, volume)
                .display()
                .to_string();
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
            MountRequest::Tmpfs {
                target, read_only, ..
            } => Some(value("tmpfs", "", String::new(), target, *read_only, "")),
            MountRequest::Image { image, target, .. } => {
                Some(value("image", "", image.clone(), target, true, ""))
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
        "Domainname": request.domain_name.as_deref().unwrap_or_default(),
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
    if let Some(check) = &request.health.check {
        config["Healthcheck"] = json!(check);
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

/// Adds to the list under a key.
fn push(map: &mut Map<String, Value>, key: String, value: Value) {
    match map.entry(key).or_insert_with(|| Value::Array(Vec::new())) {
        Value::Array(list) => list.push(value),
        other => *other = Value::Array(vec![value]),
    }
}
