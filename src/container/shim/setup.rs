//! Everything around a program that is made before it starts: its files, its
//! network, its mounts.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::super::bundle::{self, Found};
use super::super::dir::Dir;
use super::super::protocol::StartOrder;
use super::super::record::{NetworkState, Record};
use super::super::request::{NetworkMode, Request};
use super::super::{Error, ports};
use super::mounts::user_mounts;
use crate::fs::{At, PathError};
use crate::network::{self, Attachment, Publisher};
use crate::sandbox::{Mount, NetworkNamespace, Spec};
use crate::store::{Paths, Store};

/// Longest file of the host that is copied into a container.
const FILE_LIMIT: u64 = 1 << 20;

/// A network for one container; going away, it gives everything back.
#[derive(Debug)]
pub(super) struct Network {
    /// The container's place, where it is on a bridge.
    pub(super) state: Option<NetworkState>,
    /// Its ports, bound and not yet carried.
    pub(super) publisher: Option<Publisher>,
    attachment: Option<Attachment>,
    shared: Option<OwnedFd>,
}

impl Network {
    /// Binds the ports and joins the network.
    pub(super) fn join(order: &StartOrder, request: &Request) -> Result<Self, Error> {
        let mut network = Self {
            state: None,
            publisher: None,
            attachment: None,
            shared: None,
        };
        match (&request.network, &order.network_of) {
            (NetworkMode::Bridge, _) => {
                let ports = ports::wanted(request)?;
                if !ports.is_empty() {
                    network.publisher = Some(Publisher::bind(&ports)?);
                }
                let paths = Paths::new(order.data.clone(), order.run.clone());
                let attachment = network::attach(&Store::open(paths)?, &order.id)?;
                network.state = Some(NetworkState {
                    address: attachment.address(),
                    gateway: attachment.gateway(),
                    prefix: attachment.prefix(),
                    mac: attachment.mac(),
                });
                network.attachment = Some(attachment);
            }
            (NetworkMode::Container(_), Some((_, pid))) => {
                let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
                network.shared = Some(File::open(&path).at("open", &path)?.into());
            }
            (NetworkMode::Container(name), None) => return Err(Error::NotRunning(name.clone())),
            (NetworkMode::Host | NetworkMode::None, _) => {}
        }
        Ok(network)
    }

    /// The prepared namespace, if there is one.
    pub(super) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        let attached = self.attachment.as_ref().map(AsFd::as_fd);
        attached.or(self.shared.as_ref().map(AsFd::as_fd))
    }
}

fn namespace_kind(request: &Request) -> NetworkNamespace {
    match request.network {
        NetworkMode::Host => NetworkNamespace::Host,
        NetworkMode::None => NetworkNamespace::Isolated,
        NetworkMode::Bridge | NetworkMode::Container(_) => NetworkNamespace::Passed,
    }
}

/// Makes the specification of the container's sandbox, and the files that it mounts.
pub(super) fn prepare(
    order: &StartOrder,
    dir: &Dir,
    record: &Record,
    network: &Network,
) -> Result<Spec, Error> {
    let request = &record.request;
    let paths = Paths::new(order.data.clone(), order.run.clone());
    let hostname = hostname(order, request, &paths)?;
    let mut mounts = files(order, dir, request, network, &hostname, &paths)?;
    mounts.extend(user_mounts(dir, record, &paths)?);
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
            hostname,
            network: namespace_kind(request),
            terminal: order.terminal,
        },
    )
}

fn hostname(order: &StartOrder, request: &Request, paths: &Paths) -> Result<String, Error> {
    if let Some(hostname) = &request.hostname {
        return Ok(hostname.clone());
    }
    if let Some((other, _)) = &order.network_of {
        let path = Dir::new(paths, other).path("hostname");
        return Ok(read_text(&path)?.trim().to_owned());
    }
    if request.network == NetworkMode::Host {
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
        let own = network.state.as_ref();
        let own = own.map(|state| (IpAddr::from(state.address), hostname));
        let hosts = network::hosts_file(own, &request.extra_hosts);
        write_text(&dir.path("hosts"), &hosts)?;
        write_text(&dir.path("hostname"), &format!("{hostname}\n"))?;
        write_text(&dir.path("resolv.conf"), &resolv_conf(request)?)?;
        dir.clone()
    };
    let names = ["hosts", "hostname", "resolv.conf"];
    let mount = |name: &str| bundle::own(source.path(name), &format!("/etc/{name}"), false);
    Ok(names.map(mount).to_vec())
}

fn resolv_conf(request: &Request) -> Result<String, PathError> {
    let host = match read_text(Path::new("/etc/resolv.conf")) {
        Ok(text) => text,
        Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(err) => return Err(err),
    };
    // systemd-resolved keeps the real servers apart from its stub.
    let fallback = read_text(Path::new("/run/systemd/resolve/resolv.conf")).ok();
    let own_namespace = request.network != NetworkMode::Host;
    let text = network::resolv_conf(&host, fallback.as_deref(), own_namespace);
    Ok(with_own_dns(&text, request))
}

/// Replaces the parts that the request names.
fn with_own_dns(text: &str, request: &Request) -> String {
    let kept = text
        .lines()
        .filter(|line| match line.split_ascii_whitespace().next() {
            Some("nameserver") => request.dns.is_empty(),
            Some("search" | "domain") => request.dns_search.is_empty(),
            Some("options") => request.dns_options.is_empty(),
            _ => true,
        });
    let mut lines: Vec<String> = request
        .dns
        .iter()
        .map(|server| format!("nameserver {server}"))
        .collect();
    lines.extend(kept.map(str::to_owned));
    // `--dns-search .` means none.
    if !request.dns_search.is_empty() && request.dns_search != ["."] {
        lines.push(format!("search {}", request.dns_search.join(" ")));
    }
    if !request.dns_options.is_empty() {
        lines.push(format!("options {}", request.dns_options.join(" ")));
    }
    lines.join("\n") + "\n"
}

fn read_text(path: &Path) -> Result<String, PathError> {
    let mut bytes = Vec::new();
    let file = File::open(path).at("open", path)?;
    file.take(FILE_LIMIT)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The container may write to its own files; the modes are those of a host's.
fn write_text(path: &Path, text: &str) -> Result<(), PathError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).at("write", path)?;
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(path, mode).at("set the mode of", path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_name_servers_replace_the_hosts() {
        let host = "nameserver 10.0.0.1\nsearch a.test\noptions timeout:1\n";
        let mut request = Request::default();
        assert_eq!(with_own_dns(host, &request), host);
        request.dns = vec!["192.0.2.53".to_owned()];
        request.dns_search = vec!["corp.test".to_owned()];
        request.dns_options = vec!["ndots:3".to_owned()];
        assert_eq!(
            with_own_dns(host, &request),
            "nameserver 192.0.2.53\nsearch corp.test\noptions ndots:3\n"
        );
        request.dns_search = vec![".".to_owned()];
        assert!(!with_own_dns(host, &request).contains("search"));
    }
}
