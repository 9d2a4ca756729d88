//! What a container on the default bridge is told of others there: `--link`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::Path;

use super::dir::Dir;
use super::protocol::Links;
use super::record::State;
use super::request::{NetworkMode, Request};
use super::{Error, find, ports};
use crate::fs::At;
use crate::store::{ContainerRow, LeaseRow, Paths, Store};

/// The name and the alias in `NAME[:ALIAS]`.
pub(super) fn parse(text: &str) -> Result<(&str, &str), Error> {
    let (name, alias) = text.split_once(':').unwrap_or((text, text));
    if name.is_empty() || alias.is_empty() || alias.contains(':') {
        return Err(Error::Invalid(format!("bad format for links: {text}")));
    }
    Ok((name, alias))
}

/// Looks the linked containers up: they have to run.
pub(super) fn resolve(
    store: &Store,
    row: &ContainerRow,
    request: &Request,
) -> Result<Links, Error> {
    let mut links = Links::default();
    for text in &request.links {
        let (name, alias) = parse(text)?;
        let other = find(store, name)?;
        let dir = Dir::new(store.paths(), &other.id);
        let state = dir.state()?;
        let record = dir.record()?;
        let Some(place) = state.networks.first().filter(|_| state.has_process()) else {
            return Err(Error::Invalid(format!(
                "Cannot link to a non running container: /{} AS /{}/{alias}",
                other.name, row.name
            )));
        };
        note(&dir, &row.id)?;
        let address = IpAddr::from(place.address);
        let mut names = vec![alias.to_owned(), short(&other.id)];
        names.push(
            record
                .request
                .hostname
                .clone()
                .unwrap_or_else(|| other.name.clone()),
        );
        names.dedup();
        links.hosts.push((names.join(" "), address));
        links
            .variables
            .extend(variables(row, alias, address, &record.request));
    }
    Ok(links)
}

/// Beside a container, the IDs of those that are linked to it.
const LINKED: &str = "linked";
/// Longest file of either kind that is read; a container may write to its `hosts`.
const FILE_LIMIT: u64 = 1 << 20;

/// Notes with a container that `id` is linked to it.
fn note(dir: &Dir, id: &str) -> Result<(), Error> {
    let path = dir.path(LINKED);
    let known = read(&path).unwrap_or_default();
    if known.lines().any(|line| line == id) {
        return Ok(());
    }
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(&path)
        .at("open", &path)?;
    Ok(file
        .write_all(format!("{id}\n").as_bytes())
        .at("write", &path)?)
}

/// Tells containers that are linked to this one where it is now: one that was
/// started again has another address. Those that do not run look it up when they start.
pub(super) fn announce(paths: &Paths, dir: &Dir, state: &State) {
    let Some(place) = state.networks.first() else {
        return;
    };
    let Some(linked) = read(&dir.path(LINKED)) else {
        return;
    };
    let address = IpAddr::from(place.address);
    for id in linked.lines().filter(|line| is_id(line)) {
        let path = Dir::new(paths, id).path("hosts");
        // The same file, as it is mounted; one that is gone is nobody's.
        if let Some(hosts) = read(&path)
            && let Some(hosts) = moved(&hosts, &short(dir.id()), address)
        {
            let _kept = std::fs::write(&path, hosts);
        }
    }
}

/// The file with the address of the container `id` replaced; `None` when nothing changes.
fn moved(hosts: &str, id: &str, address: IpAddr) -> Option<String> {
    let mut changed = false;
    let mut file = String::with_capacity(hosts.len());
    for line in hosts.lines() {
        match line.split_once('\t') {
            Some((old, names))
                if names.split(' ').any(|name| name == id) && old != address.to_string() =>
            {
                changed = true;
                file.push_str(&format!("{address}\t{names}\n"));
            }
            _ => {
                file.push_str(line);
                file.push('\n');
            }
        }
    }
    changed.then_some(file)
}

/// The same with the addresses that linked containers have by now.
pub(super) fn current(
    store: &Store,
    hosts: &[(String, IpAddr)],
) -> Result<Vec<(String, IpAddr)>, Error> {
    if hosts.is_empty() {
        return Ok(Vec::new());
    }
    let mut leases = Vec::new();
    for network in store.network_list()? {
        leases.extend(store.lease_list(&network.name)?);
    }
    let now = |(names, before): &(String, IpAddr)| {
        let is_owner = |lease: &&LeaseRow| names.split(' ').any(|name| name == short(&lease.owner));
        // Where it is on several networks, it is where it was.
        let mut own = leases
            .iter()
            .filter(is_owner)
            .map(|lease| lease.address.into());
        let first = own.next();
        let same = first == Some(*before) || own.any(|address: IpAddr| address == *before);
        let address = first.filter(|_| !same).unwrap_or(*before);
        (names.clone(), address)
    };
    Ok(hosts.iter().map(now).collect())
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(FILE_LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// The variables that Docker has set since its first days.
fn variables(row: &ContainerRow, alias: &str, address: IpAddr, other: &Request) -> Vec<String> {
    let prefix = alias.replace('-', "_").to_ascii_uppercase();
    let mut exposed: Vec<(u16, String)> = other
        .expose
        .iter()
        .flat_map(|text| ports::exposed(text))
        .collect();
    exposed.sort_by_key(|(port, protocol)| (protocol.clone() != "tcp", *port));
    let url = |(port, protocol): &(u16, String)| format!("{protocol}://{address}:{port}");
    let mut variables = Vec::new();
    if let Some(first) = exposed.first() {
        variables.push(format!("{prefix}_PORT={}", url(first)));
    }
    for port in &exposed {
        let (number, protocol) = port;
        let name = format!("{prefix}_PORT_{number}_{}", protocol.to_ascii_uppercase());
        variables.push(format!("{name}={}", url(port)));
        variables.push(format!("{name}_ADDR={address}"));
        variables.push(format!("{name}_PORT={number}"));
        variables.push(format!("{name}_PROTO={protocol}"));
    }
    variables.push(format!("{prefix}_NAME=/{}/{alias}", row.name));
    for variable in &other.env {
        if let Some((name, value)) = variable.split_once('=')
            && !matches!(name, "HOME" | "PATH")
        {
            variables.push(format!("{prefix}_ENV_{name}={value}"));
        }
    }
    variables
}

/// Takes the link `CONTAINER/ALIAS` away, from the container's next start on.
pub fn unlink(store: &Store, link: &str) -> Result<(), Error> {
    let missing = || Error::NotFound(link.to_owned());
    let (name, alias) = link
        .trim_start_matches('/')
        .split_once('/')
        .ok_or_else(missing)?;
    let row = find(store, name)?;
    let dir = Dir::new(store.paths(), &row.id);
    let mut record = dir.record()?;
    let before = record.request.links.len();
    let other = |text: &String| parse(text).is_ok_and(|(_, own)| own != alias);
    record.request.links.retain(other);
    if record.request.links.len() == before {
        return Err(missing());
    }
    Ok(dir.write_record(&record)?)
}

impl Request {
    /// Links lead somewhere only on the default bridge.
    pub(super) fn check_links(&self) -> Result<(), Error> {
        for text in &self.links {
            parse(text)?;
        }
        match self.network {
            NetworkMode::Host | NetworkMode::Container(_) if !self.links.is_empty() => {
                Err(Error::Invalid(
                    "conflicting options: host type networking can't be used with links. This would result in undefined behavior"
                        .to_owned(),
                ))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Digest, ImageId};

    #[test]
    fn an_address_is_replaced_where_its_container_is_named() {
        let hosts = "127.0.0.1\tlocalhost\n172.17.0.2\tdb 0123456789ab web\n# mine\n";
        let address = "172.17.0.9".parse().unwrap();
        let after = moved(hosts, "0123456789ab", address).unwrap();
        assert_eq!(
            after,
            "127.0.0.1\tlocalhost\n172.17.0.9\tdb 0123456789ab web\n# mine\n"
        );
        assert_eq!(moved(&after, "0123456789ab", address), None);
        assert_eq!(moved(hosts, "ba9876543210", address), None);
    }

    #[test]
    fn linked_containers_are_told_of_in_variables() {
        let row = ContainerRow {
            id: "0".repeat(64),
            name: "web".to_owned(),
            image: ImageId(Digest::of(b"")),
            snapshot: None,
            created_at: 0,
        };
        let other = Request {
            expose: vec!["6379/tcp".to_owned()],
            env: vec!["A=b=c".to_owned(), "PATH=/x".to_owned()],
            ..Request::default()
        };
        let got = variables(&row, "re-dis", "172.17.0.2".parse().unwrap(), &other);
        assert_eq!(got[0], "RE_DIS_PORT=tcp://172.17.0.2:6379");
        for line in [
            "RE_DIS_PORT_6379_TCP_ADDR=172.17.0.2",
            "RE_DIS_NAME=/web/re-dis",
            "RE_DIS_ENV_A=b=c",
        ] {
            assert!(got.contains(&line.to_owned()), "{line}");
        }
        assert!(!got.iter().any(|line| line.contains("PATH")));
        assert_eq!(parse("a").unwrap(), ("a", "a"));
        assert!(parse(":a").is_err() && parse("a:").is_err());
    }
}
