//! What somebody else removes from the host is put back, and those on it notice nothing.

use super::*;
use crate::network::{self, DEFAULT, NewNetwork, repair};
use crate::store::{Paths, Store};

fn store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::new(root.path().join("data"), root.path().join("run"));
    let store = Store::open(paths).unwrap();
    (root, store)
}

fn names(store: &Store) -> Vec<String> {
    let repairs = repair(store).unwrap();
    assert!(
        repairs.iter().all(|one| one.failure.is_none()),
        "{repairs:?}"
    );
    repairs.into_iter().map(|one| one.network).collect()
}

#[test]
fn what_is_gone_is_put_back() {
    on_a_host(|host| {
        let (_root, store) = store();
        assert_eq!(names(&store), Vec::<String>::new());
        let one = network::attach(&store, "one").unwrap();
        let two = network::attach(&store, "two").unwrap();
        let new = NewNetwork {
            name: "back".to_owned(),
            ..NewNetwork::default()
        };
        let back = network::create(&store, &new).unwrap();
        assert_eq!(names(&store), Vec::<String>::new());
        let outside = raise(host, row("uplink", [10, 9, 0, 1]));
        let server = join_at(host, &outside, 2);
        let seen = |client: &Attachment| ip(reach(client, &server));
        let gateway = Some(outside.network.gateway.into());
        assert_seen(gateway, || seen(&one));

        // The firewall is loaded anew.
        let device = store.network_get(DEFAULT).unwrap().unwrap().device;
        nat::remove(&device).unwrap();
        nat::remove(back.device.as_deref().unwrap()).unwrap();
        assert_seen(Some(one.address().into()), || seen(&one));
        // Nobody is on the other network; it is mended when somebody joins.
        assert_eq!(names(&store), [DEFAULT]);
        assert_seen(gateway, || seen(&one));

        std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
        assert_eq!(seen(&one), None);
        assert_eq!(names(&store), [DEFAULT]);
        assert_seen(gateway, || seen(&one));

        // Whoever was on the bridge is on the new one.
        assert!(host.remove_link(&device).unwrap());
        assert!(reach(&one, &two).is_none());
        assert_eq!(names(&store), [DEFAULT]);
        assert_seen(true, || reach(&one, &two).is_some());
        assert_seen(true, || reach(&two, &one).is_some());
        assert_seen(gateway, || seen(&two));
        assert_eq!(names(&store), Vec::<String>::new());

        // A bridge that is off, or has lost its address, is no better.
        let link = host.link(&device).unwrap().unwrap();
        host.remove_addresses(link.index).unwrap();
        assert_eq!(names(&store), [DEFAULT]);
        assert_seen(gateway, || seen(&two));

        // Joining mends just as well.
        assert!(host.remove_link(&device).unwrap());
        let mut three = Attachment::create("three").unwrap();
        three.join(&store, &Wish::default_bridge("three")).unwrap();
        assert_seen(true, || reach(&three, &one).is_some());
        for attachment in [one, two, three] {
            attachment.detach(&store).unwrap();
        }
        assert!(network::teardown_default(&store).unwrap());
    });
}

#[test]
fn a_network_that_cannot_be_mended_is_told_and_stops_nothing() {
    on_a_host(|host| {
        let (_root, store) = store();
        let uplink = raise(host, row("uplink", [10, 9, 0, 1]));
        let new = NewNetwork {
            name: "lan".to_owned(),
            driver: "macvlan".to_owned(),
            options: [("parent".to_owned(), "uplink".to_owned())].into(),
            ..NewNetwork::default()
        };
        network::create(&store, &new).unwrap();
        let mut one = Attachment::create("one").unwrap();
        let wish = Wish {
            network: "lan",
            ..Wish::default_bridge("one")
        };
        one.join(&store, &wish).unwrap();
        assert!(repair(&store).unwrap().is_empty());
        host.remove_link(&uplink.network.device).unwrap();
        let repairs = repair(&store).unwrap();
        assert_eq!(repairs[0].network, "lan");
        let failure = repairs[0].failure.as_ref().unwrap().to_string();
        assert!(failure.contains("no device `uplink`"), "{failure}");
    });
}
