//! A network namespace joined to the default bridge.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::store::{self, Store};
use crate::sys::netns;

use super::DEFAULT;
use super::bridge::{self, Bridge};
use super::ipam::{mac_of, next_address};
use super::netlink::route::{Link, Pair, RouteSocket};

/// File in the runtime directory with the address that was given last.
const LAST_ADDRESS: &str = "network-last";

/// How long new devices may take until they carry packets. It is a fraction of a
/// millisecond, or some dozens when the kernel is clearing namespaces away.
const RUNNING_TIMEOUT: Duration = Duration::from_secs(1);
const RUNNING_POLL: Duration = Duration::from_micros(100);

/// Name of the device inside.
const INNER_DEVICE: &str = "eth0";

/// What a new namespace is set to before its device arrives.
const SYSCTLS: [(&str, &str); 3] = [
    // There is no way out by IPv6, so programs should not see an address of it.
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
    #[error("no free address on network `{0}`")]
    Exhausted(String),
    /// No subnet is free for the default bridge.
    #[error("no free subnet for network `{0}`: every candidate overlaps a route of this host")]
    NoSubnet(String),
    /// A host port is taken.
    #[error("Bind for {} failed: port is already allocated", std::net::SocketAddr::new(*address, *port))]
    PortTaken {
        /// Host address.
        address: std::net::IpAddr,
        /// Host port.
        port: u16,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
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

/// A network namespace with an address on the default bridge.
///
/// The namespace lives as long as this value or a process inside, and the
/// address stays taken as long as the process that made it, or until
/// [`Attachment::detach`]; merely dropping the value does not give it back.
#[derive(Debug)]
pub struct Attachment {
    namespace: OwnedFd,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    prefix: u8,
    mac: [u8; 6],
    owner: String,
}

impl Attachment {
    /// The address inside.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The bridge's address.
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// Prefix length of the subnet.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Hardware address inside.
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Gives the address back. The namespace goes when the last process inside
    /// has gone, and its devices with it.
    ///
    /// The kernel does that in the background. Removing the device here would
    /// make the caller wait for it, which was measured: 12 to 48 ms.
    pub fn detach(self, store: &Store) -> Result<(), Error> {
        Ok(store.lease_release(&self.owner)?)
    }
}

impl AsFd for Attachment {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

/// Makes a network namespace, joined to the default bridge under the store's
/// lease of an address. The bridge, forwarding and address translation are made
/// when missing.
///
/// `owner` is a container ID or `build-<pid>`; it has one attachment at a time.
/// The calling process keeps the lease.
pub fn attach(store: &Store, owner: &str) -> Result<Attachment, Error> {
    let mut host = RouteSocket::open().during(|| "open a netlink socket".to_owned())?;
    // Held to the end: the bridge cannot be removed while we join it.
    let bridge = bridge::ensure_default(store, &mut host)?;
    let network = &bridge.network;
    let last_path = store.paths().run().join(LAST_ADDRESS);
    // Only a hint: without it, or with a wrong one, another free address is taken.
    let last = std::fs::read_to_string(&last_path)
        .ok()
        .and_then(|text| text.parse().ok());
    let lease = store
        .lease_take(DEFAULT, owner, &|leases| {
            let taken: Vec<_> = leases.iter().map(|lease| lease.address).collect();
            next_address(network.gateway, network.prefix, &taken, last)
        })?
        .ok_or_else(|| Error::Exhausted(DEFAULT.to_owned()))?;
    std::fs::write(&last_path, lease.address.to_string()).ok();
    let joined = join(&mut host, &bridge, lease.address, owner);
    if joined.is_err() {
        // The error that caused it says more than a failure of this could.
        store.lease_release(owner).ok();
    }
    joined
}

/// Removes the default bridge and its rules if no lease is alive; whether it did.
pub fn teardown_default(store: &Store) -> Result<bool, Error> {
    bridge::remove_default(store)
}

pub(super) fn join(
    host: &mut RouteSocket,
    bridge: &Bridge,
    address: Ipv4Addr,
    owner: &str,
) -> Result<Attachment, Error> {
    let network = &bridge.network;
    let mac = mac_of(address);
    let (namespace, inside) = netns::create(|| {
        for (path, value) in SYSCTLS {
            // Not every kernel has each of them, and none is vital.
            std::fs::write(path, value).ok();
        }
        RouteSocket::open()
    })
    .during(|| "make a network namespace".to_owned())?;
    let mut inside = inside.during(|| "open a netlink socket in a namespace".to_owned())?;

    let outer_device = device_name().during(|| "draw a random name".to_owned())?;
    host.add_pair(&Pair {
        name: &outer_device,
        bridge: bridge.index,
        mtu: bridge.mtu,
        namespace: namespace.as_fd(),
        inner_name: INNER_DEVICE,
        mac,
    })
    .during(|| format!("connect a namespace to the bridge `{}`", network.device))?;

    // From here on the namespace's end takes the devices with it.
    let configure = || format!("configure `{INNER_DEVICE}` in a namespace");
    let inner = inside
        .link(INNER_DEVICE)
        .during(configure)?
        .ok_or(io::ErrorKind::NotFound.into())
        .during(configure)?;
    inside
        .configure_inside(inner.index, address, network.prefix, network.gateway)
        .during(configure)?;
    await_running(host, &outer_device, &mut inside)
        .during(|| format!("wait for the device `{outer_device}`"))?;
    Ok(Attachment {
        namespace,
        address,
        gateway: network.gateway,
        prefix: network.prefix,
        mac,
        owner: owner.to_owned(),
    })
}

/// Waits until both ends carry packets: the kernel notices in the background that
/// they are connected, and until then the bridge drops what comes. A connection
/// whose first packet is lost tries again only after a second.
fn await_running(
    host: &mut RouteSocket,
    outer_device: &str,
    inside: &mut RouteSocket,
) -> io::Result<()> {
    let deadline = Instant::now() + RUNNING_TIMEOUT;
    let is_running = |link: Option<Link>| link.is_some_and(|link| link.is_running);
    loop {
        if is_running(host.link(outer_device)?) && is_running(inside.link(INNER_DEVICE)?) {
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
fn device_name() -> io::Result<String> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("veth{:08x}", u32::from_ne_bytes(bytes)))
}
