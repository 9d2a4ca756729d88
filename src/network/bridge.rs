//! The device that a network's members are on: made when it is missing, with its
//! rules, and removed when nobody uses it. The default bridge is chosen on its first use.

use std::path::Path;

use crate::fs::{At, Lock};
use crate::oci::Digest;
use crate::store::{self, LeaseRow, NetworkRow, Paths, Store};

use super::attach::{During, Error};
use super::ipam::{Subnet, choose_subnet, mac_of};
use super::netlink::route::{Link, RouteSocket};
use super::resolver::name_servers;
use super::spec::{Driver, Spec};
use super::{DEFAULT, nat};

/// The data root whose bridge has the short name.
const SYSTEM_ROOT: &str = "/var/lib/rbuild";
const SYSTEM_DEVICE: &str = "rbuild0";

/// MTU when this host has no way out that could tell: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// Routes with a prefix this short stand for "everything", as VPNs write it
/// (0.0.0.0/1 and 128.0.0.0/1), and reserve nothing.
const CATCH_ALL_PREFIX: u8 = 3;

/// A network whose device stands, and cannot be removed while this is held.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) network: NetworkRow,
    pub(super) spec: Spec,
    /// Of the bridge, or of the device that members of another driver are on.
    pub(super) index: u32,
    pub(super) mtu: u32,
    is_running: bool,
    #[allow(dead_code, reason = "held for its destructor, which releases the lock")]
    lock: Lock,
}

impl Standing {
    pub(super) fn new(network: NetworkRow, spec: Spec, link: Link, lock: Lock) -> Self {
        Self {
            network,
            spec,
            index: link.index,
            mtu: link.mtu,
            is_running: link.is_running,
            lock,
        }
    }

    /// The bridge, if it did not carry packets yet when it was looked at.
    pub(super) fn await_bridge(&self) -> Option<&str> {
        (!self.is_running).then_some(self.network.device.as_str())
    }
}

/// What is kept of a network beside its row.
pub(super) fn spec_of(network: &NetworkRow) -> Result<Spec, Error> {
    serde_json::from_str(&network.spec).map_err(|_| Error::Damaged(network.name.clone()))
}

/// A network with its device and rules, made if anything of it is missing.
pub(super) fn ensure(store: &Store, host: &mut RouteSocket, name: &str) -> Result<Standing, Error> {
    let lock = lock_shared(store.paths())?;
    if let Some(network) = store.network_get(name)? {
        let spec = spec_of(&network)?;
        if let Some(link) = whole(host, &network, &spec)? {
            return Ok(Standing::new(network, spec, link, lock));
        }
    }
    drop(lock);
    let lock = lock_exclusive(store.paths())?;
    let network = match store.network_get(name)? {
        Some(network) if name != DEFAULT => network,
        Some(network)
            if standing(host, &network, &Spec::default())?.is_some()
                || !is_obsolete(store, host, &network)? =>
        {
            network
        }
        _ if name == DEFAULT => register(store, host)?,
        _ => return Err(Error::NotFound(name.to_owned())),
    };
    let spec = spec_of(&network)?;
    let link = raise(store.paths(), host, &network, &spec)?;
    Ok(Standing::new(network, spec, link, lock))
}

/// The network's device, if nothing of the network is missing.
fn whole(host: &mut RouteSocket, network: &NetworkRow, spec: &Spec) -> Result<Option<Link>, Error> {
    let Some(link) = standing(host, network, spec)? else {
        return Ok(None);
    };
    let is_complete = spec.driver != Driver::Bridge || nat::is_complete(network, spec)?;
    Ok(is_complete.then_some(link))
}

/// A network that had lost something of what it is on the host.
#[derive(Debug)]
pub struct Repair {
    /// Its name.
    pub network: String,
    /// Why it could not be mended, where it could not.
    pub failure: Option<Error>,
}

/// Looks whether every network that somebody is on is whole, and mends those that
/// are not: their bridges, whose members are plugged in again, addresses and rules.
/// A fraction of a millisecond for each that is whole.
pub(super) fn repair(store: &Store) -> Result<Vec<Repair>, Error> {
    let mut host = RouteSocket::open().during(|| "open a netlink socket".to_owned())?;
    let mut repairs = Vec::new();
    for network in store.network_list()? {
        let mended = spec_of(&network).and_then(|spec| {
            // Asked first, as it takes less than to look who lives.
            if whole(&mut host, &network, &spec)?.is_some()
                || store.lease_list(&network.name)?.is_empty()
            {
                return Ok(false);
            }
            ensure(store, &mut host, &network.name).map(|_| true)
        });
        if !matches!(mended, Ok(false)) {
            repairs.push(Repair {
                network: network.name,
                failure: mended.err(),
            });
        }
    }
    Ok(repairs)
}

/// What is noted with the host's ends of members' devices, before who they belong to.
/// When a bridge is lost they stay, and this is how they are found.
pub(super) fn alias_prefix(device: &str) -> String {
    format!("rbuild {device} ")
}

/// Makes the device and the rules of a network where they are missing.
fn raise(
    paths: &Paths,
    host: &mut RouteSocket,
    network: &NetworkRow,
    spec: &Spec,
) -> Result<Link, Error> {
    let link = if let Some(link) = standing(host, network, spec)? {
        link
    } else {
        let link = make(host, network, spec)?;
        if spec.driver == Driver::Bridge {
            // Only for those who look at the host's devices, so it may fail.
            let owner = format!("rbuild {}", paths.data().display());
            host.set_alias(link.index, &owner).ok();
            host.plug_again(link.index, &alias_prefix(&network.device))
                .during(|| format!("plug members into `{}` again", network.device))?;
        }
        link
    };
    if spec.driver == Driver::Bridge {
        nat::ensure(network, spec)?;
    }
    Ok(link)
}

/// Decides on a network from the subnets that are taken and the networks that there are.
pub(super) type Choose<'a> =
    dyn Fn(&[Subnet], &[NetworkRow]) -> Result<(NetworkRow, Spec), Error> + 'a;

/// Registers a network that is not there yet and makes its device. `choose` gets
/// the subnets that are taken, those of all other networks among them.
pub(super) fn add(store: &Store, choose: &Choose<'_>) -> Result<NetworkRow, Error> {
    let mut host = RouteSocket::open().during(|| "open a netlink socket".to_owned())?;
    let _lock = lock_exclusive(store.paths())?;
    let known = store.network_list()?;
    let taken = taken_subnets(&mut host, "")?;
    let (row, spec) = choose(&taken, &known)?;
    store.network_put(&row)?;
    let raised = raise(store.paths(), &mut host, &row, &spec);
    if raised.is_err() {
        // The error that caused it says more than a failure of this could.
        drop(forget(store, &mut host, &row, &spec));
    }
    raised.map(|_| row)
}

/// Removes a network with its device and rules, unless somebody is on it.
///
/// # Errors
/// [`Error::Refused`] with the names of those who are.
pub(super) fn remove(
    store: &Store,
    network: &NetworkRow,
    in_use: &dyn Fn(&[LeaseRow]) -> Error,
) -> Result<(), Error> {
    let mut host = RouteSocket::open().during(|| "open a netlink socket".to_owned())?;
    let _lock = lock_exclusive(store.paths())?;
    let leases = store.lease_list(&network.name)?;
    if !leases.is_empty() {
        return Err(in_use(&leases));
    }
    let spec = spec_of(network).unwrap_or_default();
    forget(store, &mut host, network, &spec)
}

fn forget(
    store: &Store,
    host: &mut RouteSocket,
    network: &NetworkRow,
    spec: &Spec,
) -> Result<(), Error> {
    let device = &network.device;
    // The device that a macvlan network is on is the host's, unless we made it.
    if spec.driver == Driver::Bridge || spec.parent().is_none() {
        host.remove_link(device)
            .during(|| format!("remove the device `{device}`"))?;
    }
    if spec.driver == Driver::Bridge {
        nat::remove(device)?;
    }
    Ok(store.network_remove(&network.name)?)
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
    let mut host = RouteSocket::open().during(|| "open a netlink socket".to_owned())?;
    forget(store, &mut host, &network, &Spec::default())?;
    drop(lock);
    Ok(true)
}

/// The network's device, if it is on and has its address.
fn standing(
    host: &mut RouteSocket,
    network: &NetworkRow,
    spec: &Spec,
) -> Result<Option<Link>, Error> {
    let device = &network.device;
    let look = || format!("look at the device `{device}`");
    let Some(link) = host.link(device).during(look)? else {
        return Ok(None);
    };
    if spec.driver != Driver::Bridge {
        return Ok(Some(link));
    }
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
        id: predefined_id(store.paths(), DEFAULT),
        device,
        gateway: subnet.gateway(),
        prefix: subnet.prefix(),
        created_at: now(),
        spec: "{}".to_owned(),
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

/// Makes a network's device.
pub(super) fn make(
    host: &mut RouteSocket,
    network: &NetworkRow,
    spec: &Spec,
) -> Result<Link, Error> {
    let device = &network.device;
    let step = || format!("make the device `{device}`");
    let made = |host: &mut RouteSocket| {
        host.link(device)
            .during(step)?
            .ok_or(std::io::ErrorKind::NotFound.into())
            .during(step)
    };
    if spec.driver != Driver::Bridge {
        if spec.parent().is_some() {
            return Err(Error::Refused(format!(
                "there is no device `{device}` on this host: name another one with `-o parent=`"
            )));
        }
        // A pair of connected devices carries packets as a cable does that is plugged in.
        let other = format!("dp-{}", &device[3.min(device.len())..]);
        host.add_cable(device, &other).during(step)?;
        let link = made(host)?;
        return Ok(link);
    }
    let mtu = spec
        .mtu()
        .map_or_else(|| uplink_mtu(host), Ok)
        .during(step)?;
    host.add_bridge(device, mac_of(network.gateway), mtu)
        .during(step)?;
    // Containers speak IPv4 with this host and each other; without an address
    // of the other kind here, none of them can pose as an IPv6 router to the host.
    let off = if spec.ipv6.is_some() { "0" } else { "1" };
    let conf = format!("/proc/sys/net/ipv6/conf/{device}");
    std::fs::write(format!("{conf}/accept_ra"), "0").ok();
    std::fs::write(format!("{conf}/disable_ipv6"), off).ok();
    let link = made(host)?;
    host.bring_up(link.index, mtu, network.gateway, network.prefix)
        .during(step)?;
    if let Some(six) = spec.ipv6 {
        host.add_address6(link.index, six.gateway, six.prefix)
            .during(step)?;
    }
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

/// The ID of a network that is always there: the same for one data root.
pub(super) fn predefined_id(paths: &Paths, name: &str) -> String {
    let root = paths.data().as_os_str().as_encoded_bytes();
    Digest::of(&[root, b"\0network\0", name.as_bytes()].concat()).hex()
}

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
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
