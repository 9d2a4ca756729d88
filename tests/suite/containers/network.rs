//! Networks that users make, from outside: who finds whom, by which name, and what is left.

use serde_json::Value;

use crate::support::{Home, Need, needs};

/// Serves `/etc/hostname` and what else is in `/etc`.
const SERVER: [&str; 6] = ["httpd", "-f", "-p", "80", "-h", "/etc"];

fn home() -> Option<Home> {
    needs(&[Need::Root, Need::Busybox, Need::Overlay]).then(Home::with_busybox)
}

/// A server on a network.
fn serve(home: &Home, name: &str, flags: &[&str]) {
    let mut words = vec!["run", "-d", "--name", name];
    words.extend(flags);
    words.push("busybox");
    words.extend(SERVER);
    home.run(&words).ok();
}

/// What a container on a network gets of a URL.
fn fetch(home: &Home, network: &str, url: &str) -> (i32, String) {
    fetch_within(home, network, url, 10)
}

/// Whether nobody answers; packets that are dropped are waited for a little while only.
fn is_closed(home: &Home, network: &str, url: &str) -> bool {
    fetch_within(home, network, url, 2).0 != 0
}

fn fetch_within(home: &Home, network: &str, url: &str, seconds: u32) -> (i32, String) {
    // As the first process it would not hear the signal.
    let script = format!("timeout {seconds} wget -qO- {url} 2>&1; exit $?");
    let words = ["run", "--rm", "--network", network, "busybox", "sh", "-c"];
    let outcome = home.run(&[&words[..], &[&script]].concat());
    (outcome.code, outcome.text().to_owned())
}

fn address(home: &Home, container: &str, network: &str) -> String {
    let text = home.run(&["inspect", container]).ok().to_owned();
    let list: Value = serde_json::from_str(&text).unwrap();
    let place = &list[0]["NetworkSettings"]["Networks"][network];
    place["IPAddress"].as_str().unwrap().to_owned()
}

#[test]
fn members_find_each_other_by_name_alias_and_id() {
    let Some(home) = home() else { return };
    home.run(&["network", "create", "back"]).ok();
    serve(
        &home,
        "web",
        &["--network", "name=back,alias=www", "-h", "inner"],
    );
    let id = home
        .run(&["inspect", "-f", "{{.Id}}", "web"])
        .ok()
        .to_owned();
    for name in ["web", "WWW", &id[..12], "web.back"] {
        let (code, text) = fetch(&home, "back", &format!("http://{name}/hostname"));
        assert_eq!((code, text.as_str()), (0, "inner"), "{name}");
    }
    let (code, text) = fetch(&home, "back", "http://nobody-here/");
    assert!(code != 0, "{text}");
    // The default bridge has no names.
    assert!(is_closed(&home, "bridge", "http://web/hostname"));
    home.run(&["rename", "web", "shop"]).ok();
    assert_eq!(fetch(&home, "back", "http://shop/hostname").1, "inner");
    let lookup = ["exec", "shop", "nslookup", &address(&home, "shop", "back")];
    assert!(home.run(&lookup).ok().contains("shop.back"));
    home.run(&["network", "rm", "back"])
        .fails(1, "active endpoints (name:\"shop\"");
    home.run(&["rm", "-f", "shop"]).ok();
    assert_eq!(home.run(&["network", "rm", "back"]).ok(), "back");
    assert!(!home.run(&["network", "ls"]).ok().contains("back"));
}

#[test]
fn a_running_container_joins_and_leaves() {
    let Some(home) = home() else { return };
    home.run(&["network", "create", "--subnet", "10.203.7.0/24", "one"])
        .ok();
    home.run(&["network", "create", "--internal", "two"]).ok();
    serve(&home, "web", &[]);
    let connect = [
        "network",
        "connect",
        "--ip",
        "10.203.7.9",
        "--alias",
        "late",
        "one",
        "web",
    ];
    home.run(&connect).ok();
    assert_eq!(address(&home, "web", "one"), "10.203.7.9");
    assert_eq!(fetch(&home, "one", "http://late/hostname").0, 0);
    home.run(&connect).fails(1, "already exists in network one");
    // From now on it finds others, too.
    home.run(&["network", "connect", "two", "web"]).ok();
    serve(&home, "other", &["--network", "two"]);
    let ask = ["exec", "web", "wget", "-qO-", "http://other/hostname"];
    assert_eq!(home.run(&ask).ok().len(), 12);
    home.run(&["network", "disconnect", "one", "web"]).ok();
    assert!(is_closed(&home, "one", "http://late/hostname"));
    home.run(&["network", "disconnect", "one", "web"])
        .fails(1, "is not connected");
    // What was chosen last holds for the next start.
    home.run(&["stop", "-t", "0", "web"]).ok();
    assert_eq!(address(&home, "web", "two"), "");
    home.run(&["start", "web"]).ok();
    assert!(!address(&home, "web", "two").is_empty());
    let networks = home.run(&["inspect", "-f", "{{json .NetworkSettings.Networks}}", "web"]);
    assert!(!networks.ok().contains("\"one\""));
    home.run(&["rm", "-f", "web", "other"]).ok();
    assert_eq!(
        home.run(&["network", "prune", "-f"]).ok(),
        "Deleted Networks:\none\ntwo"
    );
}

#[test]
fn networks_are_apart_and_an_internal_one_is_closed() {
    let Some(home) = home() else { return };
    for words in [&["red"][..], &["--internal", "grey"]] {
        home.run(&[&["network", "create"], words].concat()).ok();
    }
    serve(&home, "red-web", &["--network", "red"]);
    serve(&home, "grey-web", &["--network", "grey"]);
    let red = format!("http://{}/hostname", address(&home, "red-web", "red"));
    let grey = format!("http://{}/hostname", address(&home, "grey-web", "grey"));
    assert_eq!(fetch(&home, "red", &red).0, 0);
    assert_eq!(fetch(&home, "grey", &grey).0, 0);
    assert!(is_closed(&home, "red", &grey));
    assert!(is_closed(&home, "grey", &red));
    let routes = home
        .run(&["exec", "grey-web", "ip", "route"])
        .ok()
        .to_owned();
    assert!(!routes.contains("default"), "{routes}");
    home.run(&["rm", "-f", "red-web", "grey-web"]).ok();
}

#[test]
fn ipv6_macvlan_and_options_do_what_they_say() {
    let Some(home) = home() else { return };
    let create = |words: &[&str]| home.run(&[&["network", "create"], words].concat());
    create(&[
        "--ipv6",
        "--subnet",
        "fd00:203::/64",
        "-o",
        "com.docker.network.driver.mtu=1400",
        "six",
    ])
    .ok();
    serve(&home, "web", &["--network", "six"]);
    let text = home
        .run(&["exec", "web", "ip", "addr", "show", "eth0"])
        .ok()
        .to_owned();
    assert!(
        text.contains("inet6 fd00:203::") && text.contains("mtu 1400"),
        "{text}"
    );
    let inspect = home.run(&["network", "inspect", "six"]).ok().to_owned();
    let list: Value = serde_json::from_str(&inspect).unwrap();
    assert_eq!(list[0]["IPAM"]["Config"][1]["Subnet"], "fd00:203::/64");
    assert_eq!(list[0]["Containers"].as_object().unwrap().len(), 1);
    let ping = [
        "run",
        "--rm",
        "--network",
        "six",
        "busybox",
        "ping",
        "-6",
        "-c1",
        "-W3",
        "web",
    ];
    home.run(&ping).ok();

    // Without a device of the host's, the members of a macvlan network see only each other.
    create(&["-d", "macvlan", "--subnet", "10.204.0.0/24", "lan"]).ok();
    serve(&home, "peer", &["--network", "lan", "--ip", "10.204.0.7"]);
    assert_eq!(fetch(&home, "lan", "http://peer/hostname").0, 0);
    home.run(&["rm", "-f", "web", "peer"]).ok();
    home.run(&["network", "rm", "six", "lan"]).ok();
}

#[test]
fn what_cannot_be_is_refused_and_nothing_is_left() {
    let Some(home) = home() else { return };
    let create = |words: &[&str]| home.run(&[&["network", "create"], words].concat());
    create(&["--subnet", "10.205.0.0/24", "net"]).ok();
    create(&["net"]).fails(1, "network with name net already exists");
    create(&["--subnet", "10.205.0.128/25", "other"]).fails(1, "overlaps");
    create(&["--subnet", "10.205.0.300/25", "other"]).fails(1, "invalid subnet");
    create(&["-d", "nosuch", "other"]).fails(1, "plugin \"nosuch\" not found");
    create(&["bridge"]).fails(1, "predefined");
    home.run(&["network", "rm", "host"])
        .fails(1, "pre-defined network");
    home.run(&["network", "rm", "nosuch"])
        .fails(1, "network nosuch not found");
    let run = |words: &[&str]| home.run(&[&["run", "--rm"], words, &["busybox", "true"]].concat());
    run(&["--network", "nosuch"]).fails(125, "network nosuch not found");
    run(&["--network", "net", "--ip", "10.206.0.1"]).fails(125, "no configured subnet contains");
    run(&["--network", "net", "--ip", "10.205.0.1"]).fails(125, "already in use");
    run(&["--ip", "10.205.0.9"]).fails(125, "user defined networks only");
    run(&["--network", "host", "--network", "net"]).fails(125, "conflicting options");
    run(&["--network", "net", "--network", "net"]).fails(125, "multiple times");
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
    let id = home
        .run(&["network", "inspect", "-f", "{{.Id}}", "net"])
        .ok()
        .to_owned();
    let device = format!("br-{}", &id[..12]);
    let devices = || std::fs::read_to_string("/proc/net/dev").unwrap();
    assert!(devices().contains(&device));
    run(&["--network", &id[..8]]).ok();
    home.run(&["system", "prune", "-f"]).ok();
    assert!(!devices().contains(&device));
}
