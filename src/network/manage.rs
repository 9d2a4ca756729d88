//! Networks as objects: made, listed, found, removed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::oci::Digest;
use crate::store::{LeaseRow, NetworkRow, Store};

use super::attach::Error;
use super::bridge::{self, predefined_id, spec_of};
use super::ipam::{Subnet, choose_subnet};
use super::spec::{Driver, Ipv6, OPTION_DEVICE, Spec};
use super::{DEFAULT, HOST, NONE};

/// Longest name of a network, as it is also a label of a domain name.
const NAME_LIMIT: usize = 255;
/// Longest name of a device: IFNAMSIZ, less the closing zero.
const DEVICE_LIMIT: usize = 15;
/// What cannot be told apart from nothing: an MTU below IP's own least.
const LEAST_MTU: u32 = 68;

/// A network to be made.
#[derive(Debug, Clone, Default)]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// `bridge`, `macvlan` or `ipvlan`; `bridge` when empty.
    pub driver: String,
    /// `--subnet`, IPv4 or IPv6, one of each at most.
    pub subnets: Vec<String>,
    /// `--gateway`, one for each subnet at most.
    pub gateways: Vec<String>,
    /// `--ip-range`.
    pub ranges: Vec<String>,
    /// `--aux-address`: addresses that something else has.
    pub reserved: Vec<(String, String)>,
    /// Whether there is no way out of it.
    pub internal: bool,
    /// `--attachable`.
    pub attachable: bool,
    /// Whether it has IPv6.
    pub ipv6: bool,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`.
    pub options: BTreeMap<String, String>,
}

/// A network as it is shown.
#[derive(Debug, Clone)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// `bridge`, `host`, `null`, `macvlan` or `ipvlan`.
    pub driver: &'static str,
    /// When it was made, nanoseconds since 1970; 0 for those that always were.
    pub created_at: i64,
    /// Its subnet with the gateway's address; absent for `host`, `none`, and a
    /// default bridge that nobody used yet.
    pub subnet: Option<(String, Ipv4Addr)>,
    /// Its device on this host, where it has one.
    pub device: Option<String>,
    /// Everything else about it.
    pub spec: Spec,
}

impl Network {
    /// Whether it is always there.
    pub fn is_predefined(&self) -> bool {
        is_predefined(&self.name)
    }

    /// Whether ports of its members are published: they are where there is a way out
    /// through this host.
    pub fn publishes(&self) -> bool {
        self.driver == Driver::Bridge.name() && !self.spec.internal
    }

    fn of(row: NetworkRow) -> Result<Self, Error> {
        let spec = spec_of(&row)?;
        Ok(Self {
            subnet: Some((Subnet::of(row.gateway, row.prefix).to_string(), row.gateway)),
            driver: spec.driver.name(),
            name: row.name,
            id: row.id,
            created_at: row.created_at,
            device: Some(row.device),
            spec,
        })
    }

    fn predefined(store: &Store, name: &str, driver: &'static str) -> Self {
        Self {
            name: name.to_owned(),
            id: predefined_id(store.paths(), name),
            driver,
            created_at: 0,
            subnet: None,
            device: None,
            spec: Spec::default(),
        }
    }
}

fn is_predefined(name: &str) -> bool {
    [DEFAULT, HOST, NONE].contains(&name)
}

/// Every network, sorted by name.
pub fn list(store: &Store) -> Result<Vec<Network>, Error> {
    let mut networks = vec![
        Network::predefined(store, HOST, "host"),
        Network::predefined(store, NONE, "null"),
    ];
    for row in store.network_list()? {
        networks.push(Network::of(row)?);
    }
    if !networks.iter().any(|network| network.name == DEFAULT) {
        networks.push(Network::predefined(store, DEFAULT, "bridge"));
    }
    networks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(networks)
}

/// The network with this name, ID, or unique beginning of an ID.
///
/// # Errors
/// [`Error::NotFound`], and [`Error::Refused`] for a beginning of several.
pub fn find(store: &Store, text: &str) -> Result<Network, Error> {
    let networks = list(store)?;
    let exact = networks
        .iter()
        .find(|network| network.name == text)
        .or_else(|| networks.iter().find(|network| network.id == text));
    if let Some(network) = exact {
        return Ok(network.clone());
    }
    let mut beginning = networks
        .iter()
        .filter(|network| !text.is_empty() && network.id.starts_with(text));
    match (beginning.next(), beginning.next()) {
        (Some(network), None) => Ok(network.clone()),
        (None, _) => Err(Error::NotFound(text.to_owned())),
        (Some(_), Some(_)) => Err(Error::Refused(format!(
            "network {text} is ambiguous: the IDs of several networks begin so"
        ))),
    }
}

/// Who is on a network.
pub fn members(store: &Store, network: &Network) -> Result<Vec<LeaseRow>, Error> {
    Ok(store.lease_list(&network.name)?)
}

/// Makes a network, with its device and rules.
///
/// # Errors
/// [`Error::Refused`] in Docker's words; nothing is left behind then.
pub fn create(store: &Store, new: &NewNetwork) -> Result<Network, Error> {
    let mut spec = spec(new)?;
    let wish = Wanted::parse(new)?;
    spec.chosen = wish.subnet.is_some();
    spec.range = wish.range;
    spec.reserved.clone_from(&wish.reserved);
    let id = random_id()?;
    let device = device(new, &spec, &id)?;
    let row = bridge::add(store, &|taken, known| {
        if known.iter().any(|row| row.name == new.name) {
            return Err(refused(format!(
                "network with name {} already exists",
                new.name
            )));
        }
        if known.iter().any(|row| row.device == device) && spec.driver == Driver::Bridge {
            return Err(refused(format!(
                "another network has the device `{device}`"
            )));
        }
        let (gateway, prefix) = choose(&wish, taken, known)?;
        let mut spec = spec.clone();
        spec.ipv6 = choose6(new, &wish, &id, known, prefix)?;
        let document = serde_json::to_string(&spec);
        let row = NetworkRow {
            name: new.name.clone(),
            id: id.clone(),
            device: device.clone(),
            gateway,
            prefix,
            created_at: bridge::now(),
            spec: document.map_err(|_| Error::Damaged(new.name.clone()))?,
        };
        Ok((row, spec))
    })?;
    Network::of(row)
}

/// Removes a network, its device and its rules.
///
/// # Errors
/// [`Error::Refused`] for a predefined one and one that somebody is on; `who` names
/// the owner of a lease.
pub fn remove(
    store: &Store,
    network: &Network,
    who: &dyn Fn(&LeaseRow) -> String,
) -> Result<(), Error> {
    let name = &network.name;
    if network.is_predefined() {
        return Err(refused(format!(
            "{name} is a pre-defined network and cannot be removed"
        )));
    }
    let row = store
        .network_get(name)?
        .ok_or_else(|| Error::NotFound(name.clone()))?;
    bridge::remove(store, &row, &|leases| {
        let ends: Vec<String> = leases
            .iter()
            .map(|lease| {
                let short: String = lease.owner.chars().take(12).collect();
                format!("name:\"{}\" id:\"{short}\"", who(lease))
            })
            .collect();
        refused(format!(
            "error while removing network: network {name} id {} has active endpoints ({})",
            network.id,
            ends.join(", ")
        ))
    })
}

/// What the flags say of addresses.
struct Wanted {
    subnet: Option<(Subnet, Option<Ipv4Addr>)>,
    range: Option<(Ipv4Addr, u8)>,
    six: Option<(Ipv6Addr, u8, Option<Ipv6Addr>)>,
    reserved: BTreeMap<String, Ipv4Addr>,
}

impl Wanted {
    fn parse(new: &NewNetwork) -> Result<Self, Error> {
        let mut wanted = Self {
            subnet: None,
            range: None,
            six: None,
            reserved: BTreeMap::new(),
        };
        for text in &new.subnets {
            let wrong = || refused(format!("invalid subnet {text}: write it as 172.20.0.0/16"));
            if let Some((_, subnet)) = Subnet::parse(text) {
                if wanted.subnet.replace((subnet, None)).is_some() {
                    return Err(refused("a network has one IPv4 subnet".to_owned()));
                }
                if subnet.prefix() > 30 && !is_vlan(new) {
                    return Err(refused(format!(
                        "the subnet {text} has no room for members"
                    )));
                }
            } else {
                let six = parse6(text).ok_or_else(wrong)?;
                if wanted.six.replace((six.0, six.1, None)).is_some() {
                    return Err(refused("a network has one IPv6 subnet".to_owned()));
                }
            }
        }
        wanted.gateways(new)?;
        for text in &new.ranges {
            let wrong = || refused(format!("invalid IP range {text}"));
            let (address, range) = Subnet::parse(text).ok_or_else(wrong)?;
            let Some((subnet, _)) = &wanted.subnet else {
                return Err(refused(
                    "every ip-range or gateway must have a corresponding subnet".to_owned(),
                ));
            };
            if !subnet.overlaps(range) || range.prefix() < subnet.prefix() {
                return Err(refused(format!("no matching subnet for range {text}")));
            }
            wanted.range = Some((address, range.prefix()));
        }
        for (name, text) in &new.reserved {
            match text.parse::<Ipv4Addr>() {
                Ok(address) => drop(wanted.reserved.insert(name.clone(), address)),
                Err(_) => {
                    return Err(refused(format!("invalid auxiliary address {name}={text}")));
                }
            }
        }
        Ok(wanted)
    }

    fn gateways(&mut self, new: &NewNetwork) -> Result<(), Error> {
        for text in &new.gateways {
            let outside = || refused(format!("no matching subnet for gateway {text}"));
            match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => {
                    let (subnet, gateway) = self.subnet.as_mut().ok_or_else(outside)?;
                    if !subnet.is_host(address) {
                        return Err(outside());
                    }
                    *gateway = Some(address);
                }
                Ok(IpAddr::V6(address)) => {
                    let (network, prefix, gateway) = self.six.as_mut().ok_or_else(outside)?;
                    let subnet = Ipv6 {
                        gateway: *network,
                        prefix: *prefix,
                    };
                    if !subnet.contains(address) {
                        return Err(outside());
                    }
                    *gateway = Some(address);
                }
                Err(_) => return Err(refused(format!("invalid gateway {text}"))),
            }
        }
        Ok(())
    }
}

fn is_vlan(new: &NewNetwork) -> bool {
    new.driver == "macvlan" || new.driver == "ipvlan"
}

fn parse6(text: &str) -> Option<(Ipv6Addr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 128)?;
    Some((address.parse().ok()?, prefix))
}

/// The bridge's address and the prefix length.
fn choose(
    wanted: &Wanted,
    taken: &[Subnet],
    known: &[NetworkRow],
) -> Result<(Ipv4Addr, u8), Error> {
    let own = |row: &NetworkRow| Subnet::of(row.gateway, row.prefix);
    let Some((subnet, gateway)) = wanted.subnet else {
        let mut taken = taken.to_vec();
        taken.extend(known.iter().map(own));
        // The first one is the default bridge's, used or not.
        taken.push(Subnet::of(Ipv4Addr::new(172, 17, 0, 0), 16));
        let subnet = choose_subnet(&taken).ok_or_else(|| {
            refused(
                "all predefined address pools have been fully subnetted: name a subnet with \
                 `--subnet`, or remove networks with `rbuild network prune`"
                    .to_owned(),
            )
        })?;
        return Ok((subnet.gateway(), subnet.prefix()));
    };
    if let Some(other) = known.iter().find(|row| own(row).overlaps(subnet)) {
        return Err(refused(format!(
            "invalid pool request: Pool overlaps with other one on this address space: {subnet} \
             and {} of the network {}",
            own(other),
            other.name
        )));
    }
    let gateway = gateway.unwrap_or_else(|| {
        let mut candidate = subnet.gateway();
        while wanted
            .reserved
            .values()
            .any(|address| *address == candidate)
        {
            candidate = Ipv4Addr::from(u32::from(candidate).saturating_add(1));
        }
        candidate
    });
    if wanted.reserved.values().any(|address| *address == gateway) {
        return Err(refused(format!("Address already in use: {gateway}")));
    }
    Ok((gateway, subnet.prefix()))
}

/// The IPv6 side: what is asked for, else a unique local subnet made from the ID.
fn choose6(
    new: &NewNetwork,
    wanted: &Wanted,
    id: &str,
    known: &[NetworkRow],
    prefix4: u8,
) -> Result<Option<Ipv6>, Error> {
    let six = match wanted.six {
        Some((network, prefix, gateway)) => {
            if 128 - prefix < 32 - prefix4 {
                return Err(refused(format!(
                    "the subnet {network}/{prefix} is smaller than the network's IPv4 subnet"
                )));
            }
            let first = Ipv6 {
                gateway: network,
                prefix,
            };
            let next = Ipv6Addr::from(u128::from(first.network()).saturating_add(1));
            Ipv6 {
                gateway: gateway.unwrap_or(next),
                prefix,
            }
        }
        None if new.ipv6 => {
            // RFC 4193, section 3.2: forty random bits behind fd00::/8.
            let bits = u64::from_str_radix(&id[..10], 16).unwrap_or(1);
            let network = (0xfd_u128 << 120) | (u128::from(bits) << 80);
            Ipv6 {
                gateway: Ipv6Addr::from(network | 1),
                prefix: 64,
            }
        }
        None => return Ok(None),
    };
    for row in known {
        let other = spec_of(row).ok().and_then(|spec| spec.ipv6);
        if other.is_some_and(|other| other.contains(six.gateway) || six.contains(other.gateway)) {
            return Err(refused(format!(
                "invalid pool request: Pool overlaps with other one on this address space: the \
                 IPv6 subnet of the network {}",
                row.name
            )));
        }
    }
    Ok(Some(six))
}

fn spec(new: &NewNetwork) -> Result<Spec, Error> {
    check_name(&new.name)?;
    let driver = match new.driver.as_str() {
        "" | "bridge" | "default" => Driver::Bridge,
        "macvlan" => Driver::Macvlan,
        "ipvlan" => Driver::Ipvlan,
        other @ ("host" | "null") => {
            return Err(refused(format!(
                "only one instance of \"{other}\" network is allowed"
            )));
        }
        other => {
            return Err(refused(format!(
                "plugin \"{other}\" not found: the drivers are bridge, macvlan and ipvlan"
            )));
        }
    };
    let spec = Spec {
        driver,
        internal: new.internal,
        attachable: new.attachable,
        labels: new.labels.clone(),
        options: new.options.clone(),
        ..Spec::default()
    };
    if let Some(text) = new.options.get(super::spec::OPTION_MTU)
        && spec.mtu().is_none_or(|mtu| mtu < LEAST_MTU)
    {
        return Err(refused(format!("invalid MTU `{text}`")));
    }
    Ok(spec)
}

fn check_name(name: &str) -> Result<(), Error> {
    if is_predefined(name) {
        return Err(refused(format!(
            "operation is not permitted on predefined {name} network"
        )));
    }
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let fits = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !starts || !name.chars().all(fits) || name.len() > NAME_LIMIT {
        return Err(refused(format!(
            "invalid network name \"{name}\": only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    Ok(())
}

/// The device: a bridge of its own, or what a macvlan network is on.
fn device(new: &NewNetwork, spec: &Spec, id: &str) -> Result<String, Error> {
    let named = match spec.driver {
        Driver::Bridge => new.options.get(OPTION_DEVICE).map(String::as_str),
        Driver::Macvlan | Driver::Ipvlan => spec.parent(),
    };
    let Some(named) = named else {
        let kind = if spec.driver == Driver::Bridge {
            "br"
        } else {
            "dm"
        };
        return Ok(format!("{kind}-{}", &id[..12]));
    };
    let fits = |c: char| c.is_ascii_graphic() && c != '/' && c != ':';
    if named.is_empty() || named.len() > DEVICE_LIMIT || !named.chars().all(fits) || named == "." {
        return Err(refused(format!("invalid device name `{named}`")));
    }
    Ok(named.to_owned())
}

fn random_id() -> Result<String, Error> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(|err| {
        Error::SetUp {
            step: "draw a random ID".to_owned(),
            source: err.into(),
        }
    })?;
    Ok(Digest::of(&bytes).hex())
}

fn refused(text: String) -> Error {
    Error::Refused(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(subnet: &str, gateway: &str) -> Result<Wanted, String> {
        let list = |text: &str| -> Vec<String> {
            text.split(' ')
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let new = NewNetwork {
            subnets: list(subnet),
            gateways: list(gateway),
            ..NewNetwork::default()
        };
        Wanted::parse(&new).map_err(|err| err.to_string())
    }

    fn row(name: &str, gateway: &str) -> NetworkRow {
        NetworkRow {
            name: name.to_owned(),
            id: "0".repeat(64),
            device: name.to_owned(),
            gateway: gateway.parse().unwrap(),
            prefix: 16,
            created_at: 0,
            spec: "{}".to_owned(),
        }
    }

    #[test]
    fn subnets_and_gateways_are_read_together() {
        let both = wanted("10.5.0.0/16 fd01::/64", "10.5.0.254").unwrap();
        let (subnet, gateway) = both.subnet.unwrap();
        assert_eq!(subnet.to_string(), "10.5.0.0/16");
        assert_eq!(gateway, Some(Ipv4Addr::new(10, 5, 0, 254)));
        assert_eq!(both.six.unwrap().1, 64);
        let refusal = |subnet, gateway| wanted(subnet, gateway).err().unwrap();
        assert!(refusal("300.1.2.0/24", "").contains("invalid subnet"));
        assert!(refusal("10.5.0.0/33", "").contains("invalid subnet"));
        assert!(refusal("10.5.0.0/24", "10.6.0.1").contains("no matching subnet"));
        assert!(refusal("", "10.6.0.1").contains("no matching subnet"));
    }

    #[test]
    fn a_subnet_overlaps_no_other_network() {
        let known = [row("bridge", "172.17.0.1"), row("one", "172.18.0.1")];
        let free = choose(&wanted("", "").unwrap(), &[], &known).unwrap();
        assert_eq!(free, (Ipv4Addr::new(172, 19, 0, 1), 16));
        let same = choose(&wanted("172.18.128.0/24", "").unwrap(), &[], &known);
        assert!(same.unwrap_err().to_string().contains("overlaps"));
        // What else the host reaches may be named on purpose.
        let taken = [Subnet::of(Ipv4Addr::new(10, 0, 0, 0), 8)];
        assert!(choose(&wanted("10.9.0.0/24", "").unwrap(), &taken, &known).is_ok());
    }

    #[test]
    fn names_are_checked() {
        for name in ["a", "my_net-1.x"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a b", "a/b", "host", "bridge", "none"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
