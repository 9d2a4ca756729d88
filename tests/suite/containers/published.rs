//! Published ports on a host of their own: another machine, other containers, kills,
//! and what somebody else removes meanwhile.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rbuild::network::{self, Attachment, NewNetwork, Wish};
use rbuild::store::{Paths, Store};
use rbuild::sys::netns;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::base::{home, of, until};
use crate::support::{Home, Outcome, run_other};

/// Another machine reaches the host under this address.
const HOST: &str = "10.9.0.1";

/// A network namespace that plays a host, and another one that plays a machine
/// beside it.
struct Scene {
    home: Home,
    namespace: OwnedFd,
    stranger: Attachment,
    _far: (TempDir, Store),
}

impl Scene {
    fn new() -> Option<Self> {
        let home = home()?;
        let far = tempfile::tempdir().unwrap();
        let paths = Paths::new(far.path().join("data"), far.path().join("run"));
        let store = Store::open(paths).unwrap();
        let (namespace, stranger) = netns::create(|| {
            run_other("busybox", &["ip", "link", "set", "lo", "up"]);
            let plain = "com.docker.network.bridge.enable_ip_masquerade";
            let new = NewNetwork {
                name: "uplink".to_owned(),
                subnets: vec!["10.9.0.0/24".to_owned()],
                options: [(plain.to_owned(), "false".to_owned())].into(),
                ..NewNetwork::default()
            };
            network::create(&store, &new).unwrap();
            let mut stranger = Attachment::create("stranger").unwrap();
            let wish = Wish {
                network: "uplink",
                ..Wish::default_bridge("stranger")
            };
            stranger.join(&store, &wish).unwrap();
            stranger
        })
        .unwrap();
        Some(Self {
            home,
            namespace,
            stranger,
            _far: (far, store),
        })
    }

    /// Runs the program on the host.
    fn run(&self, words: &[&str]) -> Outcome {
        netns::enter(self.namespace.as_fd(), || self.home.run(words)).unwrap()
    }

    /// Starts a server that answers with its client's address.
    fn serve(&self, name: &str, flags: &[&str]) {
        // The address is told as `[::ffff:10.9.0.2]`.
        let script = "#!/bin/sh\necho\nwho=${REMOTE_ADDR##*:}\necho ${who%]} $(hostname)\n";
        let who = self.home.file("www/cgi-bin/who", script);
        run_other("chmod", &["755", who.to_str().unwrap()]);
        let volume = format!("{}:/www", self.home.scratch().join("www").display());
        let mut words = vec!["run", "-d", "--name", name, "-h", name, "-v", &volume];
        words.extend(flags);
        words.extend(["busybox", "httpd", "-f", "-p", "80", "-h", "/www"]);
        self.run(&words).ok();
    }

    /// What the server at an address of the host answers to the other machine: who
    /// it thinks that is, and its own name.
    fn asked_from_outside(&self, port: u16) -> Option<String> {
        let to = SocketAddr::new(HOST.parse().unwrap(), port);
        netns::enter(self.stranger.as_fd(), || ask(to)).unwrap()
    }

    fn asked_on_host(&self, address: &str, port: u16) -> Option<String> {
        let to = SocketAddr::new(address.parse().unwrap(), port);
        netns::enter(self.namespace.as_fd(), || ask(to)).unwrap()
    }

    /// Asked until it is so: a server takes its time to listen.
    #[track_caller]
    fn answers_outside(&self, port: u16, expected: &str) {
        let stranger = self.stranger.address();
        let expected = Some(format!("{stranger} {expected}"));
        until("an answer", || self.asked_from_outside(port) == expected);
    }
}

fn ask(to: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&to, Duration::from_millis(500)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream
        .write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n")
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.lines().last()?.trim().to_owned())
}

#[test]
fn another_machine_is_seen_by_its_own_address() {
    let Some(scene) = Scene::new() else { return };
    scene.serve("web", &["-p", "8080:80"]);
    scene.answers_outside(8080, "web");
    // The host by an address of its own is itself; by loopback it is the bridge.
    let own = Some(format!("{HOST} web"));
    assert_eq!(scene.asked_on_host(HOST, 8080), own);
    let gateway = of(&scene.home, "web", "/NetworkSettings/Gateway");
    let gateway = gateway.as_str().unwrap().to_owned();
    for loopback in ["127.0.0.1", "::1"] {
        let seen = scene.asked_on_host(loopback, 8080);
        assert_eq!(seen, Some(format!("{gateway} web")), "{loopback}");
    }
    // A container of another network, by the address that it knows the host under.
    scene.run(&["network", "create", "back"]).ok();
    let url = format!("http://{HOST}:8080/cgi-bin/who");
    let fetch = |network: &str| {
        let script = format!("hostname -i; wget -qO- {url}");
        let words = ["run", "--rm", "--network", network, "busybox", "sh", "-c"];
        scene
            .run(&[&words[..], &[&script]].concat())
            .ok()
            .to_owned()
    };
    let told = fetch("back");
    let (address, seen) = told.split_once('\n').unwrap();
    assert_eq!(seen.trim(), format!("{} web", address.trim()));
    // One of the same network is answered through the host.
    assert!(fetch("bridge").ends_with(&format!("{gateway} web")));
    scene.run(&["rm", "-f", "web"]).ok();
    assert_eq!(scene.asked_from_outside(8080), None);
}

#[test]
fn ports_follow_a_container_that_gets_another_address() {
    let Some(scene) = Scene::new() else { return };
    scene.serve("web", &["-p", "8080:80"]);
    scene.answers_outside(8080, "web");
    let address = || of(&scene.home, "web", "/NetworkSettings/IPAddress");
    let before = address();
    scene.run(&["restart", "-t", "0", "web"]).ok();
    assert_ne!(address(), before);
    scene.answers_outside(8080, "web");
    // The network that leads out is another one.
    scene.run(&["network", "create", "front"]).ok();
    scene.run(&["network", "connect", "front", "web"]).ok();
    scene.answers_outside(8080, "web");
    scene.run(&["network", "disconnect", "bridge", "web"]).ok();
    scene.answers_outside(8080, "web");
    // On a network without a way out nothing is published, and the port is free.
    scene.run(&["network", "create", "--internal", "deep"]).ok();
    scene.run(&["network", "connect", "deep", "web"]).ok();
    scene.run(&["network", "disconnect", "front", "web"]).ok();
    assert_eq!(scene.asked_from_outside(8080), None);
    assert_eq!(scene.run(&["port", "web"]).ok(), "");
    scene.serve("other", &["-p", "8080:80", "--network", "front"]);
    scene.answers_outside(8080, "other");
    scene.serve("inner", &["-p", "8080:80", "--network", "deep"]);
    assert_eq!(scene.run(&["port", "inner"]).ok(), "");
    scene.run(&["rm", "-f", "web", "other", "inner"]).ok();
}

#[test]
fn nothing_stays_of_a_keeper_that_was_killed() {
    let Some(scene) = Scene::new() else { return };
    scene.serve("web", &["-p", "8080:80", "-p", "5353:53/udp"]);
    scene.answers_outside(8080, "web");
    let paths = Paths::new(scene.home.root(), scene.home.run_root());
    let store = Store::open(paths).unwrap();
    let shim = store.lease_list("bridge").unwrap()[0].pid;
    kill_process(Pid::from_raw(shim).unwrap(), Signal::KILL).unwrap();
    until("the end", || scene.asked_from_outside(8080).is_none());
    until("the port", || {
        let taken = scene.run(&["run", "--rm", "-p", "8080:80", "busybox", "true"]);
        taken.code == 0
    });
    scene.serve("next", &["-p", "8080:80"]);
    scene.answers_outside(8080, "next");
    scene.run(&["rm", "-f", "web", "next"]).ok();
}

#[test]
fn what_somebody_removed_from_the_host_is_mended() {
    let Some(scene) = Scene::new() else { return };
    scene.run(&["network", "create", "back"]).ok();
    scene.serve("web", &["-p", "8080:80", "--network", "back"]);
    scene.answers_outside(8080, "web");
    let fetch = || {
        let script = "timeout 2 wget -qO- http://web/cgi-bin/who";
        let words = ["exec", "client", "sh", "-c", script];
        scene.run(&words).code == 0
    };
    let client = ["run", "-d", "--name", "client", "--network", "back"];
    scene
        .run(&[&client[..], &["busybox", "sleep", "600"]].concat())
        .ok();
    assert!(fetch());
    let id = scene.run(&["network", "inspect", "-f", "{{.Id}}", "back"]);
    let bridge = format!("br-{}", &id.ok()[..12]);
    let lose = |words: &[&str]| {
        netns::enter(scene.namespace.as_fd(), || run_other("busybox", words)).unwrap();
    };
    for verb in [
        &["ps"][..],
        &["network", "ls"],
        &["network", "inspect", "back"],
    ] {
        lose(&["ip", "link", "del", &bridge]);
        assert!(!fetch());
        let told = scene.run(verb);
        told.ok();
        assert!(told.stderr.contains("network back"), "{told:?}");
        until("the network", fetch);
        scene.answers_outside(8080, "web");
        let told = scene.run(verb);
        assert_eq!(told.stderr, "");
    }
    // Whoever joins mends it just as well.
    lose(&["ip", "link", "del", &bridge]);
    scene
        .run(&["run", "--rm", "--network", "back", "busybox", "true"])
        .ok();
    until("the network", fetch);
    scene.run(&["rm", "-f", "web", "client"]).ok();
}

#[test]
fn a_taken_port_is_told_with_who_has_it() {
    let Some(home) = home() else { return };
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = own.local_addr().unwrap().port();
    let publish = format!("127.0.0.1:{port}:80");
    let run = |name: &str| {
        let words = ["run", "-d", "--name", name, "-p", &publish, "busybox"];
        home.run(&[&words[..], &["sleep", "600"]].concat())
    };
    let pid = std::process::id();
    let expected = format!(
        "Bind for 127.0.0.1:{port} failed: port is already allocated: process {pid} (`suite"
    );
    run("one").fails(125, &expected);
    drop(own);
    // It stays, as Docker's does, and can be started once the port is free.
    home.run(&["start", "one"]).ok();
    let expected = format!(
        "Bind for 127.0.0.1:{port} failed: port is already allocated: the container `one` has it"
    );
    run("two").fails(125, &expected);
    home.run(&["start", "two"]).fails(1, &expected);
    home.run(&["rm", "-f", "one"]).ok();
    home.run(&["start", "two"]).ok();
    home.run(&["rm", "-f", "two"]).ok();
}

#[test]
fn networks_without_room_say_so() {
    let Some(home) = home() else { return };
    let subnet = ["network", "create", "--subnet", "10.211.4.0/30", "tiny"];
    home.run(&subnet).ok();
    let run = |name: &str| {
        let words = ["run", "-d", "--name", name, "--network", "tiny", "busybox"];
        home.run(&[&words[..], &["sleep", "600"]].concat())
    };
    run("one").ok();
    run("two").fails(
        125,
        "no available IPv4 addresses on this network's address pools: tiny (",
    );
    home.run(&["rm", "-f", "one", "two"]).ok();
}

#[test]
fn the_way_out_and_addresses_of_a_link_can_be_chosen() {
    let Some(scene) = Scene::new() else { return };
    for (name, subnet) in [("one", "10.212.1.0/24"), ("two", "10.212.2.0/24")] {
        scene
            .run(&["network", "create", "--subnet", subnet, name])
            .ok();
    }
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "one",
        "--network",
        "name=two,gw-priority=5,link-local-ip=169.254.9.9",
        "-p",
        "8080:80",
        "busybox",
        "sleep",
        "600",
    ];
    scene.run(&words).ok();
    let route = || {
        let told = scene.run(&["exec", "web", "ip", "route", "show", "default"]);
        told.ok().split_whitespace().nth(2).unwrap().to_owned()
    };
    assert_eq!(route(), "10.212.2.1");
    let shown = scene.run(&["exec", "web", "ip", "address"]).ok().to_owned();
    assert!(shown.contains("169.254.9.9/16"), "{shown}");
    scene.run(&["network", "disconnect", "two", "web"]).ok();
    assert_eq!(route(), "10.212.1.1");
    let connect = ["network", "connect", "--gw-priority", "1", "two", "web"];
    scene.run(&connect).ok();
    assert_eq!(route(), "10.212.2.1");
    let told = of(
        &scene.home,
        "web",
        "/NetworkSettings/Networks/two/GwPriority",
    );
    assert_eq!(told, 1);
    let wrong = [
        "network",
        "connect",
        "--link-local-ip",
        "10.0.0.1",
        "two",
        "web",
    ];
    scene.run(&wrong).fails(1, "invalid link-local IP address");
    let address: IpAddr = "10.212.1.2".parse().unwrap();
    let shown = of(
        &scene.home,
        "web",
        "/NetworkSettings/Networks/one/IPAddress",
    );
    assert_eq!(shown, address.to_string());
    scene.run(&["rm", "-f", "web"]).ok();
}
