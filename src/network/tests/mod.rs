//! The bridge, its rules and its attachments, in a namespace that plays the host.

mod published;
mod repair;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::fs::Lock;
use crate::store::{LeaseRow, NetworkRow};
use crate::sys::netns;

use crate::network::attach::{Attachment, Wish};
use crate::network::bridge::{Standing, make};
use crate::network::nat;
use crate::network::netlink::nftables::{Family, Hook, NftSocket, Transaction};
use crate::network::netlink::route::{LOOPBACK, RouteSocket};
use crate::network::spec::{Ipv6, Spec};

const DEVICE: &str = "rbtest0";
const PATIENCE: Duration = Duration::from_millis(300);

/// Runs `test` in a network namespace of its own that plays the host; says so
/// when this process may not make one.
fn on_a_host(test: impl FnOnce(&mut RouteSocket) + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root makes network namespaces");
        return;
    }
    netns::create(|| test(&mut RouteSocket::open().unwrap())).unwrap();
}

fn row(device: &str, gateway: [u8; 4]) -> NetworkRow {
    NetworkRow {
        name: "bridge".to_owned(),
        id: "0".repeat(64),
        device: device.to_owned(),
        gateway: gateway.into(),
        prefix: 16,
        created_at: 0,
        spec: "{}".to_owned(),
    }
}

fn raise(host: &mut RouteSocket, network: NetworkRow) -> Standing {
    raise_as(host, network, Spec::default())
}

fn raise_as(host: &mut RouteSocket, network: NetworkRow, spec: Spec) -> Standing {
    let link = make(host, &network, &spec).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    Standing::new(network, spec, link, Lock::shared(file.path()).unwrap())
}

fn join_at(host: &mut RouteSocket, bridge: &Standing, last: u8) -> Attachment {
    let mut attachment = Attachment::create("test").unwrap();
    join_more(host, bridge, last, &mut attachment);
    attachment
}

fn join_more(host: &mut RouteSocket, bridge: &Standing, last: u8, attachment: &mut Attachment) {
    let [a, b, c, _] = bridge.network.gateway.octets();
    let lease = LeaseRow {
        network: bridge.network.name.clone(),
        address: Ipv4Addr::new(a, b, c, last),
        address6: bridge.spec.ipv6.map(|six| {
            let address = u128::from(six.network()) + u128::from(last);
            std::net::Ipv6Addr::from(address)
        }),
        owner: "test".to_owned(),
        pid: 0,
        pid_started: 0,
    };
    let wish = Wish::default_bridge("test");
    attachment.connect(host, bridge, &lease, &wish).unwrap();
}

/// Asserts what is seen once everything has settled: on a busy machine a first packet
/// may be late, and one that was lost is sent again after a second.
#[track_caller]
fn assert_seen<T: Copy + PartialEq + std::fmt::Debug>(expected: T, mut look: impl FnMut() -> T) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = look();
        if seen == expected || Instant::now() >= deadline {
            assert_eq!(seen, expected);
            return;
        }
    }
}

/// Listens inside `server` and connects from inside `client`; the address that
/// the server saw, or nothing when the connection failed.
fn reach(client: &Attachment, server: &Attachment) -> Option<SocketAddr> {
    let target = SocketAddr::new(server.address().into(), 80);
    let listener = netns::enter(server.as_fd(), || TcpListener::bind(target).unwrap()).unwrap();
    let connect = || TcpStream::connect_timeout(&target, PATIENCE);
    let mut stream = netns::enter(client.as_fd(), connect).unwrap().ok()?;
    let (mut accepted, peer) = listener.accept().unwrap();
    stream.write_all(b"ping").unwrap();
    drop(stream);
    let mut text = String::new();
    accepted.read_to_string(&mut text).unwrap();
    assert_eq!(text, "ping");
    Some(peer)
}

fn ip(peer: Option<SocketAddr>) -> Option<std::net::IpAddr> {
    peer.map(|peer| peer.ip())
}

#[test]
fn two_attachments_reach_each_other_and_the_host() {
    on_a_host(|host| {
        let bridge = raise(host, row(DEVICE, [172, 17, 0, 1]));
        let one = join_at(host, &bridge, 2);
        let two = join_at(host, &bridge, 3);
        assert_eq!(one.places()[0].mac, [0x02, 0x42, 172, 17, 0, 2]);
        assert_seen(Some(one.address().into()), || ip(reach(&one, &two)));
        assert_seen(Some(two.address().into()), || ip(reach(&two, &one)));

        let listener = TcpListener::bind((one.gateway(), 0)).unwrap();
        let target = listener.local_addr().unwrap();
        netns::enter(two.as_fd(), || {
            TcpStream::connect_timeout(&target, PATIENCE).unwrap()
        })
        .unwrap();
    });
}

#[test]
fn a_namespace_has_its_loopback_and_no_ipv6_device_address() {
    on_a_host(|host| {
        let bridge = raise(host, row(DEVICE, [172, 17, 0, 1]));
        let one = join_at(host, &bridge, 2);
        netns::enter(one.as_fd(), || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let addresses = std::fs::read_to_string("/proc/thread-self/net/if_inet6");
            assert!(!addresses.unwrap_or_default().contains("eth0"));
        })
        .unwrap();
    });
}

#[test]
fn packets_leave_translated_and_strangers_stay_outside() {
    on_a_host(|host| {
        let inside = raise(host, row(DEVICE, [172, 17, 0, 1]));
        let outside = raise(host, row("uplink", [10, 9, 0, 1]));
        nat::ensure(&inside.network, &inside.spec).unwrap();
        assert!(nat::is_complete(&inside.network, &inside.spec).unwrap());
        let container = join_at(host, &inside, 2);
        let neighbour = join_at(host, &inside, 3);
        let server = join_at(host, &outside, 2);
        let gateway = Some(outside.network.gateway.into());
        assert_seen(gateway, || ip(reach(&container, &server)));
        assert_eq!(reach(&server, &container), None);
        let own = Some(container.address().into());
        assert_seen(own, || ip(reach(&container, &neighbour)));

        nat::remove(DEVICE).unwrap();
        assert!(!nat::is_complete(&inside.network, &inside.spec).unwrap());
        let own = Some(server.address().into());
        assert_seen(own, || ip(reach(&server, &container)));
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    on_a_host(|host| {
        let spec = Spec {
            internal: true,
            ..Spec::default()
        };
        let inside = raise_as(host, row(DEVICE, [172, 17, 0, 1]), spec);
        let outside = raise(host, row("uplink", [10, 9, 0, 1]));
        nat::ensure(&inside.network, &inside.spec).unwrap();
        let one = join_at(host, &inside, 2);
        let two = join_at(host, &inside, 3);
        let server = join_at(host, &outside, 2);
        assert_seen(true, || reach(&one, &two).is_some());
        assert_eq!(one.places()[0].gateway, None);
        // Even with a route of its own it is held.
        netns::enter(one.as_fd(), || {
            let mut inside = RouteSocket::open().unwrap();
            let link = inside.link("eth0").unwrap().unwrap();
            let gateway = Some(Ipv4Addr::new(172, 17, 0, 1));
            inside
                .set_default_routes(link.index, gateway, None)
                .unwrap();
        })
        .unwrap();
        assert_eq!(reach(&one, &server), None);
    });
}

#[test]
fn two_networks_and_ipv6_in_one_namespace() {
    on_a_host(|host| {
        let six = Ipv6 {
            gateway: "fd00:7::1".parse().unwrap(),
            prefix: 64,
        };
        let spec = Spec {
            ipv6: Some(six),
            ..Spec::default()
        };
        let first = raise_as(host, row(DEVICE, [172, 17, 0, 1]), spec);
        nat::ensure(&first.network, &first.spec).unwrap();
        assert!(nat::is_complete(&first.network, &first.spec).unwrap());
        let mut second = row("rbtest1", [172, 18, 0, 1]);
        second.name = "second".to_owned();
        let second = raise(host, second);
        let mut both = join_at(host, &first, 2);
        join_more(host, &second, 2, &mut both);
        let other = join_at(host, &first, 3);
        let far = join_at(host, &second, 3);
        let devices: Vec<&str> = both.places().iter().map(|p| p.device.as_str()).collect();
        assert_eq!(devices, ["eth0", "eth1"]);
        assert!(reach(&far, &both).is_none(), "networks are apart");
        assert_seen(true, || reach(&both, &far).is_some());
        assert_seen(true, || reach(&both, &other).is_some());

        let (address, _) = other.places()[0].address6.unwrap();
        let target = SocketAddr::new(address.into(), 80);
        let listener = netns::enter(other.as_fd(), || TcpListener::bind(target).unwrap()).unwrap();
        let connect = || TcpStream::connect_timeout(&target, PATIENCE);
        netns::enter(both.as_fd(), connect).unwrap().unwrap();
        drop(listener);
        nat::remove(DEVICE).unwrap();
        assert!(!nat::is_complete(&first.network, &first.spec).unwrap());
    });
}

#[test]
fn rules_are_replaced_when_the_subnet_changes() {
    on_a_host(|_| {
        let old = row(DEVICE, [172, 17, 0, 1]);
        let new = row(DEVICE, [172, 18, 0, 1]);
        nat::ensure(&old, &Spec::default()).unwrap();
        assert!(!nat::is_complete(&new, &Spec::default()).unwrap());
        nat::ensure(&new, &Spec::default()).unwrap();
        assert!(nat::is_complete(&new, &Spec::default()).unwrap());
        assert!(!nat::is_complete(&old, &Spec::default()).unwrap());
    });
}

#[test]
fn a_filter_that_drops_is_told_to_let_the_bridge_pass() {
    on_a_host(|host| {
        let mut transaction = Transaction::default();
        transaction.add_table("filter", "");
        transaction.add_dropping_chain("filter", "FORWARD", Hook::FORWARD);
        let mut nft = NftSocket::open().unwrap();
        nft.commit(transaction).unwrap();

        let inside = raise(host, row(DEVICE, [172, 17, 0, 1]));
        let outside = raise(host, row("uplink", [10, 9, 0, 1]));
        let container = join_at(host, &inside, 2);
        let server = join_at(host, &outside, 2);
        assert_eq!(reach(&container, &server), None);
        nat::ensure(&inside.network, &inside.spec).unwrap();
        assert_seen(true, || reach(&container, &server).is_some());
        assert_eq!(reach(&server, &container), None);
        let count = |nft: &mut NftSocket| {
            let rules = nft.marked_rules("filter", "FORWARD", "rbuild: ");
            rules.unwrap().len()
        };
        assert_eq!(count(&mut nft), 2);
        nat::ensure(&inside.network, &inside.spec).unwrap();
        assert_eq!(count(&mut nft), 2);
        nat::remove(DEVICE).unwrap();
        assert_eq!(count(&mut nft), 0);
    });
}

#[test]
fn dockers_chain_for_others_comes_first() {
    on_a_host(|_| {
        let mut transaction = Transaction::default();
        transaction.add_table("filter", "");
        transaction.add_dropping_chain("filter", "FORWARD", Hook::FORWARD);
        transaction.add_plain_chain("filter", "DOCKER-USER");
        let mut nft = NftSocket::open().unwrap();
        nft.commit(transaction).unwrap();
        for (device, expected) in [(DEVICE, 2), ("rbtest1", 4), (DEVICE, 4)] {
            nat::ensure(&row(device, [172, 17, 0, 1]), &Spec::default()).unwrap();
            let rules = nft.marked_rules("filter", "DOCKER-USER", "rbuild: ");
            assert_eq!(rules.unwrap().len(), expected);
        }
        nat::remove("rbtest1").unwrap();
        let rules = nft.marked_rules("filter", "DOCKER-USER", "rbuild: ");
        assert_eq!(rules.unwrap().len(), 2);
        let rules = nft.marked_rules("filter", "FORWARD", "rbuild: ");
        assert!(rules.unwrap().is_empty());
    });
}

#[test]
fn making_a_bridge_twice_and_removing_it_twice_is_harmless() {
    on_a_host(|host| {
        let network = row(DEVICE, [172, 17, 0, 1]);
        let first = make(host, &network, &Spec::default()).unwrap();
        let second = make(host, &network, &Spec::default()).unwrap();
        assert_eq!(first.index, second.index);
        assert!(host.remove_link(DEVICE).unwrap());
        assert!(!host.remove_link(DEVICE).unwrap());
        nat::remove(DEVICE).unwrap();
    });
}

/// Not a check but a measurement: `cargo test --release network::tests::joining -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn joining_takes_how_long() {
    on_a_host(|host| {
        let bridge = raise(host, row(DEVICE, [172, 17, 0, 1]));
        nat::ensure(&bridge.network, &bridge.spec).unwrap();
        let mut joined = Vec::new();
        for last in 2..152 {
            let start = Instant::now();
            assert!(nat::is_complete(&bridge.network, &bridge.spec).unwrap());
            let checked = start.elapsed();
            let start = Instant::now();
            let attachment = join_at(host, &bridge, last);
            let made = start.elapsed();
            let listener = TcpListener::bind((bridge.network.gateway, 0)).unwrap();
            let target = listener.local_addr().unwrap();
            let start = Instant::now();
            netns::enter(attachment.as_fd(), || TcpStream::connect(target).unwrap()).unwrap();
            let connected = start.elapsed();
            // The first ones stay, the others end one after another.
            if last < 52 {
                joined.push(attachment);
            }
            eprintln!("checked {checked:?}, joined {made:?}, first connection {connected:?}");
        }
    });
}
