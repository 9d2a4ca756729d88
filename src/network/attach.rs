//! A network namespace and its places on networks.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::store::{self, LeaseRow, Store};
use crate::sys::netns;

use super::DEFAULT;
use super::bridge::{self, Repair, Standing};
use super::ipam::{Subnet, companion, mac_of, next_address};
use super::netlink::route::{Child, Inside, LOOPBACK, Link, Pair, RouteSocket};
use super::ports::Holder;
use super::spec::Driver;

/// Files in the runtime directory with the address that was given last, one for
/// each network.
const LAST_ADDRESS: &str = "network-last";

/// How long new devices may take until they carry packets. It is a fraction of a
/// millisecond, or some dozens when the kernel is clearing namespaces away.
const RUNNING_TIMEOUT: Duration = Duration::from_secs(1);
const RUNNING_POLL: Duration = Duration::from_micros(100);

/// Most networks that one namespace is on.
const MOST_PLACES: usize = 64;

/// What a new namespace is set to before its device arrives.
const SYSCTLS: [(&str, &str); 3] = [
    // Without a network that has IPv6, programs should not see an address of it.
    ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
    // As Docker sets them: no privilege is needed for low ports and for ping.
    ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"),
    ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647"),
];

/// What can go wrong with networks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel has no nftables.
    #[error(
        "the bridge network needs nftables for address translation, which this kernel does not \
         have: load the module `nf_tables`, or use `--network=host` or `--network=none`, which \
         work without it"
    )]
    NoNft,
    /// The kernel refused the rules for address translation.
    #[error("the kernel refused the rules for address translation")]
    Nft(#[source] io::Error),
    /// A step failed.
    #[error("cannot set up the network: {step}")]
    SetUp {
        /// Which step.
        step: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Every address of the subnet is taken.
    #[error("no available IPv4 addresses on this network's address pools: {name} ({id})")]
    Exhausted {
        /// The network.
        name: String,
        /// Its ID.
        id: String,
    },
    /// No subnet is free for the default bridge.
    #[error("no free subnet for network `{0}`: every candidate overlaps a route of this host")]
    NoSubnet(String),
    /// No network has this name or ID.
    #[error("network {0} not found")]
    NotFound(String),
    /// A wish that cannot be granted.
    #[error("{0}")]
    Refused(String),
    /// What the store has of a network cannot be read.
    #[error("what is kept of the network `{0}` is damaged: remove it with `rbuild network rm {0}`")]
    Damaged(String),
    /// A host port is taken.
    #[error(
        "Bind for {} failed: port is already allocated{}",
        std::net::SocketAddr::new(*address, *port),
        holder.as_ref().map(|holder| format!(": {holder}")).unwrap_or_default()
    )]
    PortTaken {
        /// Host address.
        address: std::net::IpAddr,
        /// Host port.
        port: u16,
        /// Who has it, where that can be told.
        holder: Option<Holder>,
    },
    /// A port that only rules in the kernel could lead, which it refused.
    #[error(
        "cannot publish {port}/{protocol}: no process can carry it, and rules in the kernel cannot either"
    )]
    NotCarried {
        /// Host port.
        port: u16,
        /// `sctp`.
        protocol: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Error {
    /// Says which container has a port that is taken, where it is one of this store's.
    #[must_use]
    pub fn naming_container(mut self, store: &Store) -> Self {
        if let Self::PortTaken {
            holder: Some(holder),
            ..
        } = &mut self
        {
            holder.container = store.lease_name(holder.pid).ok().flatten();
        }
        self
    }
}

/// Says during which step the kernel refused.
pub(super) trait During<T> {
    /// Turns the error into [`Error::SetUp`].
    fn during(self, step: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, step: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::SetUp {
            step: step(),
            source,
        })
    }
}

/// What is wanted of a network.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The network's name.
    pub network: &'a str,
    /// A container ID or `build-<pid>`.
    pub owner: &'a str,
    /// Further names that lead here.
    pub aliases: &'a [String],
    /// This very address.
    pub address: Option<Ipv4Addr>,
    /// This very IPv6 address.
    pub address6: Option<Ipv6Addr>,
    /// This hardware address.
    pub mac: Option<[u8; 6]>,
    /// The place with the highest one is the way out; the first of equals.
    pub priority: i64,
    /// Further addresses that hold on the link alone.
    pub link_local: &'a [IpAddr],
}

impl<'a> Wish<'a> {
    /// Any address of the default bridge.
    pub fn default_bridge(owner: &'a str) -> Self {
        Self {
            network: DEFAULT,
            owner,
            aliases: &[],
            address: None,
            address6: None,
            mac: None,
            priority: 0,
            link_local: &[],
        }
    }
}

/// Where a namespace is on a network.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Place {
    /// The network's name.
    pub network: String,
    /// Its ID.
    pub network_id: String,
    /// Name of the device inside.
    pub device: String,
    /// The bridge on this host that it is on; absent for other drivers.
    #[serde(default)]
    pub bridge: Option<String>,
    /// The address.
    pub address: Ipv4Addr,
    /// Prefix length of the subnet.
    pub prefix: u8,
    /// The way out; `None` where there is none.
    pub gateway: Option<Ipv4Addr>,
    /// The IPv6 address and the prefix length of its subnet.
    pub address6: Option<(Ipv6Addr, u8)>,
    /// The way out by IPv6.
    pub gateway6: Option<Ipv6Addr>,
    /// Hardware address inside.
    pub mac: [u8; 6],
    /// The place with the highest one is the way out; the first of equals.
    #[serde(default)]
    pub priority: i64,
}

impl Place {
    /// The one of `places` that leads out.
    pub(super) fn way_out<'a>(places: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        let leading = places.into_iter().filter(|place| place.gateway.is_some());
        leading.reduce(|best, place| {
            if place.priority > best.priority {
                place
            } else {
                best
            }
        })
    }

    /// The hardware address as text.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }

    /// Whether members of the network find each other by name.
    pub fn has_names(&self) -> bool {
        self.network != DEFAULT
    }
}

/// A network namespace on any number of networks.
///
/// The namespace lives as long as this value or a process inside, and its
/// addresses stay taken as long as the process that made it, or until
/// [`Attachment::detach`]; merely dropping the value does not give them back.
#[derive(Debug)]
pub struct Attachment {
    namespace: OwnedFd,
    inside: RouteSocket,
    places: Vec<Place>,
    owner: String,
}

impl Attachment {
    /// Makes a namespace that is on no network. `owner` is who takes addresses in it.
    pub fn create(owner: &str) -> Result<Self, Error> {
        let (namespace, inside) = netns::create(|| {
            for (path, value) in SYSCTLS {
                // Not every kernel has each of them, and none is vital.
                std::fs::write(path, value).ok();
            }
            RouteSocket::open()
        })
        .during(|| "make a network namespace".to_owned())?;
        let inside = inside.during(|| "open a netlink socket in a namespace".to_owned())?;
        Ok(Self {
            namespace,
            inside,
            places: Vec::new(),
            owner: owner.to_owned(),
        })
    }

    /// Switches the loopback device on, for a namespace that joins no network.
    pub fn loopback(&mut self) -> Result<(), Error> {
        self.inside
            .switch_on(LOOPBACK)
            .during(|| "switch on the loopback device of a namespace".to_owned())
    }

    /// Where it is, in the order in which it came there.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The address that it was given first.
    pub fn address(&self) -> Ipv4Addr {
        self.places
            .first()
            .map_or(Ipv4Addr::LOCALHOST, |place| place.address)
    }

    /// The way out of the network that it joined first.
    pub fn gateway(&self) -> Ipv4Addr {
        let first = self.places.first().and_then(|place| place.gateway);
        first.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Joins a network under the store's lease of an address; the calling process
    /// keeps the lease. The bridge, forwarding and address translation are made when missing.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Exhausted`], [`Error::Refused`] for an address
    /// that cannot be had; nothing is changed then.
    pub fn join(&mut self, store: &Store, wish: &Wish<'_>) -> Result<&Place, Error> {
        if self
            .places
            .iter()
            .any(|place| place.network == wish.network)
        {
            return Err(Error::Refused(format!(
                "endpoint already exists in network {}",
                wish.network
            )));
        }
        let mut host = RouteSocket::open().during(|| "open a netlink socket".to_owned())?;
        // Held to the end: the bridge cannot be removed while we join it.
        let standing = bridge::ensure(store, &mut host, wish.network)?;
        let lease = lease(store, &standing, wish)?;
        let joined = self.connect(&mut host, &standing, &lease, wish);
        if joined.is_err() {
            // The error that caused it says more than a failure of this could.
            store.lease_release_on(wish.network, wish.owner).ok();
        }
        joined?;
        Ok(&self.places[self.places.len() - 1])
    }

    /// Leaves a network; whether it was there. The way out becomes that of the
    /// first network left that has one.
    pub fn leave(&mut self, store: &Store, network: &str) -> Result<bool, Error> {
        let Some(at) = self.places.iter().position(|p| p.network == network) else {
            return Ok(false);
        };
        let place = self.places.remove(at);
        let device = &place.device;
        self.inside
            .remove_link(device)
            .during(|| format!("remove `{device}` from a namespace"))?;
        store.lease_release_on(network, &self.owner)?;
        self.lead_out()?;
        Ok(true)
    }

    /// Sends everything that is for no network of its own by the place that leads out.
    fn lead_out(&mut self) -> Result<(), Error> {
        let Some(place) = Place::way_out(&self.places) else {
            return Ok(());
        };
        let configure = || format!("configure `{}` in a namespace", place.device);
        if let Some(link) = self.inside.link(&place.device).during(configure)? {
            self.inside
                .set_default_routes(link.index, place.gateway, place.gateway6)
                .during(configure)?;
        }
        Ok(())
    }

    /// Gives the addresses back. The namespace goes when the last process inside
    /// has gone, and its devices with it.
    ///
    /// The kernel does that in the background. Removing the devices here would
    /// make the caller wait for it, which was measured: 12 to 48 ms.
    pub fn detach(self, store: &Store) -> Result<(), Error> {
        Ok(store.lease_release(&self.owner)?)
    }

    /// Makes the devices of a place and configures them; the place is the last one then.
    pub(super) fn connect(
        &mut self,
        host: &mut RouteSocket,
        standing: &Standing,
        lease: &LeaseRow,
        wish: &Wish<'_>,
    ) -> Result<(), Error> {
        let device = self.free_device()?;
        let place = place(standing, lease, wish, &device);
        let outer = self.plug(host, standing, &device, place.mac)?;
        let way_out = Place::way_out(&self.places).map(|place| place.priority);
        let configure = || format!("configure `{device}` in a namespace");
        if place.address6.is_some() || wish.link_local.iter().any(IpAddr::is_ipv6) {
            // A sysctl of the namespace, so it is written by a thread inside.
            netns::enter(self.namespace.as_fd(), || {
                let path = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
                std::fs::write(path, "0")
            })
            .during(configure)?
            .during(configure)?;
        }
        // From here on the namespace's end takes the devices with it.
        let inner = self
            .inside
            .link(&device)
            .during(configure)?
            .ok_or(io::ErrorKind::NotFound.into())
            .during(configure)?;
        let settings = Inside {
            link: inner.index,
            address: place.address,
            prefix: place.prefix,
            gateway: place.gateway.filter(|_| way_out.is_none()),
            address6: place.address6,
            gateway6: place.gateway6.filter(|_| way_out.is_none()),
        };
        self.inside.configure_inside(&settings).during(configure)?;
        self.inside
            .add_link_local(inner.index, wish.link_local)
            .during(configure)?;
        let takes_over = way_out.is_some_and(|priority| place.priority > priority);
        if let Some(outer) = outer {
            let bridge = standing.await_bridge();
            await_running(host, &outer, bridge, &mut self.inside, &device)
                .during(|| format!("wait for the device `{outer}`"))?;
        }
        self.places.push(place);
        if takes_over {
            self.lead_out()?;
        }
        Ok(())
    }

    /// Puts a device into the namespace; returns the name of its other end, where it has one.
    fn plug(
        &self,
        host: &mut RouteSocket,
        standing: &Standing,
        device: &str,
        mac: [u8; 6],
    ) -> Result<Option<String>, Error> {
        let spec = &standing.spec;
        let name = &standing.network.device;
        let step = || format!("connect a namespace to `{name}`");
        if spec.driver != Driver::Bridge {
            host.add_child(&Child {
                parent: standing.index,
                is_ipvlan: spec.driver == Driver::Ipvlan,
                mode: spec.mode(),
                namespace: self.namespace.as_fd(),
                name: device,
                mac,
            })
            .during(step)?;
            return Ok(None);
        }
        let outer = outer_name().during(|| "draw a random name".to_owned())?;
        host.add_pair(&Pair {
            name: &outer,
            alias: &format!("{}{}", bridge::alias_prefix(name), self.owner),
            bridge: standing.index,
            mtu: standing.mtu,
            namespace: self.namespace.as_fd(),
            inner_name: device,
            mac,
        })
        .during(step)?;
        Ok(Some(outer))
    }

    /// The first of `eth0`, `eth1`... that is not there.
    fn free_device(&self) -> Result<String, Error> {
        let names = (0..MOST_PLACES).map(|number| format!("eth{number}"));
        let is_free = |name: &String| self.places.iter().all(|place| place.device != *name);
        let mut free = names.filter(is_free);
        let full = || Error::Refused(format!("a container is on {MOST_PLACES} networks at most"));
        free.next().ok_or_else(full)
    }
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

fn place(standing: &Standing, lease: &LeaseRow, wish: &Wish<'_>, device: &str) -> Place {
    let (row, spec) = (&standing.network, &standing.spec);
    let is_out = !spec.internal;
    let six = lease.address6.zip(spec.ipv6);
    Place {
        network: row.name.clone(),
        network_id: row.id.clone(),
        device: device.to_owned(),
        bridge: (spec.driver == Driver::Bridge).then(|| row.device.clone()),
        address: lease.address,
        prefix: row.prefix,
        gateway: is_out.then_some(row.gateway),
        address6: six.map(|(address, six)| (address, six.prefix)),
        gateway6: spec.ipv6.filter(|_| is_out).map(|six| six.gateway),
        mac: wish.mac.unwrap_or_else(|| mac_of(lease.address)),
        priority: wish.priority,
    }
}

/// Makes a network namespace, joined to the default bridge.
///
/// `owner` is a container ID or `build-<pid>`; it has one attachment at a time.
pub fn attach(store: &Store, owner: &str) -> Result<Attachment, Error> {
    let mut attachment = Attachment::create(owner)?;
    attachment.join(store, &Wish::default_bridge(owner))?;
    Ok(attachment)
}

/// Mends what is missing on this host of networks that somebody is on; tells which.
pub fn repair(store: &Store) -> Result<Vec<Repair>, Error> {
    bridge::repair(store)
}

/// Removes the default bridge and its rules if no lease is alive; whether it did.
pub fn teardown_default(store: &Store) -> Result<bool, Error> {
    bridge::remove_default(store)
}

/// Takes the address that is wished for, or a free one.
fn lease(store: &Store, standing: &Standing, wish: &Wish<'_>) -> Result<LeaseRow, Error> {
    let (row, spec) = (&standing.network, &standing.spec);
    let subnet = Subnet::of(row.gateway, row.prefix);
    check_wish(wish, standing, subnet)?;
    let last_path = store
        .paths()
        .run()
        .join(format!("{LAST_ADDRESS}-{}", row.device));
    // Only a hint: without it, or with a wrong one, another free address is taken.
    let last = std::fs::read_to_string(&last_path)
        .ok()
        .and_then(|text| text.parse().ok());
    let lease = store.lease_take(&row.name, wish.owner, wish.aliases, &|leases| {
        let mut taken: Vec<_> = leases.iter().map(|lease| lease.address).collect();
        taken.extend(spec.reserved_addresses());
        let address = match wish.address {
            Some(address) => (!taken.contains(&address)).then_some(address),
            None => next_address(row.gateway, subnet, spec.pool(subnet), &taken, last),
        }?;
        let six = wish
            .address6
            .or_else(|| spec.ipv6.map(|six| companion(six, address, subnet)));
        let is_taken = |six| leases.iter().any(|lease| lease.address6 == Some(six));
        if six.is_some_and(is_taken) {
            return None;
        }
        Some((address, six))
    })?;
    let refused = || match wish.address {
        Some(address) => Error::Refused(format!(
            "Address already in use: {address} on network {}",
            row.name
        )),
        None => Error::Exhausted {
            name: row.name.clone(),
            id: row.id.clone(),
        },
    };
    let lease = lease.ok_or_else(refused)?;
    if wish.address.is_none() {
        std::fs::write(&last_path, lease.address.to_string()).ok();
    }
    Ok(lease)
}

fn check_wish(wish: &Wish<'_>, standing: &Standing, subnet: Subnet) -> Result<(), Error> {
    let refuse = |text: &str| Err(Error::Refused(text.to_owned()));
    let (row, spec) = (&standing.network, &standing.spec);
    if wish.address.is_none() && wish.address6.is_none() {
        return Ok(());
    }
    if row.name == DEFAULT {
        return refuse("user specified IP address is supported on user defined networks only");
    }
    if !spec.chosen {
        return refuse(
            "user specified IP address is supported only when connecting to networks with user configured subnets",
        );
    }
    let outside = |address: IpAddr| {
        Err(Error::Refused(format!(
            "invalid endpoint settings: no configured subnet contains IP address {address}"
        )))
    };
    if let Some(address) = wish.address {
        if !subnet.contains(address) {
            return outside(address.into());
        }
        if address == row.gateway || !subnet.is_host(address) {
            return Err(Error::Refused(format!("Address already in use: {address}")));
        }
    }
    match (wish.address6, spec.ipv6) {
        (Some(address), Some(six)) if !six.contains(address) => outside(address.into()),
        (Some(address), None) => outside(address.into()),
        _ => Ok(()),
    }
}

/// Waits until both ends carry packets: the kernel notices in the background that
/// they are connected, and until then the bridge drops what comes. A connection
/// whose first packet is lost tries again only after a second. A bridge that had no
/// member is noticed last, and drops what the host sends until then.
fn await_running(
    host: &mut RouteSocket,
    outer_device: &str,
    bridge: Option<&str>,
    inside: &mut RouteSocket,
    inner_device: &str,
) -> io::Result<()> {
    let deadline = Instant::now() + RUNNING_TIMEOUT;
    let is_running = |link: Option<Link>| link.is_some_and(|link| link.is_running);
    loop {
        let bridge_runs = match bridge {
            Some(bridge) => is_running(host.link(bridge)?),
            None => true,
        };
        if bridge_runs
            && is_running(host.link(outer_device)?)
            && is_running(inside.link(inner_device)?)
        {
            return Ok(());
        }
        if Instant::now() >= deadline {
            // Better a network that may lose its first packet than none.
            return Ok(());
        }
        std::thread::sleep(RUNNING_POLL);
    }
}

/// A name for our end of a pair. Random, because the device of a namespace that
/// is going away may outlive the lease of its address.
fn outer_name() -> io::Result<String> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("veth{:08x}", u32::from_ne_bytes(bytes)))
}
