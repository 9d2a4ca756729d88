//! Publishing, with servers on the loopback device in place of containers.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{PortPublish, Publisher, Target};
use crate::network::Error;

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn publish(container_port: u16, protocol: &str) -> PortPublish {
    PortPublish {
        host: Some(HERE.into()),
        host_port: None,
        container_port,
        protocol: protocol.to_owned(),
    }
}

/// Publishes a port of this machine; where it is reached.
fn started(container_port: u16, protocol: &str) -> (Publisher, SocketAddr) {
    let mut publisher = Publisher::bind(&[publish(container_port, protocol)]).unwrap();
    publisher.lead("test", &here()).unwrap();
    let address = SocketAddr::new(HERE.into(), publisher.forwards()[0].host_port);
    (publisher, address)
}

/// This machine in place of a container. Ports on its loopback addresses are always carried.
fn here() -> Target {
    Target {
        bridge: "none".to_owned(),
        address: HERE,
        address6: None,
    }
}

fn server() -> (TcpListener, u16) {
    let listener = TcpListener::bind((HERE, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn pattern(length: usize) -> Vec<u8> {
    (0_u8..251).cycle().take(length).collect()
}

#[test]
fn much_goes_both_ways_at_once() {
    let (listener, port) = server();
    let (_publisher, address) = started(port, "tcp");
    let bytes = pattern(8 << 20);
    thread::scope(|scope| {
        let sides = [
            TcpStream::connect(address).unwrap(),
            listener.accept().unwrap().0,
        ];
        for side in sides {
            let mut writer = side.try_clone().unwrap();
            let bytes = &bytes;
            scope.spawn(move || {
                writer.write_all(bytes).unwrap();
                writer.shutdown(Shutdown::Write).unwrap();
            });
            scope.spawn(move || {
                let mut side = side;
                let mut got = Vec::new();
                side.read_to_end(&mut got).unwrap();
                assert!(got == *bytes);
            });
        }
    });
}

#[test]
fn a_client_that_stops_sending_still_gets_its_answer() {
    let (listener, port) = server();
    let (_publisher, address) = started(port, "tcp");
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let mut text = String::new();
    accepted.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question");
    thread::sleep(Duration::from_millis(20));
    accepted.write_all(b"answer").unwrap();
    drop(accepted);
    text.clear();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "answer");
}

#[test]
fn a_reader_that_is_slow_loses_nothing() {
    let (listener, port) = server();
    let (_publisher, address) = started(port, "tcp");
    let bytes = pattern(16 << 20);
    let mut client = TcpStream::connect(address).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            client.write_all(&bytes).unwrap();
            // Ends while most of it still waits on the way.
            client.shutdown(Shutdown::Write).unwrap();
        });
        thread::sleep(Duration::from_millis(100));
        let mut got = Vec::new();
        accepted.read_to_end(&mut got).unwrap();
        assert!(got == bytes);
    });
}

#[test]
fn a_refused_connection_is_closed() {
    let (listener, port) = server();
    drop(listener);
    let (_publisher, address) = started(port, "tcp");
    let mut client = TcpStream::connect(address).unwrap();
    let mut bytes = Vec::new();
    // Closed or reset, but not left hanging.
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    match client.read_to_end(&mut bytes) {
        Ok(length) => assert_eq!(length, 0),
        Err(err) => assert_eq!(err.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

#[test]
fn connections_wait_until_the_start() {
    let (listener, port) = server();
    let mut publisher = Publisher::bind(&[publish(port, "tcp")]).unwrap();
    let address = SocketAddr::new(HERE.into(), publisher.forwards()[0].host_port);
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"early").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    publisher.lead("test", &here()).unwrap();
    let mut text = String::new();
    let (mut accepted, _) = listener.accept().unwrap();
    accepted.read_to_string(&mut text).unwrap();
    assert_eq!(text, "early");
}

#[test]
fn many_connections_live_side_by_side() {
    let (listener, port) = server();
    let (_publisher, address) = started(port, "tcp");
    let pairs: Vec<_> = (0..100_u8)
        .map(|number| {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(&[number]).unwrap();
            (number, client, listener.accept().unwrap().0)
        })
        .collect();
    for (number, mut client, mut accepted) in pairs.into_iter().rev() {
        let mut byte = [0];
        accepted.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [number]);
        accepted.write_all(&byte).unwrap();
        client.read_exact(&mut byte).unwrap();
        assert_eq!(byte, [number]);
    }
}

#[test]
fn connections_beyond_the_bound_wait_for_their_turn() {
    let (listener, port) = server();
    let listeners = super::listen::bind(&publish(port, "tcp")).unwrap();
    let address = SocketAddr::new(HERE.into(), listeners[0].forward.host_port);
    let (mut proxy, stop) = super::Proxy::new(listeners, Arc::new(u32::from(HERE).into())).unwrap();
    proxy.max_flows = 2;
    thread::scope(|scope| {
        scope.spawn(|| proxy.run());
        let mut clients = [(); 3].map(|()| TcpStream::connect(address).unwrap());
        let first = listener.accept().unwrap().0;
        let _second = listener.accept().unwrap();
        listener.set_nonblocking(true).unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(listener.accept().is_err());
        listener.set_nonblocking(false).unwrap();
        drop(first);
        assert_eq!(clients[0].read(&mut [0]).unwrap(), 0);
        clients[0].shutdown(Shutdown::Both).unwrap();
        listener.accept().unwrap();
        rustix::io::write(&stop, &1_u64.to_ne_bytes()).unwrap();
    });
}

#[test]
fn dropping_the_publisher_frees_the_port() {
    let (_listener, port) = server();
    let (publisher, address) = started(port, "tcp");
    let mut client = TcpStream::connect(address).unwrap();
    drop(publisher);
    assert_eq!(client.read(&mut [0]).unwrap_or(0), 0);
    TcpListener::bind(address).unwrap();
}

#[test]
fn datagrams_are_answered() {
    let server = UdpSocket::bind((HERE, 0)).unwrap();
    let (_publisher, address) = started(server.local_addr().unwrap().port(), "udp");
    let clients = [(); 3].map(|()| UdpSocket::bind((HERE, 0)).unwrap());
    let mut buffer = [0; 32];
    for (number, client) in (0_u8..).zip(&clients) {
        client
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        client.send_to(&[number], address).unwrap();
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], [number]);
        server.send_to(&[number, number], from).unwrap();
    }
    for (number, client) in (0_u8..).zip(&clients) {
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(buffer[..length], [number, number]);
        assert_eq!(from, address);
    }
}

#[test]
fn a_taken_port_is_named() {
    for protocol in ["tcp", "udp"] {
        let holder = Publisher::bind(&[publish(80, protocol)]).unwrap();
        let port = holder.forwards()[0].host_port;
        let again = PortPublish {
            host_port: Some(port..=port),
            ..publish(80, protocol)
        };
        let err = Publisher::bind(&[again]).unwrap_err();
        assert!(matches!(err, Error::PortTaken { port: taken, .. } if taken == port));
        let own = std::process::id();
        let beginning =
            format!("Bind for 127.0.0.1:{port} failed: port is already allocated: process {own} (");
        assert!(err.to_string().starts_with(&beginning), "{err}");
    }
}

#[test]
fn the_first_free_port_of_a_range_is_taken() {
    // Two neighbouring ports, of which the first is held.
    let (holder, range) = loop {
        let holder = Publisher::bind(&[publish(80, "tcp")]).unwrap();
        let port = holder.forwards()[0].host_port;
        if port < u16::MAX && TcpListener::bind((HERE, port + 1)).is_ok() {
            break (holder, port..=port + 1);
        }
    };
    let from_range = PortPublish {
        host_port: Some(range.clone()),
        ..publish(80, "tcp")
    };
    let second = Publisher::bind(std::slice::from_ref(&from_range)).unwrap();
    assert_eq!(second.forwards()[0].host_port, *range.end());
    assert!(Publisher::bind(&[from_range]).is_err());
    drop(holder);
}

#[test]
fn without_an_address_both_families_listen_on_one_port() {
    let everywhere = PortPublish {
        host: None,
        ..publish(80, "tcp")
    };
    let publisher = Publisher::bind(&[everywhere]).unwrap();
    let forwards = publisher.forwards();
    assert!(forwards.iter().all(|forward| forward.host.is_unspecified()));
    assert!(
        forwards
            .iter()
            .all(|forward| forward.host_port == forwards[0].host_port)
    );
    assert_eq!(forwards[0].host.to_string(), "0.0.0.0");
}
