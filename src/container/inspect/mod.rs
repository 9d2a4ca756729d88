//! A container as Docker's `inspect` shows it.

mod host;
mod network;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::dir::Dir;
use super::health::ProbeResult;
use super::record::{AnonymousVolume, Record, State, Status};
use super::request::{MountRequest, NetworkMode, Request};
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
    // The files of a start are there from the first one on.
    let started = |name: &str| {
        let there = dir.path(name).exists();
        if there { file(name) } else { String::new() }
    };
    Ok(json!({
        "Id": row.id,
        "Created": time(Some(row.created_at)),
        "Path": path,
        "Args": arguments,
        "State": state_value(&state),
        "Image": record.image_id,
        "ResolvConfPath": started("resolv.conf"),
        "HostnamePath": started("hostname"),
        "HostsPath": started("hosts"),
        "LogPath": if request.log.driver == "none" { String::new() } else { started("log") },
        "Name": format!("/{}", row.name),
        "RestartCount": state.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": null,
        "HostConfig": host::host_config(&row.name, request),
        "GraphDriver": {
            "Name": "overlay2",
            "Data": {
                "ID": row.id,
                "LowerDir": lower_dirs(store, &row)?,
                // Mounted for the container alone: this is where others see it.
                "MergedDir": match state.pid {
                    0 => String::new(),
                    pid => format!("/proc/{pid}/root"),
                },
                "UpperDir": file("fs"),
                "WorkDir": file("work"),
            },
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

/// The directories of the image's layers, top first.
fn lower_dirs(store: &Store, row: &ContainerRow) -> Result<String, Error> {
    let dirs = crate::snapshot::layer_dirs(store, row.snapshot)?;
    let texts: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
    Ok(texts.join(":"))
}

/// What was written behind the target of the `-v` with this target; Docker says `z`
/// of a volume that nothing was said of.
fn mode(request: &Request, target: &str, is_volume: bool) -> String {
    let same = |text: &str| text.trim_end_matches('/') == target;
    let written = request.binds.iter().find_map(|bind| {
        let mut parts = bind.splitn(3, ':');
        let (_, own) = (parts.next(), parts.next()?);
        same(own).then(|| parts.next().unwrap_or_default())
    });
    let long = || request.long_mounts.iter().any(|long| same(long));
    match written {
        Some("") if is_volume => "z".to_owned(),
        Some(mode) => mode.to_owned(),
        None if is_volume && long() => "z".to_owned(),
        None => String::new(),
    }
}

fn mounts(store: &Store, dir: &Dir, record: &Record) -> Vec<Value> {
    let value = |kind: &str,
                 name: &str,
                 source: String,
                 target: &str,
                 read_only: bool,
                 propagation: &str| {
        let is_volume = kind == "volume";
        let mut value = json!({ "Type": kind });
        if is_volume {
            value["Name"] = json!(name);
        }
        value["Source"] = json!(source);
        value["Destination"] = json!(target);
        if is_volume {
            value["Driver"] = json!("local");
        }
        value["Mode"] = json!(mode(&record.request, target, is_volume));
        value["RW"] = json!(!read_only);
        value["Propagation"] = json!(propagation);
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
            MountRequest::Tmpfs { target, .. } if record.request.tmpfs.contains_key(target) => None,
            MountRequest::Tmpfs {
                target, read_only, ..
            } => Some(value("tmpfs", "", String::new(), target, *read_only, "")),
            MountRequest::Image { image, target, .. } => {
                Some(value("image", "", image.clone(), target, true, ""))
            }
        });
    }
    list.sort_by_key(|mount| mount["Destination"].as_str().map(str::to_owned));
    list
}

fn config(row: &ContainerRow, request: &Request) -> Value {
    let [stdin, stdout, stderr] = request.attach;
    let set = |names: &[String]| -> Value {
        let names = names.iter().map(|name| (name.clone(), json!({})));
        Value::Object(names.collect())
    };
    let mut config = json!({
        "Hostname": hostname(row, request),
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
        "Volumes": volumes_config(request, &set),
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

/// The paths that get an anonymous volume, the image's and those of `-v /path`.
fn volumes_config(request: &Request, set: &dyn Fn(&[String]) -> Value) -> Value {
    let own = request.binds.iter().filter(|bind| !bind.contains(':'));
    let all: Vec<String> = request.volumes.iter().chain(own).cloned().collect();
    if all.is_empty() {
        return Value::Null;
    }
    set(&all)
}

/// The host name: its own, this host's for one that shares it, else the short ID.
fn hostname(row: &ContainerRow, request: &Request) -> String {
    if let Some(name) = &request.hostname {
        return name.clone();
    }
    if request.network == NetworkMode::Host || request.uts_mode == "host" {
        let host = rustix::system::uname();
        return host.nodename().to_string_lossy().into_owned();
    }
    row.id.chars().take(12).collect()
}

/// The variables without those that every container gets for itself.
fn with_path(request: &Request) -> Vec<String> {
    let mut env = request.env.clone();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.push(bundle::DEFAULT_PATH.to_owned());
    }
    env
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
