//! Names on networks that users make, as Docker's embedded server gives them: it
//! answers at 127.0.0.11 inside, knows the members of the container's networks by
//! name, alias and short ID, and passes everything else on to real servers.
//!
//! The sockets are inside the container's namespace, the thread that serves them
//! is in the process that keeps the container: so it reaches what this host's
//! resolver reaches. Port 53 of 127.0.0.11 is translated to a free port, inside, so that a
//! program of the container's may have every port 53 that it wants.

mod answer;
mod resolve;
mod serve;
mod stream;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};

use super::attach::{During, Error};
use super::netlink::nftables::{Hook, NftSocket, Rule, Transaction};
use crate::store::Paths;
use crate::sys::netns;
use resolve::Resolver;

/// Where members ask.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The port of name servers.
const PORT: u16 = 53;
/// Our table inside.
const TABLE: &str = "rbuild_names";
const CHAIN: &str = "output";
/// IP's numbers of protocols.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// SQLite is called on this thread.
const STACK_BYTES: usize = 512 * 1024;

/// A network whose names a server knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// The network's name.
    pub network: String,
    /// Whether there is a way out of it: then other names are passed on.
    pub leads_out: bool,
}

/// A running name server; it ends when this is dropped.
#[derive(Debug)]
pub struct NameServer {
    resolver: Arc<Resolver>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Starts a server inside `namespace`, whose loopback device is on.
    ///
    /// `upstream` is asked for what no member is called, in order; `links` are names that only
    /// this container has for others.
    pub fn start(
        namespace: BorrowedFd<'_>,
        paths: Paths,
        zones: Vec<Zone>,
        upstream: Vec<IpAddr>,
        links: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        let step = || "start the name server of a container".to_owned();
        let (datagrams, streams) = netns::enter(namespace, open).during(step)?.during(step)?;
        let resolver = Arc::new(Resolver::new(paths, zones, upstream, links));
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(io::Error::from)
            .during(step)?;
        let watched = stop.try_clone().during(step)?;
        let served = Arc::clone(&resolver);
        let thread = std::thread::Builder::new()
            .name("names".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || serve::Server::new(datagrams, streams, watched, served).run())
            .during(step)?;
        Ok(Self {
            resolver,
            stop,
            thread: Some(thread),
        })
    }

    /// From now on the container is on these networks.
    pub fn set_zones(&self, zones: Vec<Zone>) {
        self.resolver.set_zones(zones);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // Nothing is left to do when it cannot be told: it ends with the process.
        if rustix::io::write(&self.stop, &1_u64.to_ne_bytes()).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

/// Opens both sockets inside, and leads port 53 to them.
fn open() -> io::Result<(UdpSocket, TcpListener)> {
    let datagrams = UdpSocket::bind((NAME_SERVER, 0))?;
    let streams = TcpListener::bind((NAME_SERVER, 0))?;
    let (datagrams, streams) = match lead(&datagrams, &streams) {
        Ok(()) => (datagrams, streams),
        // Without translation the port itself must do.
        Err(_) => (
            UdpSocket::bind((NAME_SERVER, PORT))?,
            TcpListener::bind((NAME_SERVER, PORT))?,
        ),
    };
    datagrams.set_nonblocking(true)?;
    streams.set_nonblocking(true)?;
    Ok((datagrams, streams))
}

fn lead(datagrams: &UdpSocket, streams: &TcpListener) -> io::Result<()> {
    let mut nft = NftSocket::open()?;
    let mut transaction = Transaction::default();
    transaction.add_table(TABLE, "names");
    transaction.add_chain(TABLE, CHAIN, Hook::OUTPUT);
    for (protocol, port) in [
        (UDP, datagrams.local_addr()?.port()),
        (TCP, streams.local_addr()?.port()),
    ] {
        let rule = Rule::default()
            .if_to(NAME_SERVER.into())
            .if_to_ports(protocol, PORT..=PORT)
            .redirect(NAME_SERVER.into(), Some(port));
        transaction.append_rule(TABLE, CHAIN, &rule);
    }
    nft.commit(transaction)
}
