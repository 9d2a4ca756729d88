//! Everything around a program that is made before it starts: its files, its
//! network, its mounts.

use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::super::Error;
use super::super::bundle::{self, Found};
use super::super::dir::Dir;
use super::super::protocol::StartOrder;
use super::super::record::Record;
use super::super::request::{NetworkMode, Request};
use super::mounts::user_mounts;
use super::network::{Network, read_text};
use crate::fs::At;
use crate::sandbox::{DeviceNode, Mount, MountKind, NetworkNamespace, Spec};
use crate::store::Paths;

fn namespace_kind(request: &Request) -> NetworkNamespace {
    match request.network {
        NetworkMode::Host => NetworkNamespace::Host,
        NetworkMode::None => NetworkNamespace::Isolated,
        NetworkMode::Bridge | NetworkMode::Named(_) | NetworkMode::Container(_) => {
            NetworkNamespace::Passed
        }
    }
}

/// Makes the specification of the container's sandbox, and the files that it mounts.
pub(super) fn prepare(
    order: &StartOrder,
    dir: &Dir,
    record: &Record,
    network: &Network,
    hostname: &str,
) -> Result<Spec, Error> {
    let request = &record.request;
    let paths = Paths::new(order.data.clone(), order.run.clone());
    let mut mounts = files(order, dir, request, network, hostname, &paths)?;
    mounts.extend(user_mounts(dir, record, &paths)?);
    mounts.extend(devices(request)?);
    mounts.extend(order.edits.mounts.iter().cloned());
    bundle::bundle(
        request,
        Found {
            id: order.id.clone(),
            account: order.account.clone(),
            lower: order.lower.clone(),
            upper: dir.path("fs"),
            work: dir.path("work"),
            mountpoint: paths.mnt(),
            mounts,
            hostname: hostname.to_owned(),
            network: namespace_kind(request),
            terminal: order.terminal,
            variables: order.links.variables.clone(),
            pid_of: order.pid_of,
            ipc_of: order.ipc_of,
            edits: order.edits.clone(),
        },
    )
}

/// The name that the container has for itself.
pub(super) fn hostname(
    order: &StartOrder,
    request: &Request,
    paths: &Paths,
) -> Result<String, Error> {
    if let Some(hostname) = &request.hostname {
        return Ok(hostname.clone());
    }
    if let Some((other, _)) = &order.network_of {
        let path = Dir::new(paths, other).path("hostname");
        return Ok(read_text(&path)?.trim().to_owned());
    }
    if request.network == NetworkMode::Host || request.uts_mode == "host" {
        let host = rustix::system::uname();
        return Ok(host.nodename().to_string_lossy().into_owned());
    }
    Ok(order.id.chars().take(12).collect())
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`. Containers that share a
/// network share the files.
fn files(
    order: &StartOrder,
    dir: &Dir,
    request: &Request,
    network: &Network,
    hostname: &str,
    paths: &Paths,
) -> Result<Vec<Mount>, Error> {
    let source = if let Some((other, _)) = &order.network_of {
        Dir::new(paths, other)
    } else {
        network.write_files(dir, request, hostname)?;
        dir.clone()
    };
    let names = ["hosts", "hostname", "resolv.conf"];
    let mount = |name: &str| bundle::own(source.path(name), &format!("/etc/{name}"), false);
    Ok(names.map(mount).to_vec())
}

/// The devices asked for: nodes of the container's own, with the owner and mode of
/// the host's. A directory stands for the devices in it.
fn devices(request: &Request) -> Result<Vec<Mount>, Error> {
    let mut mounts = Vec::new();
    for device in &request.devices {
        let target = Path::new(&device.container);
        let failed = |why: String| {
            Error::Invalid(format!(
                "error gathering device information while adding custom device \"{}\": {why}",
                device.host.display()
            ))
        };
        let meta = std::fs::metadata(&device.host);
        let meta = meta.map_err(|err| {
            failed(match err.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => err.to_string(),
            })
        })?;
        if request.privileged && device.host == target {
            continue;
        }
        if !meta.is_dir() {
            let node = node(&meta).ok_or_else(|| failed("not a device node".to_owned()))?;
            mounts.push(mount(node, target));
            continue;
        }
        for entry in std::fs::read_dir(&device.host).at("list", &device.host)? {
            let entry = entry.at("list", &device.host)?;
            let meta = entry.metadata().at("look at", entry.path())?;
            if let Some(node) = node(&meta) {
                mounts.push(mount(node, &target.join(entry.file_name())));
            }
        }
    }
    Ok(mounts)
}

fn mount(node: DeviceNode, target: &Path) -> Mount {
    Mount {
        kind: MountKind::Device(node),
        target: target.to_owned(),
        read_only: false,
    }
}

/// The device that a file of the host is, if it is one.
fn node(meta: &Metadata) -> Option<DeviceNode> {
    let kind = meta.file_type();
    let kind = match (kind.is_char_device(), kind.is_block_device()) {
        (true, _) => 'c',
        (_, true) => 'b',
        _ => return None,
    };
    Some(DeviceNode {
        kind,
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
    })
}
