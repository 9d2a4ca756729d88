//! The default network of a store, in a network namespace that plays the host.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "clippy takes functions beside tests for no part of them"
)]

use std::collections::HashSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rbuild::network::{self, Attachment, Network, NewNetwork};
use rbuild::store::{Paths, Store};
use rbuild::sys::netns;

/// Runs `test` in a network namespace of its own; says so when this process may
/// not make one.
fn on_a_host(test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root makes network namespaces");
        return;
    }
    netns::create(test).unwrap();
}

fn store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::new(root.path().join("data"), root.path().join("run"));
    let store = Store::open(paths).unwrap();
    (root, store)
}

fn can_reach(client: &Attachment, server: &Attachment) -> bool {
    let target = SocketAddr::new(server.address().into(), 80);
    let listener = netns::enter(server.as_fd(), || TcpListener::bind(target).unwrap()).unwrap();
    let patience = Duration::from_millis(300);
    let connect = || TcpStream::connect_timeout(&target, patience).is_ok();
    let reached = netns::enter(client.as_fd(), connect).unwrap();
    drop(listener);
    reached
}

/// The names of this host's devices.
fn devices() -> String {
    std::fs::read_to_string("/proc/thread-self/net/dev").unwrap()
}

#[test]
fn what_is_attached_is_connected_and_all_is_removed_in_the_end() {
    on_a_host(|| {
        let (_root, store) = store();
        assert!(!network::teardown_default(&store).unwrap());
        let one = network::attach(&store, "one").unwrap();
        let two = network::attach(&store, "two").unwrap();
        assert_eq!(one.gateway().octets()[2..], [0, 1]);
        assert_eq!(one.address().octets()[2..], [0, 2]);
        assert_eq!(two.address().octets()[2..], [0, 3]);
        assert!(can_reach(&one, &two) && can_reach(&two, &one));
        let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        assert_eq!(forwarding.trim(), "1");

        one.detach(&store).unwrap();
        assert!(!network::teardown_default(&store).unwrap());
        assert!(devices().contains("rb-"));
        two.detach(&store).unwrap();
        assert!(network::teardown_default(&store).unwrap());
        assert!(!devices().contains("rb-"));
        assert_eq!(store.network_get(network::DEFAULT).unwrap(), None);
        assert!(!network::teardown_default(&store).unwrap());
    });
}

#[test]
fn an_address_is_not_given_again_at_once() {
    on_a_host(|| {
        let (_root, store) = store();
        for last in 2..6 {
            let attachment = network::attach(&store, "one").unwrap();
            assert_eq!(attachment.address().octets()[3], last);
            attachment.detach(&store).unwrap();
        }
        network::teardown_default(&store).unwrap();
    });
}

#[test]
fn a_bridge_that_is_gone_is_made_again_with_its_subnet() {
    let (_root, store) = store();
    let gateway = std::sync::Mutex::new(None);
    // The second host is the first one after a restart.
    for _ in 0..2 {
        on_a_host(|| {
            let one = network::attach(&store, "one").unwrap();
            let two = network::attach(&store, "two").unwrap();
            assert!(can_reach(&one, &two));
            let mut gateway = gateway.lock().unwrap();
            assert_eq!(*gateway.get_or_insert(one.gateway()), one.gateway());
            one.detach(&store).unwrap();
            two.detach(&store).unwrap();
        });
    }
}

#[test]
fn two_stores_have_two_networks() {
    on_a_host(|| {
        let (_root, first) = store();
        let (_other_root, second) = store();
        let one = network::attach(&first, "one").unwrap();
        let two = network::attach(&second, "two").unwrap();
        assert_ne!(one.gateway(), two.gateway());
        // Containers of one store are not forwarded to those of another.
        assert!(!can_reach(&one, &two));
        one.detach(&first).unwrap();
        assert!(network::teardown_default(&first).unwrap());
        let three = network::attach(&second, "three").unwrap();
        assert!(can_reach(&two, &three));
    });
}

#[test]
fn many_attach_at_once_to_one_new_bridge() {
    on_a_host(|| {
        let (_root, store) = store();
        let attachments = at_once(8, |number| {
            network::attach(&store, &format!("c{number}")).unwrap()
        });
        let addresses: HashSet<_> = attachments.iter().map(Attachment::address).collect();
        assert_eq!(addresses.len(), 8);
        assert!(can_reach(&attachments[0], &attachments[7]));
        assert_eq!(devices().matches("rb-").count(), 1);
    });
}

#[test]
fn two_hundred_attach_at_once() {
    on_a_host(|| {
        let (_root, store) = store();
        let attachments = at_once(200, |number| {
            network::attach(&store, &format!("c{number}")).unwrap()
        });
        let addresses: HashSet<_> = attachments.iter().map(Attachment::address).collect();
        assert_eq!(addresses.len(), 200);
        assert!((0..5).any(|_| can_reach(&attachments[0], &attachments[199])));
        for attachment in attachments {
            attachment.detach(&store).unwrap();
        }
        assert!(network::teardown_default(&store).unwrap());
    });
}

fn create(store: &Store, name: &str, subnet: Option<String>) -> Result<Network, network::Error> {
    let new = NewNetwork {
        name: name.to_owned(),
        subnets: subnet.into_iter().collect(),
        ..NewNetwork::default()
    };
    network::create(store, &new)
}

#[test]
fn fifty_networks_are_made_at_once() {
    on_a_host(|| {
        let (_root, store) = store();
        // Docker's pools have room for thirty; the others name a subnet.
        let networks = at_once(50, |number| {
            let subnet = (number >= 30).then(|| format!("10.220.{number}.0/24"));
            create(&store, &format!("n{number}"), subnet).unwrap()
        });
        let subnets: HashSet<_> = networks
            .iter()
            .map(|network| network.subnet.clone().unwrap().0)
            .collect();
        assert_eq!(subnets.len(), 50);
        assert!(
            !subnets.contains("172.17.0.0/16"),
            "that is the default bridge's"
        );
        assert_eq!(devices().matches("br-").count(), 50);
        let full = create(&store, "late", None).unwrap_err().to_string();
        let expected = "all predefined address pools have been fully subnetted";
        assert!(full.starts_with(expected), "{full}");
        assert!(network::find(&store, "late").is_err());
        let one = network::attach(&store, "one").unwrap();
        assert_eq!(one.gateway().to_string(), "172.17.0.1");
        one.detach(&store).unwrap();
        for network in &networks {
            network::remove(&store, network, &|_| String::new()).unwrap();
        }
        assert!(network::teardown_default(&store).unwrap());
        assert!(!devices().contains("br-"));
    });
}

#[test]
fn the_default_bridge_avoids_what_the_host_reaches() {
    on_a_host(|| {
        let (_root, first) = store();
        let docker = create(&first, "docker", Some("172.17.0.0/16".to_owned())).unwrap();
        let (_other_root, second) = store();
        let one = network::attach(&second, "one").unwrap();
        assert_eq!(one.gateway().to_string(), "172.18.0.1");
        one.detach(&second).unwrap();
        // Unused, it moves back as soon as the room is free again.
        network::remove(&first, &docker, &|_| String::new()).unwrap();
        assert!(network::teardown_default(&second).unwrap());
        let one = network::attach(&second, "one").unwrap();
        assert_eq!(one.gateway().to_string(), "172.17.0.1");
    });
}

/// Does something many times side by side.
fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..count)
            .map(|number| scope.spawn(move || work(number)))
            .collect();
        let ended = workers.into_iter().map(|worker| worker.join().unwrap());
        ended.collect()
    })
}

/// Not a check but a measurement: `cargo test --release --test suite attaching -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn attaching_takes_how_long() {
    on_a_host(|| {
        let (_root, store) = store();
        let mut times: Vec<_> = (0..101)
            .map(|_| {
                let start = Instant::now();
                let attachment = network::attach(&store, "one").unwrap();
                let attached = start.elapsed();
                attachment.detach(&store).unwrap();
                attached
            })
            .collect();
        eprintln!("first, with the bridge: {:?}", times[0]);
        times.sort();
        eprintln!(
            "median {:?}, 95 of 100 {:?}, longest {:?}",
            times[50], times[95], times[100]
        );
    });
}
