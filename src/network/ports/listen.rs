//! Binding host ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Protocol, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt,
};

use crate::network::Error;
use crate::network::attach::During;

use super::{Holder, PortForward, PortPublish};

/// Connections that may wait; the kernel lowers it to its own bound.
const BACKLOG: i32 = 4096;

/// How many random ports are tried until one is free for IPv4 and IPv6.
const RANDOM_ATTEMPTS: usize = 16;
/// `ip_local_port_range` as the kernel starts with it.
const RANDOM_PORTS: std::ops::RangeInclusive<u16> = 32768..=60999;

/// A bound socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) forward: PortForward,
    pub(super) socket: Bound,
}

/// Its kinds; none of them blocks.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
    /// A port that is only kept from others.
    Held(#[allow(dead_code, reason = "held for its destructor")] OwnedFd),
}

/// Binds one published port: one socket for each of its host addresses.
pub(super) fn bind(publish: &PortPublish) -> Result<Vec<Listener>, Error> {
    let candidates: Vec<u16> = match &publish.host_port {
        Some(ports) => ports.clone().collect(),
        None => vec![0; RANDOM_ATTEMPTS],
    };
    let first = publish.host.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let mut taken = SocketAddr::new(first, 0);
    for port in candidates {
        match bind_everywhere(publish, port) {
            Err((address, err)) if err.kind() == io::ErrorKind::AddrInUse => taken = address,
            Err((address, err)) => {
                return Err(err).during(|| format!("listen on {address}/{}", publish.protocol));
            }
            Ok(listeners) => return Ok(listeners),
        }
    }
    Err(Error::PortTaken {
        address: taken.ip(),
        port: taken.port(),
        holder: Holder::find(&publish.protocol, taken.ip(), taken.port()),
    })
}

/// On failure also says which address it was.
fn bind_everywhere(
    publish: &PortPublish,
    port: u16,
) -> Result<Vec<Listener>, (SocketAddr, io::Error)> {
    let one = |host, port| {
        bind_one(publish, host, port).map_err(|err| (SocketAddr::new(host, port), err))
    };
    let Some(host) = publish.host else {
        let first = one(Ipv4Addr::UNSPECIFIED.into(), port)?;
        let port = first.forward.host_port;
        return match one(Ipv6Addr::UNSPECIFIED.into(), port) {
            Ok(second) => Ok(vec![first, second]),
            Err((_, err)) if is_without_ipv6(&err) => Ok(vec![first]),
            Err(failed) => Err(failed),
        };
    };
    Ok(vec![one(host, port)?])
}

fn bind_one(publish: &PortPublish, host: IpAddr, port: u16) -> io::Result<Listener> {
    let address = SocketAddr::new(host, port);
    let (socket, host_port) = match publish.protocol.as_str() {
        "udp" => {
            let socket = UdpSocket::from(socket(address, SocketType::DGRAM, None)?);
            let port = socket.local_addr()?.port();
            (Bound::Udp(socket), port)
        }
        "sctp" => {
            let (socket, port) = hold(address)?;
            (Bound::Held(socket), port)
        }
        _ => {
            let socket = socket(address, SocketType::STREAM, None)?;
            // Already here, because sockets that only are bound may share a port.
            rustix::net::listen(&socket, BACKLOG)?;
            let socket = TcpListener::from(socket);
            let port = socket.local_addr()?.port();
            (Bound::Tcp(socket), port)
        }
    };
    Ok(Listener {
        forward: PortForward {
            host,
            host_port,
            container_port: publish.container_port,
            protocol: publish.protocol.clone(),
        },
        socket,
    })
}

/// Keeps an SCTP port from others: with a socket of that protocol, or where the
/// kernel has none, with a name that is there once in a network namespace and goes
/// with this process as well.
fn hold(address: SocketAddr) -> io::Result<(OwnedFd, u16)> {
    match socket(address, SocketType::STREAM, Some(ipproto::SCTP)) {
        Ok(socket) => {
            let bound_to = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
            return Ok((socket, bound_to.port()));
        }
        Err(err) if err.raw_os_error() == Some(Errno::PROTONOSUPPORT.raw_os_error()) => {}
        Err(err) => return Err(err),
    }
    let port = match address.port() {
        0 => random_port()?,
        port => port,
    };
    // One name for all addresses, but one for each family, as `0.0.0.0` and `::` go together.
    let family = if address.is_ipv4() { 4 } else { 6 };
    let name = format!("rbuild/sctp{family}/{port}");
    let held = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let name = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    rustix::net::bind(&held, &name)?;
    Ok((held, port))
}

/// A port of those that the kernel gives by itself, unless told otherwise.
fn random_port() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let count = RANDOM_PORTS.end() - RANDOM_PORTS.start() + 1;
    Ok(RANDOM_PORTS.start() + u16::from_ne_bytes(bytes) % count)
}

fn socket(
    address: SocketAddr,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, protocol)?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM && protocol.is_none() {
        // Connections of an earlier container that linger do not hold the port.
        // For datagrams it would allow to share a port that is in use.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn is_without_ipv6(err: &io::Error) -> bool {
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| err.raw_os_error() == Some(errno.raw_os_error()))
}
