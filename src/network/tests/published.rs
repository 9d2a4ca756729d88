//! Published ports, seen from other machines, other containers and the host.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

use super::*;
use crate::network::ports::{PortPublish, Publisher, Target};

const PORT: u16 = 80;

/// A host with a container on a bridge and another machine.
struct Scene {
    bridge: Standing,
    container: Attachment,
    outside: Standing,
    stranger: Attachment,
}

impl Scene {
    fn new(host: &mut RouteSocket) -> Self {
        Self::with(host, Spec::default())
    }

    fn with(host: &mut RouteSocket, spec: Spec) -> Self {
        host.switch_on(LOOPBACK).unwrap();
        let outer = Spec {
            ipv6: spec.ipv6.map(|six| Ipv6 {
                gateway: "fd00:9::1".parse().unwrap(),
                ..six
            }),
            ..Spec::default()
        };
        let bridge = raise_as(host, row(DEVICE, [172, 17, 0, 1]), spec);
        nat::ensure(&bridge.network, &bridge.spec).unwrap();
        let outside = raise_as(host, row("uplink", [10, 9, 0, 1]), outer);
        let container = join_at(host, &bridge, 2);
        let stranger = join_at(host, &outside, 2);
        Self {
            bridge,
            container,
            outside,
            stranger,
        }
    }

    fn publish(&self, text: &str) -> Publisher {
        let mut publisher = Publisher::bind(&PortPublish::parse(text).unwrap()).unwrap();
        publisher.lead("test", &target(&self.container)).unwrap();
        publisher
    }

    /// The host as the stranger knows it.
    fn host(&self) -> IpAddr {
        self.outside.network.gateway.into()
    }
}

fn target(container: &Attachment) -> Target {
    Target::of(container.places()).unwrap()
}

fn port_of(publisher: &Publisher) -> u16 {
    publisher.forwards()[0].host_port
}

/// Connects from inside `client`, or from the host; who the server saw.
fn seen_by(
    server: &Attachment,
    listen: &str,
    client: Option<&Attachment>,
    to: SocketAddr,
) -> Option<IpAddr> {
    let listener = netns::enter(server.as_fd(), || TcpListener::bind(listen).unwrap()).unwrap();
    let connect = || TcpStream::connect_timeout(&to, PATIENCE);
    let stream = match client {
        Some(client) => netns::enter(client.as_fd(), connect).unwrap(),
        None => connect(),
    };
    let mut stream = stream.ok()?;
    // A proxy takes a connection before it knows whether it can be carried.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let (mut accepted, peer) = loop {
        match listener.accept() {
            Ok(pair) => break pair,
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return None,
        }
    };
    accepted.set_nonblocking(false).unwrap();
    accepted.write_all(b"pong").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    Some(peer.ip())
}

fn seen(scene: &Scene, client: Option<&Attachment>, to: SocketAddr) -> Option<IpAddr> {
    seen_by(&scene.container, "0.0.0.0:80", client, to)
}

/// Whether bridged packets go through the rules of routed ones, as they do where Docker is.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

#[test]
fn a_server_sees_who_connects() {
    for filter in ["0", "1"] {
        a_server_sees_who_connects_with(filter);
    }
}

fn a_server_sees_who_connects_with(bridge_filter: &str) {
    on_a_host(|host| {
        // Not every kernel has it.
        std::fs::write(BRIDGE_FILTER, bridge_filter).ok();
        let scene = Scene::new(host);
        let neighbour = join_at(host, &scene.bridge, 3);
        let mut second = row("rbtest1", [172, 18, 0, 1]);
        second.name = "second".to_owned();
        let second = raise(host, second);
        nat::ensure(&second.network, &second.spec).unwrap();
        let guest = join_at(host, &second, 2);
        let publisher = scene.publish("80");
        let port = port_of(&publisher);
        let at = |ip: &str| SocketAddr::new(ip.parse().unwrap(), port);

        let stranger = Some(&scene.stranger);
        let own = |attachment: &Attachment| Some(IpAddr::from(attachment.address()));
        assert_seen(own(&scene.stranger), || {
            seen(&scene, stranger, at("10.9.0.1"))
        });
        // Members of another network keep their address, too.
        assert_seen(own(&guest), || seen(&scene, Some(&guest), at("172.18.0.1")));
        assert_seen(own(&guest), || seen(&scene, Some(&guest), at("10.9.0.1")));
        // The answer to a neighbour, or to itself, has to come back by the host.
        let bridge = Some(IpAddr::from(scene.bridge.network.gateway));
        assert_seen(bridge, || seen(&scene, Some(&neighbour), at("10.9.0.1")));
        assert_seen(bridge, || {
            seen(&scene, Some(&scene.container), at("172.17.0.1"))
        });
        // The host itself, by an address of its own and by loopback.
        let host_address = scene.host();
        assert_seen(Some(host_address), || seen(&scene, None, at("10.9.0.1")));
        assert_seen(bridge, || seen(&scene, None, at("127.0.0.1")));
        assert_seen(bridge, || seen(&scene, None, at("::1")));
        // What is not published stays closed.
        let direct = SocketAddr::new(scene.container.address().into(), PORT);
        assert_eq!(seen(&scene, stranger, direct), None);

        drop(publisher);
        assert_eq!(seen(&scene, stranger, at("10.9.0.1")), None);
    });
}

#[test]
fn nobody_else_removes_the_rules_and_they_go_with_their_process() {
    on_a_host(|host| {
        let scene = Scene::new(host);
        let publisher = scene.publish("80");
        let to = SocketAddr::new(scene.host(), port_of(&publisher));
        let table = format!("rbuild_ports_test_{}", std::process::id());
        let mut nft = NftSocket::open().unwrap();
        let mut transaction = Transaction::default();
        transaction.family(Family::Both);
        transaction.remove_table(&table);
        assert!(nft.commit(transaction).is_err());
        let stranger = Some(&scene.stranger);
        let address = Some(IpAddr::from(scene.stranger.address()));
        assert_seen(address, || seen(&scene, stranger, to));
        assert!(nft.has_any_table(Family::Both, &table).unwrap());
        drop(publisher);
        assert!(!nft.has_any_table(Family::Both, &table).unwrap());
    });
}

#[test]
fn ranges_and_single_addresses_are_led() {
    on_a_host(|host| {
        let scene = Scene::new(host);
        let same = scene.publish("10.9.0.1:7000-7002:7000-7002");
        let moved = Publisher::bind(&PortPublish::parse("7100-7101:80-81").unwrap());
        let mut moved = moved.unwrap();
        moved.lead("other", &target(&scene.container)).unwrap();
        let own = Some(IpAddr::from(scene.stranger.address()));
        let ask = |listen: &str, ip: &str, port| {
            let to = SocketAddr::new(ip.parse().unwrap(), port);
            seen_by(&scene.container, listen, Some(&scene.stranger), to)
        };
        assert_seen(own, || ask("0.0.0.0:7002", "10.9.0.1", 7002));
        assert_seen(own, || ask("0.0.0.0:81", "10.9.0.1", 7101));
        // Another address of the host is not published.
        assert_eq!(ask("0.0.0.0:7002", "172.17.0.1", 7002), None);
        assert_eq!(same.forwards().len(), 3);
    });
}

#[test]
fn ipv6_is_led_where_the_network_has_it() {
    on_a_host(|host| {
        let spec = Spec {
            ipv6: Some(Ipv6 {
                gateway: "fd00:7::1".parse().unwrap(),
                prefix: 64,
            }),
            ..Spec::default()
        };
        let scene = Scene::with(host, spec);
        let publisher = scene.publish("80");
        let gateway: Ipv6Addr = "fd00:9::1".parse().unwrap();
        let to = SocketAddr::new(gateway.into(), port_of(&publisher));
        let (own, _) = scene.stranger.places()[0].address6.unwrap();
        let stranger = Some(&scene.stranger);
        assert_seen(Some(own.into()), || {
            seen_by(&scene.container, "[::]:80", stranger, to)
        });
    });
}

#[test]
fn without_rules_everything_is_carried() {
    on_a_host(|host| {
        let scene = Scene::new(host);
        // A firewall of the machine's owner that knows nothing of containers.
        let mut transaction = Transaction::default();
        transaction.add_table("strict", "");
        transaction.add_dropping_chain("strict", "forward", Hook::FORWARD);
        NftSocket::open().unwrap().commit(transaction).unwrap();
        let publisher = scene.publish("80");
        let to = SocketAddr::new(scene.host(), port_of(&publisher));
        let bridge = Some(IpAddr::from(scene.bridge.network.gateway));
        assert_seen(bridge, || seen(&scene, Some(&scene.stranger), to));
    });
}

/// Receives in `server` what `client` sends; who sent it.
fn datagram(client: &UdpSocket, to: SocketAddr, server: &UdpSocket) -> Option<IpAddr> {
    client.send_to(b"ping", to).unwrap();
    let mut buffer = [0; 8];
    let (_, from) = server.recv_from(&mut buffer).ok()?;
    server.send_to(b"pong", from).unwrap();
    let (length, answered) = client.recv_from(&mut buffer).ok()?;
    assert_eq!((&buffer[..length], answered), (&b"pong"[..], to));
    Some(from.ip())
}

fn datagrams(attachment: &Attachment, port: u16) -> UdpSocket {
    let bind = || UdpSocket::bind(("0.0.0.0", port)).unwrap();
    let socket = netns::enter(attachment.as_fd(), bind).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn datagrams_follow_the_container() {
    on_a_host(|host| {
        let scene = Scene::new(host);
        let other = join_at(host, &scene.bridge, 3);
        let (first, second) = (datagrams(&scene.container, 53), datagrams(&other, 53));
        let client = datagrams(&scene.stranger, 0);
        let to = SocketAddr::new(scene.host(), 5353);
        // Sent when nobody is there: the kernel remembers where it went.
        client.send_to(b"early", to).unwrap();
        let own = Some(IpAddr::from(scene.stranger.address()));
        let mut publisher = scene.publish("5353:53/udp");
        assert_seen(own, || datagram(&client, to, &first));
        // One client, one port, another container.
        publisher.lead("test", &target(&other)).unwrap();
        assert_seen(own, || datagram(&client, to, &second));
        drop(publisher);
        let mut again = Publisher::bind(&PortPublish::parse("5353:53/udp").unwrap()).unwrap();
        again.lead("test", &target(&scene.container)).unwrap();
        assert_seen(own, || datagram(&client, to, &first));
        drop(again);
        assert_eq!(datagram(&client, to, &first), None);
    });
}

/// The checksum of SCTP's packets (RFC 9260, appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 * (crc & 1))
        })
    };
    !bytes.iter().fold(u32::MAX, step)
}

/// The first packet of an association from port 5000.
fn sctp_init(port: u16) -> Vec<u8> {
    let mut packet = 5000_u16.to_be_bytes().to_vec();
    packet.extend(port.to_be_bytes());
    packet.extend([0; 8]);
    // INIT, 20 bytes: tag, window, streams, first number.
    packet.extend([
        1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 255, 255, 0, 1, 0, 1, 0, 0, 0, 1,
    ]);
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

#[test]
fn sctp_is_led_though_no_process_can_carry_it() {
    on_a_host(|host| {
        let scene = Scene::new(host);
        let publisher = scene.publish("9999:9900/sctp");
        assert_eq!(publisher.forwards()[0].protocol, "sctp");
        let open = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let protocol = Some(ipproto::SCTP);
            rustix::net::socket_with(AddressFamily::INET, SocketType::RAW, flags, protocol).unwrap()
        };
        let server = netns::enter(scene.container.as_fd(), open).unwrap();
        let client = netns::enter(scene.stranger.as_fd(), open).unwrap();
        let to = SocketAddr::new(scene.host(), 0);
        let mut packet = [0; 128];
        assert_seen(true, || {
            let init = sctp_init(9999);
            rustix::net::sendto(&client, &init, SendFlags::empty(), &to).unwrap();
            std::thread::sleep(PATIENCE / 10);
            rustix::net::recv(&server, &mut packet, RecvFlags::empty()).is_ok()
        });
        // Behind an IP header of 20 bytes: the sender is whom it was, the port is the container's.
        let octets = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        assert_eq!(octets(12), scene.stranger.address());
        assert_eq!(octets(16), scene.container.address());
        assert_eq!(packet[20..24], [0x13, 0x88, 0x26, 0xac]);
        // The port is kept, and free again afterwards.
        let again = PortPublish::parse("9999:1/sctp").unwrap();
        assert!(Publisher::bind(&again).is_err());
        drop(publisher);
        assert!(Publisher::bind(&again).is_ok());
    });
}

#[test]
fn sctp_without_rules_is_refused() {
    on_a_host(|host| {
        let scene = Scene::new(host);
        let mut publisher = Publisher::bind(&PortPublish::parse("127.0.0.1::1/sctp").unwrap());
        let publisher = publisher.as_mut().unwrap();
        let refusal = publisher.lead("test", &target(&scene.container));
        let text = refusal.unwrap_err().to_string();
        assert!(text.contains("/sctp: no process can carry it"), "{text}");
    });
}

/// Not a check but a measurement: `cargo test --release --lib published -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn how_much_goes_through_a_port() {
    const BYTES: usize = 4 << 30;
    on_a_host(|host| {
        let scene = Scene::new(host);
        let led = scene.publish("80");
        let measure = |what: &str, from: Option<&Attachment>, to: SocketAddr| {
            let listen = || TcpListener::bind("0.0.0.0:80").unwrap();
            let listener = netns::enter(scene.container.as_fd(), listen).unwrap();
            let connect = || TcpStream::connect(to).unwrap();
            let mut client = match from {
                Some(from) => netns::enter(from.as_fd(), connect).unwrap(),
                None => connect(),
            };
            let mut server = listener.accept().unwrap().0;
            let start = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let block = vec![7; 128 << 10];
                    for _ in 0..BYTES / block.len() {
                        client.write_all(&block).unwrap();
                    }
                    client.shutdown(std::net::Shutdown::Write).unwrap();
                });
                let mut block = vec![0; 128 << 10];
                while server.read(&mut block).unwrap() > 0 {}
            });
            let seconds = start.elapsed().as_secs_f64();
            eprintln!("{what}: {:.1} Gbit/s", 8.0 * 4.294_967_296 / seconds);
        };
        let to = SocketAddr::new(scene.host(), port_of(&led));
        measure("by the kernel", Some(&scene.stranger), to);
        drop(led);
        let mut transaction = Transaction::default();
        transaction.add_table("strict", "");
        transaction.add_dropping_chain("strict", "forward", Hook::FORWARD);
        NftSocket::open().unwrap().commit(transaction).unwrap();
        let carried = scene.publish("80");
        let to = SocketAddr::new(scene.host(), port_of(&carried));
        measure("by the process", Some(&scene.stranger), to);
    });
}
