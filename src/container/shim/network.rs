//! A container's networks, held by its shim: the namespace, its places, its ports,
//! its name server and the files that tell of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::super::dir::Dir;
use super::super::protocol::StartOrder;
use super::super::record::Record;
use super::super::request::{NetworkMode, Request};
use super::super::{EndpointRequest, Error, links, ports};
use crate::fs::{At, PathError};
use crate::network::{self, Attachment, NameServer, Place, PortForward, Publisher, Target, Zone};
use crate::store::{Paths, Store};

/// Longest file of the host that is copied into a container.
const FILE_LIMIT: u64 = 1 << 20;

/// The networks of one container; going away, it gives everything back.
#[derive(Debug)]
pub(super) struct Network {
    publisher: Option<Publisher>,
    attachment: Option<Attachment>,
    names: Option<NameServer>,
    shared: Option<OwnedFd>,
    endpoints: Vec<EndpointRequest>,
    /// Linked containers: their names here, and their addresses.
    linked: Vec<(String, IpAddr)>,
    paths: Paths,
    id: String,
}

impl Network {
    /// Binds the ports and joins the networks.
    pub(super) fn join(order: &StartOrder, dir: &Dir, record: &Record) -> Result<Self, Error> {
        let request = &record.request;
        let mut network = Self {
            publisher: None,
            attachment: None,
            names: None,
            shared: None,
            endpoints: dir.endpoints(record)?,
            linked: order.links.hosts.clone(),
            paths: Paths::new(order.data.clone(), order.run.clone()),
            id: order.id.clone(),
        };
        match (&request.network, &order.network_of) {
            (NetworkMode::Bridge | NetworkMode::Named(_), _) => network.attach(request)?,
            (NetworkMode::Container(_), Some((_, pid))) => {
                let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
                network.shared = Some(File::open(&path).at("open", &path)?.into());
            }
            (NetworkMode::Container(name), None) => return Err(Error::NotRunning(name.clone())),
            (NetworkMode::Host | NetworkMode::None, _) => {}
        }
        Ok(network)
    }

    fn attach(&mut self, request: &Request) -> Result<(), Error> {
        let store = Store::open(self.paths.clone())?;
        self.bind(request, &store)?;
        self.linked = links::current(&store, &self.linked)?;
        let mut attachment = Attachment::create(&self.id)?;
        for endpoint in &self.endpoints {
            attachment.join(&store, &endpoint.wish(&self.id))?;
        }
        if self.endpoints.is_empty() {
            attachment.loopback()?;
        }
        self.attachment = Some(attachment);
        self.serve_names(request)
    }

    /// Keeps the host's ports for the container, unless none of its networks leads out.
    fn bind(&mut self, request: &Request, store: &Store) -> Result<(), Error> {
        let ports = ports::wanted(request)?;
        if ports.is_empty() || self.publisher.is_some() {
            return Ok(());
        }
        let mut networks = self
            .endpoints
            .iter()
            .map(|endpoint| network::find(store, &endpoint.network));
        if networks.any(|network| network.is_ok_and(|network| network.publishes())) {
            let bound = Publisher::bind(&ports);
            self.publisher = Some(bound.map_err(|err| err.naming_container(store))?);
        }
        Ok(())
    }

    /// Leads the ports to where the container is now.
    pub(super) fn publish(&mut self) -> Result<(), Error> {
        match (Target::of(self.places()), &mut self.publisher) {
            (Some(target), Some(publisher)) => Ok(publisher.lead(&self.id, &target)?),
            (Some(_), None) => Ok(()),
            (None, _) => {
                self.publisher = None;
                Ok(())
            }
        }
    }

    /// The ports that are published.
    pub(super) fn ports(&self) -> Vec<PortForward> {
        let publisher = self.publisher.as_ref();
        publisher.map_or_else(Vec::new, |publisher| publisher.forwards().to_vec())
    }

    /// The prepared namespace, if there is one.
    pub(super) fn namespace(&self) -> Option<BorrowedFd<'_>> {
        let attached = self.attachment.as_ref().map(AsFd::as_fd);
        attached.or(self.shared.as_ref().map(AsFd::as_fd))
    }

    /// Where the container is.
    pub(super) fn places(&self) -> &[Place] {
        self.attachment.as_ref().map_or(&[], Attachment::places)
    }

    /// Joins one more network, and writes down that the container belongs there.
    pub(super) fn enter(
        &mut self,
        dir: &Dir,
        request: &Request,
        hostname: &str,
        endpoint: EndpointRequest,
    ) -> Result<(), Error> {
        let attachment = self.attachment.as_mut().ok_or_else(not_joined)?;
        let store = Store::open(self.paths.clone())?;
        attachment.join(&store, &endpoint.wish(&self.id))?;
        self.endpoints.push(endpoint);
        self.changed(dir, request, hostname)
    }

    /// Leaves a network; whether the container was there.
    pub(super) fn leave(
        &mut self,
        dir: &Dir,
        request: &Request,
        hostname: &str,
        name: &str,
    ) -> Result<bool, Error> {
        let attachment = self.attachment.as_mut().ok_or_else(not_joined)?;
        let store = Store::open(self.paths.clone())?;
        let was_there = attachment.leave(&store, name)?;
        self.endpoints.retain(|endpoint| endpoint.network != name);
        self.changed(dir, request, hostname)?;
        Ok(was_there)
    }

    /// After a change: names are served, the files are right, the choice is kept.
    fn changed(&mut self, dir: &Dir, request: &Request, hostname: &str) -> Result<(), Error> {
        dir.write_endpoints(&self.endpoints)?;
        let store = Store::open(self.paths.clone())?;
        self.bind(request, &store)?;
        self.publish()?;
        self.serve_names(request)?;
        self.linked = links::current(&store, &self.linked)?;
        Ok(self.write_files(dir, request, hostname)?)
    }

    /// Starts the name server when a network has names, or tells it of the change.
    fn serve_names(&mut self, request: &Request) -> Result<(), Error> {
        let places = self.places();
        let leads_out = places.iter().any(|place| place.gateway.is_some());
        let zones: Vec<Zone> = places
            .iter()
            .filter(|place| place.has_names())
            .map(|place| Zone {
                network: place.network.clone(),
                leads_out,
            })
            .collect();
        if let Some(names) = &self.names {
            names.set_zones(zones);
            return Ok(());
        }
        let Some(attachment) = &self.attachment else {
            return Ok(());
        };
        if zones.is_empty() {
            return Ok(());
        }
        let paths = self.paths.clone();
        let upstream = upstream(request)?;
        self.names = Some(NameServer::start(
            attachment.as_fd(),
            paths,
            zones,
            upstream,
            self.links(),
        )?);
        Ok(())
    }

    fn links(&self) -> BTreeMap<String, String> {
        let links = self.endpoints.iter().flat_map(|one| one.links.clone());
        links.collect()
    }

    /// Writes `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`. A file that is there
    /// stays the same file, as it may be mounted already.
    pub(super) fn write_files(
        &self,
        dir: &Dir,
        request: &Request,
        hostname: &str,
    ) -> Result<(), PathError> {
        let names = own_names(hostname, request.domain_name.as_deref());
        let own: Vec<(IpAddr, &str)> = self
            .places()
            .iter()
            .flat_map(|place| {
                let six = place.address6.map(|(address, _)| IpAddr::from(address));
                [Some(IpAddr::from(place.address)), six]
            })
            .flatten()
            .map(|address| (address, names.as_str()))
            .collect();
        let others = [request.extra_hosts.as_slice(), &self.linked].concat();
        let hosts = network::hosts_file(&own, &others);
        write_text(&dir.path("hosts"), &hosts)?;
        write_text(&dir.path("hostname"), &format!("{hostname}\n"))?;
        write_text(&dir.path("resolv.conf"), &self.resolv_conf(request)?)
    }

    fn resolv_conf(&self, request: &Request) -> Result<String, PathError> {
        let own_namespace = request.network != NetworkMode::Host;
        let (host, fallback) = resolver_files()?;
        let text = network::resolv_conf(&host, fallback.as_deref(), own_namespace);
        let text = with_own_dns(&text, request);
        if self.names.is_none() {
            return Ok(text);
        }
        let is_server = |line: &&str| line.split_ascii_whitespace().next() == Some("nameserver");
        let rest = text.lines().filter(|line| !is_server(line));
        let lines: Vec<String> = std::iter::once(format!("nameserver {}", network::NAME_SERVER))
            .chain(rest.map(str::to_owned))
            .collect();
        let has_options = lines.iter().any(|line| line.starts_with("options"));
        // A name without a dot is a member's, and is asked for as it is.
        let options = if has_options { "" } else { "options ndots:0\n" };
        Ok(lines.join("\n") + "\n" + options)
    }
}

fn not_joined() -> Error {
    Error::Invalid(
        "container sharing network namespace with another container or host cannot be connected \
         to any other network"
            .to_owned(),
    )
}

/// The host's `resolv.conf`, and the one that systemd-resolved keeps the real servers in.
fn resolver_files() -> Result<(String, Option<String>), PathError> {
    let host = match read_text(Path::new("/etc/resolv.conf")) {
        Ok(text) => text,
        Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(err) => return Err(err),
    };
    let fallback = read_text(Path::new("/run/systemd/resolve/resolv.conf")).ok();
    Ok((host, fallback))
}

/// Who is asked for other names: the servers that the request names, else the
/// host's, which the shim reaches as the host does.
fn upstream(request: &Request) -> Result<Vec<IpAddr>, Error> {
    let own: Vec<IpAddr> = request
        .dns
        .iter()
        .filter_map(|server| server.parse().ok())
        .collect();
    if !own.is_empty() {
        return Ok(own);
    }
    let (host, _) = resolver_files()?;
    let mut servers = network::servers_of(&host);
    if servers.is_empty() {
        servers = network::servers_of(&network::resolv_conf(&host, None, true));
    }
    Ok(servers)
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

pub(super) fn read_text(path: &Path) -> Result<String, PathError> {
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

/// The container's own names in its hosts file: the whole one, and the first part of it.
fn own_names(hostname: &str, domain: Option<&str>) -> String {
    let whole = match domain.filter(|domain| !domain.is_empty()) {
        Some(domain) => format!("{hostname}.{domain}"),
        None => hostname.to_owned(),
    };
    match whole.split_once('.') {
        Some((first, _)) if !first.is_empty() => format!("{whole} {first}"),
        _ => whole,
    }
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
