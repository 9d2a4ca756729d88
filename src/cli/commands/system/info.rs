//! `info`, `system info`

use std::path::Path;

use rbuild::engine::{Config, ContainerFilter, Engine, ImageFilter, Status};
use rbuild::oci::Platform;
use rbuild::sys::cgroup::Driver;
use serde_json::{Value, json};

use crate::cli::format;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show where data lives, how much there is, and what the machine offers
#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// `json` or a Go template
    #[arg(short, long)]
    format: Option<String>,
}

/// `info`, `system info`
pub(crate) fn info(
    args: &InfoArgs,
    config: &Config,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let document = document(config, engine)?;
    if let Some(format) = args.format.as_deref().filter(|format| !format.is_empty()) {
        format::document(output, format, &document)?;
        return Ok(0);
    }
    for line in lines(&document) {
        output.line(line)?;
    }
    Ok(0)
}

/// Under Docker's keys.
///
/// Source: Docker Engine API 1.51, "SystemInfo".
fn document(config: &Config, engine: &Engine) -> Result<Value, Failure> {
    let all = ContainerFilter {
        all: true,
        ..ContainerFilter::default()
    };
    let containers = engine.containers(&all)?;
    let running = containers
        .iter()
        .filter(|container| container.state == Status::Running)
        .count();
    let paused = containers
        .iter()
        .filter(|container| container.state.text() == "paused")
        .count();
    let images = engine.images(&ImageFilter::default())?.len();
    let mut document = json!({
        "ID": config.data,
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": containers.len() - running - paused,
        "Images": images,
        "Driver": "overlay2",
        "DriverStatus": [],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": null,
            "Log": ["json-file", "none"],
        },
        "MemoryLimit": true,
        "SwapLimit": true,
        "CpuCfsPeriod": true,
        "CpuCfsQuota": true,
        "CPUShares": true,
        "CPUSet": true,
        "PidsLimit": true,
    });
    for part in [machine(config), program(), offers(engine)?] {
        if let (Value::Object(document), Value::Object(part)) = (&mut document, part) {
            document.extend(part);
        }
    }
    Ok(document)
}

/// What the machine offers.
fn machine(config: &Config) -> Value {
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let host = Platform::host();
    let cgroups = if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        "2"
    } else {
        "1"
    };
    json!({
        "IPv4Forwarding": true,
        "Debug": false,
        "OomKillDisable": false,
        "LoggingDriver": "json-file",
        "CgroupDriver": Driver::detect().name(),
        "CgroupVersion": cgroups,
        "KernelVersion": text(system.release()),
        "OperatingSystem": operating_system(),
        "OSVersion": "",
        "OSType": host.os,
        "Architecture": text(system.machine()),
        "IndexServerAddress": "https://index.docker.io/v1/",
        "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "MemTotal": memory(),
        "DockerRootDir": config.data,
        "HttpProxy": proxy(config, "HTTP_PROXY"),
        "HttpsProxy": proxy(config, "HTTPS_PROXY"),
        "NoProxy": proxy(config, "NO_PROXY"),
        "Name": text(system.nodename()),
        "Labels": [],
        "ExperimentalBuild": false,
    })
}

/// What this program is.
fn program() -> Value {
    json!({
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Swarm": { "LocalNodeState": "inactive" },
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "rbuild-init",
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "Warnings": null,
        "ClientInfo": {
            "Debug": false,
            "Version": env!("CARGO_PKG_VERSION"),
            "Context": "default",
            "Plugins": [],
        },
    })
}

fn lines(document: &Value) -> Vec<String> {
    let text = |member: &str| match &document[member] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let list = |kind: &str| -> String {
        let names = document["Plugins"][kind].as_array().into_iter().flatten();
        let names: Vec<&str> = names.filter_map(Value::as_str).collect();
        names.join(" ")
    };
    let memory = document["MemTotal"].as_u64().unwrap_or_default();
    vec![
        "Client:".to_owned(),
        format!(" Version:    {}", text("ServerVersion")),
        " Context:    default".to_owned(),
        " Debug Mode: false".to_owned(),
        String::new(),
        "Server:".to_owned(),
        format!(" Containers: {}", text("Containers")),
        format!("  Running: {}", text("ContainersRunning")),
        format!("  Paused: {}", text("ContainersPaused")),
        format!("  Stopped: {}", text("ContainersStopped")),
        format!(" Images: {}", text("Images")),
        format!(" Server Version: {}", text("ServerVersion")),
        format!(" Storage Driver: {}", text("Driver")),
        format!(" Logging Driver: {}", text("LoggingDriver")),
        format!(" Cgroup Driver: {}", text("CgroupDriver")),
        format!(" Cgroup Version: {}", text("CgroupVersion")),
        " Plugins:".to_owned(),
        format!("  Volume: {}", list("Volume")),
        format!("  Network: {}", list("Network")),
        format!("  Log: {}", list("Log")),
        " Swarm: inactive".to_owned(),
        " CDI spec directories:".to_owned(),
        directories(document),
        format!(" Runtimes: {}", runtimes(document)),
        format!(" Default Runtime: {}", text("DefaultRuntime")),
        format!(" Init Binary: {}", text("InitBinary")),
        " Security Options:".to_owned(),
        "  seccomp".to_owned(),
        "   Profile: builtin".to_owned(),
        "  cgroupns".to_owned(),
        format!(" Kernel Version: {}", text("KernelVersion")),
        format!(" Operating System: {}", text("OperatingSystem")),
        format!(" OSType: {}", text("OSType")),
        format!(" Architecture: {}", text("Architecture")),
        format!(" CPUs: {}", text("NCPU")),
        format!(" Total Memory: {}", human::binary_size(memory)),
        format!(" Name: {}", text("Name")),
        format!(" Docker Root Dir: {}", text("DockerRootDir")),
        " Debug Mode: false".to_owned(),
        " Experimental: false".to_owned(),
        " Live Restore Enabled: true".to_owned(),
    ]
}

/// What it offers containers: runtimes, and devices that vendors describe.
fn offers(engine: &Engine) -> Result<Value, Failure> {
    let offers = engine.offers()?;
    let runtimes = offers.runtimes().into_iter().map(|(name, program)| {
        let shown = match program {
            None => json!({}),
            Some(program) if program.args.is_empty() => json!({ "path": program.path }),
            Some(program) => json!({ "path": program.path, "runtimeArgs": program.args }),
        };
        (name, shown)
    });
    let devices = offers.devices();
    let devices = devices.names();
    let devices: Vec<Value> = devices
        .map(|name| json!({ "Source": "cdi", "ID": name }))
        .collect();
    Ok(json!({
        "Runtimes": Value::Object(runtimes.collect()),
        "DefaultRuntime": offers.default_runtime(),
        "CDISpecDirs": offers.directories(),
        "DiscoveredDevices": devices,
    }))
}

fn runtimes(document: &Value) -> String {
    let names = document["Runtimes"].as_object().into_iter().flatten();
    let names: Vec<&str> = names.map(|(name, _)| name.as_str()).collect();
    names.join(" ")
}

fn directories(document: &Value) -> String {
    let list = document["CDISpecDirs"].as_array().into_iter().flatten();
    let lines = list.filter_map(Value::as_str).map(|dir| format!("  {dir}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(
        || "Linux".to_owned(),
        |name| name.trim_matches('"').to_owned(),
    )
}

/// Bytes of memory of the machine.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let number = line.and_then(|line| {
        line.trim()
            .trim_end_matches(" kB")
            .trim()
            .parse::<u64>()
            .ok()
    });
    number.unwrap_or_default() * 1024
}

/// A proxy of the environment, without the password that may be in it.
fn proxy(config: &Config, name: &str) -> String {
    let value = |name: &str| config.environment.get(name).cloned();
    let text = value(name)
        .or_else(|| value(&name.to_lowercase()))
        .unwrap_or_default();
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if at > scheme => {
            format!("{}xxxxx:xxxxx{}", &text[..scheme + 3], &text[at..])
        }
        _ => text,
    }
}
