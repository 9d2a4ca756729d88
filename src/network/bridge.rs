//! The default bridge: chosen once, made when it is missing, removed when nobody
//! uses it.

use std::path::Path;

use crate::fs::{At, Lock};
use crate::oci::Digest;
use crate::store::{self, NetworkRow, Paths, Store};

use super::attach::{During, Error};
use super::ipam::{Subnet, choose_subnet, mac_of};
use super::netlink::route::{Link, RouteSocket};
use super::resolver::name_servers;
use super::{DEFAULT, nat};

/// The data root whose bridge has the short name.
const SYSTEM_ROOT: &str = "/var/lib/rbuild";
const SYSTEM_DEVICE: &str = "rbuild0";

/// MTU when this host has no way out that could tell: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// Routes with a prefix this short stand for "everything", as VPNs write it
/// (0.0.0.0/1 and 128.0.0.0/1), and reserve nothing.
const CATCH_ALL_PREFIX: u8 = 3;

/// A bridge that stands, and cannot be removed while this is held.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) network: NetworkRow,
    pub(super) index: u32,
    pub(super) mtu: u32,
    #[allow(dead_code, reason = "held for its destructor, which releases the lock")]
    lock: Lock,
}

impl Bridge {
    pub(super) fn new(network: NetworkRow, link: Link, lock: Lock) -> Self {
        Self {
            network,
            index: link.index,
            mtu: link.mtu,
            lock,
        }
    }
}

/// The default bridge with its rules, made if anything of it is missing.
pub(super) fn ensure_default(store: &Store, host: &mut RouteSocket) -> Result<Bridge, Error> {
    let lock = lock_shared(store.paths())?;
    if let Some(network) = store.network_get(DEFAULT)?
        && let Some(link) = standing(host, &network)?
        && nat::is_complete(&network)?
    {
        return Ok(Bridge::new(network, link, lock));
    }
    drop(lock);
    let lock = lock_exclusive(store.paths())?;
    let network = match store.network_get(DEFAULT)? {
        Some(network)
            if standing(host, &network)?.is_some() || !is_obsolete(store, host, &network)? =>
        {
            network
        }
        _ => register(store, host)?,
    };
    let link = match standing(host, &network)? {
        Some(link) => link,
        None => make(host, &network)?,
    };
    nat::ensure(&network)?;
    Ok(Bridge::new(network, link, lock))
}

/// Removes the default bridge with its rules, unless an address of it is in use
/// or it was never made; whether it did.
pub(super) fn remove_default(store: &Store) -> Result<bool, Error> {
    let lock = lock_exclusive(store.paths())?;
    let Some(network) = store.network_get(DEFAULT)? else {
        return Ok(false);
    };
    if !store.lease_list(DEFAULT)?.is_empty() {
        return Ok(false);
    }
    let device = &network.device;
    RouteSocket::open()
        .and_then(|mut host| host.remove_link(device))
        .during(|| format!("remove the bridge `{device}`"))?;
    nat::remove(device)?;
    store.network_remove(DEFAULT)?;
    drop(lock);
    Ok(true)
}

/// The network's device, if it is on and has its address.
fn standing(host: &mut RouteSocket, network: &NetworkRow) -> Result<Option<Link>, Error> {
    let device = &network.device;
    let look = || format!("look at the bridge `{device}`");
    let Some(link) = host.link(device).during(look)? else {
        return Ok(None);
    };
    let has_address = host.addresses().during(look)?.iter().any(|address| {
        address.link == link.index
            && address.local == network.gateway
            && address.prefix == network.prefix
    });
    Ok((link.is_up && has_address).then_some(link))
}

/// Whether the network's subnet was since taken by something else, and nobody
/// has an address in it.
fn is_obsolete(store: &Store, host: &mut RouteSocket, network: &NetworkRow) -> Result<bool, Error> {
    let subnet = Subnet::of(network.gateway, network.prefix);
    let overlaps = taken_subnets(host, &network.device)?
        .iter()
        .any(|other| subnet.overlaps(*other));
    Ok(overlaps && store.lease_list(DEFAULT)?.is_empty())
}

fn register(store: &Store, host: &mut RouteSocket) -> Result<NetworkRow, Error> {
    let device = device_name(store.paths().data());
    let taken = taken_subnets(host, &device)?;
    let subnet = choose_subnet(&taken).ok_or_else(|| Error::NoSubnet(DEFAULT.to_owned()))?;
    store.network_remove(DEFAULT)?;
    Ok(store.network_put(&NetworkRow {
        name: DEFAULT.to_owned(),
        device,
        gateway: subnet.gateway(),
        prefix: subnet.prefix(),
    })?)
}

/// The subnets that this host reaches by other devices than `device`, and the
/// addresses of its name servers.
fn taken_subnets(host: &mut RouteSocket, device: &str) -> Result<Vec<Subnet>, Error> {
    let look = || "list the routes of this host".to_owned();
    let own = host.link(device).during(look)?.map(|link| link.index);
    let addresses = host.addresses().during(look)?.into_iter();
    let routes = host.routes().during(look)?.into_iter();
    let mut taken: Vec<Subnet> = addresses
        .filter(|address| Some(address.link) != own)
        .map(|address| Subnet::of(address.local, address.prefix))
        .collect();
    taken.extend(
        routes
            .filter(|route| route.prefix > CATCH_ALL_PREFIX)
            .filter(|route| route.link.is_none() || route.link != own)
            .map(|route| Subnet::of(route.destination, route.prefix)),
    );
    let resolver = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    taken.extend(name_servers(&resolver).filter_map(|server| match server {
        std::net::IpAddr::V4(server) => Some(Subnet::of(server, 32)),
        std::net::IpAddr::V6(_) => None,
    }));
    Ok(taken)
}

pub(super) fn make(host: &mut RouteSocket, network: &NetworkRow) -> Result<Link, Error> {
    let device = &network.device;
    let step = || format!("make the bridge `{device}`");
    let mtu = uplink_mtu(host).during(step)?;
    host.add_bridge(device, mac_of(network.gateway), mtu)
        .during(step)?;
    // Containers speak IPv4 with this host and each other; without an address
    // of the other kind here, none of them can pose as an IPv6 router to the host.
    std::fs::write(
        format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6"),
        "1",
    )
    .ok();
    let link = host
        .link(device)
        .during(step)?
        .ok_or(std::io::ErrorKind::NotFound.into())
        .during(step)?;
    host.bring_up(link.index, mtu, network.gateway, network.prefix)
        .during(step)?;
    Ok(Link { mtu, ..link })
}

/// The MTU of the device that the default route leads to.
fn uplink_mtu(host: &mut RouteSocket) -> std::io::Result<u32> {
    let uplink = host
        .routes()?
        .into_iter()
        .filter(|route| route.prefix == 0)
        .min_by_key(|route| route.metric)
        .and_then(|route| route.link);
    let link = match uplink {
        Some(index) => host.link_at(index)?,
        None => None,
    };
    Ok(link.map_or(DEFAULT_MTU, |link| link.mtu))
}

/// The bridge's device name: every data root has its own, so that several stores
/// on one machine do not share addresses.
fn device_name(data_root: &Path) -> String {
    let root = data_root
        .canonicalize()
        .unwrap_or_else(|_| data_root.to_owned());
    if root == Path::new(SYSTEM_ROOT) {
        return SYSTEM_DEVICE.to_owned();
    }
    let hash = Digest::of(root.as_os_str().as_encoded_bytes()).hex();
    format!("rb-{}", &hash[..10])
}

fn lock_shared(paths: &Paths) -> Result<Lock, Error> {
    let path = lock_path(paths)?;
    Ok(Lock::shared(&path).map_err(store::Error::from)?)
}

fn lock_exclusive(paths: &Paths) -> Result<Lock, Error> {
    let path = lock_path(paths)?;
    Ok(Lock::exclusive(&path).map_err(store::Error::from)?)
}

fn lock_path(paths: &Paths) -> Result<std::path::PathBuf, Error> {
    let directory = paths.locks();
    std::fs::create_dir_all(&directory)
        .at("create", &directory)
        .map_err(store::Error::from)?;
    Ok(directory.join("network"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_data_root_has_its_own_device() {
        assert_eq!(device_name(Path::new("/var/lib/rbuild")), "rbuild0");
        let one = device_name(Path::new("/nowhere/one"));
        let two = device_name(Path::new("/nowhere/two"));
        assert_ne!(one, two);
        // IFNAMSIZ, less the closing zero.
        assert!(one.starts_with("rb-") && one.len() <= 15, "{one}");
    }
}
