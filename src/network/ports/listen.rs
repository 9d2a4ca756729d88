//! Binding host ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::network::Error;
use crate::network::attach::During;

use super::{PortForward, PortPublish};

/// Connections that may wait; the kernel lowers it to its own bound.
const BACKLOG: i32 = 4096;

/// How many random ports are tried until one is free for IPv4 and IPv6.
const RANDOM_ATTEMPTS: usize = 16;

/// A bound socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) forward: PortForward,
    pub(super) socket: Bound,
}

/// Its two kinds; both do not block.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Binds one published port: one socket for each of its host addresses.
pub(super) fn bind(publish: &PortPublish) -> Result<Vec<Listener>, Error> {
    let candidates: Vec<u16> = match &publish.host_port {
        Some(ports) => ports.clone().collect(),
        None => vec![0; RANDOM_ATTEMPTS],
    };
    let mut taken = 0;
    for port in candidates {
        match bind_everywhere(publish, port) {
            Err(err) if err.kind() == io::ErrorKind::AddrInUse => taken = port,
            result => {
                return result.during(|| {
                    let address = publish.host.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
                    let address = SocketAddr::new(address, port);
                    format!("listen on {address}/{}", publish.protocol)
                });
            }
        }
    }
    Err(Error::PortTaken {
        address: publish.host.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        port: taken,
    })
}

fn bind_everywhere(publish: &PortPublish, port: u16) -> io::Result<Vec<Listener>> {
    let Some(host) = publish.host else {
        let first = bind_one(publish, Ipv4Addr::UNSPECIFIED.into(), port)?;
        let port = first.forward.host_port;
        return match bind_one(publish, Ipv6Addr::UNSPECIFIED.into(), port) {
            Ok(second) => Ok(vec![first, second]),
            Err(err) if is_without_ipv6(&err) => Ok(vec![first]),
            Err(err) => Err(err),
        };
    };
    Ok(vec![bind_one(publish, host, port)?])
}

fn bind_one(publish: &PortPublish, host: IpAddr, port: u16) -> io::Result<Listener> {
    let address = SocketAddr::new(host, port);
    let (socket, bound_to) = if publish.protocol == "udp" {
        let socket = UdpSocket::from(socket(address, SocketType::DGRAM)?);
        let bound_to = socket.local_addr()?;
        (Bound::Udp(socket), bound_to)
    } else {
        let socket = socket(address, SocketType::STREAM)?;
        // Already here, because sockets that only are bound may share a port.
        rustix::net::listen(&socket, BACKLOG)?;
        let socket = TcpListener::from(socket);
        let bound_to = socket.local_addr()?;
        (Bound::Tcp(socket), bound_to)
    };
    Ok(Listener {
        forward: PortForward {
            host,
            host_port: bound_to.port(),
            container_port: publish.container_port,
            protocol: publish.protocol.clone(),
        },
        socket,
    })
}

fn socket(address: SocketAddr, kind: SocketType) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if kind == SocketType::STREAM {
        // Connections of an earlier container that linger do not hold the port.
        // For datagrams it would allow to share a port that is in use.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    Ok(socket)
}

fn is_without_ipv6(err: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL]
        .iter()
        .any(|errno| err.raw_os_error() == Some(errno.raw_os_error()))
}
