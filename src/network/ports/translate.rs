//! Published ports in the kernel: packets from outside get a container's address
//! and port before they are routed, so that its server sees who sent them.
//!
//! The rules are in a table of their own that belongs to a socket held here. Nobody
//! else changes it, a firewall that is loaded anew leaves it alone, and it goes with
//! the socket, also when the process is killed: as the sockets go that hold the ports.
//!
//! Not led by rules are connections from this host's loopback addresses, whose answers
//! the kernel would not route; [`Proxy`](super::proxy::Proxy) carries those, and
//! everything where there are no rules.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::PortForward;
use crate::network::attach::Place;
use crate::network::nat;
use crate::network::netlink::conntrack::{self, Tracked};
use crate::network::netlink::nftables::{Family, Hook, NftSocket, Rule, Transaction};

const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const PORTS: &str = "ports";

/// Switched on when bridged packets go through the rules of routed ones.
const BRIDGE_FILTER: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Where published ports lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The bridge that the container is on.
    pub(super) bridge: String,
    /// Its address.
    pub(super) address: Ipv4Addr,
    /// Its IPv6 address.
    pub(super) address6: Option<Ipv6Addr>,
}

impl Target {
    /// The place that ports lead to: of those on bridges the way out.
    pub fn of(places: &[Place]) -> Option<Self> {
        let on_bridges = places.iter().filter(|place| place.bridge.is_some());
        let place = Place::way_out(on_bridges)?;
        Some(Self {
            bridge: place.bridge.clone()?,
            address: place.address,
            address6: place.address6.map(|(address, _)| address),
        })
    }

    /// Where a connection to `host` is led.
    fn for_host(&self, host: IpAddr) -> Option<IpAddr> {
        match host {
            IpAddr::V4(_) => Some(self.address.into()),
            IpAddr::V6(_) => self.address6.map(IpAddr::from),
        }
    }
}

/// The IP number of a protocol.
pub(super) fn protocol_number(protocol: &str) -> u8 {
    match protocol {
        "udp" => 17,
        "sctp" => 132,
        _ => 6,
    }
}

/// The rules of one container's ports, as long as this value.
#[derive(Debug)]
pub(super) struct Translation {
    /// The rules go with it.
    socket: Option<NftSocket>,
    forwards: Vec<PortForward>,
}

impl Translation {
    /// Puts the rules in place; `None` when there is nothing to lead, or when a filter
    /// of this host would drop what is led.
    ///
    /// `owner` makes the table's name: one process has one such value of it.
    pub(super) fn start(
        owner: &str,
        forwards: &[PortForward],
        target: &Target,
    ) -> io::Result<Option<Self>> {
        let mut socket = NftSocket::open()?;
        let mut families = Vec::new();
        for family in [Family::Four, Family::Six] {
            if nat::lets_in(&mut socket, family)? {
                families.push(family);
            }
        }
        let led: Vec<PortForward> = forwards
            .iter()
            .filter(|forward| families.contains(&family_of(forward.host)))
            .filter(|forward| !forward.host.is_loopback())
            .filter(|forward| target.for_host(forward.host).is_some())
            .cloned()
            .collect();
        if led.is_empty() {
            return Ok(None);
        }
        socket.commit(transaction(owner, &led, target))?;
        let translation = Self {
            socket: Some(socket),
            forwards: led,
        };
        translation.forget_datagrams(Some(target));
        Ok(Some(translation))
    }

    /// Whether the kernel leads this port.
    pub(super) fn leads(&self, forward: &PortForward) -> bool {
        self.forwards.contains(forward)
    }

    /// Has the kernel forget where datagrams to these ports went before. A kernel
    /// that cannot forgets in half a minute of silence.
    fn forget_datagrams(&self, now: Option<&Target>) {
        for protocol in ["udp", "sctp"] {
            let ports: Vec<&PortForward> = self
                .forwards
                .iter()
                .filter(|forward| forward.protocol == protocol)
                .collect();
            if ports.is_empty() {
                continue;
            }
            let is_stale = |tracked: &Tracked| {
                let host = tracked.destination;
                let is_led = ports.iter().any(|forward| {
                    forward.host_port == tracked.port
                        && family_of(forward.host) == family_of(host)
                        && (forward.host.is_unspecified() || forward.host == host)
                });
                let is_right = now.and_then(|now| now.for_host(host)) == Some(tracked.answerer);
                is_led && !is_right && !host.is_loopback()
            };
            conntrack::forget(protocol_number(protocol), &is_stale).ok();
        }
    }
}

impl Drop for Translation {
    fn drop(&mut self) {
        drop(self.socket.take());
        self.forget_datagrams(None);
    }
}

fn family_of(host: IpAddr) -> Family {
    if host.is_ipv4() {
        Family::Four
    } else {
        Family::Six
    }
}

fn transaction(owner: &str, forwards: &[PortForward], target: &Target) -> Transaction {
    // An earlier process of the same owner may not be wholly gone yet.
    let table = format!("rbuild_ports_{owner}_{}", std::process::id());
    let mut transaction = Transaction::default();
    transaction.family(Family::Both);
    transaction.add_owned_table(&table, "published ports");
    transaction.add_plain_chain(&table, PORTS);
    for run in runs(forwards) {
        let Some(address) = target.for_host(run.host) else {
            continue;
        };
        let rule = Rule::default().if_family(family_of(run.host));
        let rule = if run.host.is_unspecified() {
            rule
        } else {
            rule.if_to(run.host)
        };
        let rule = rule
            .if_to_ports(protocol_number(run.protocol), run.first..=run.last)
            .redirect(address, run.container_port);
        transaction.append_rule(&table, PORTS, &rule);
    }
    transaction.add_chain(&table, PREROUTING, Hook::PREROUTING);
    let incoming = if filters_bridged() {
        // Translated while it is bridged, a packet would not find back to the device
        // that it came from; the proxy has to carry what members send each other.
        Rule::default().unless_in_by(&target.bridge)
    } else {
        Rule::default()
    };
    let incoming = incoming.if_to_this_host().jump(PORTS);
    transaction.append_rule(&table, PREROUTING, &incoming);
    transaction.add_chain(&table, OUTPUT, Hook::OUTPUT);
    for family in [Family::Four, Family::Six] {
        let own = Rule::default().unless_to_loopback(family);
        transaction.append_rule(&table, OUTPUT, &own.if_to_this_host().jump(PORTS));
    }
    transaction
}

fn filters_bridged() -> bool {
    std::fs::read(BRIDGE_FILTER).is_ok_and(|value| !value.starts_with(b"0"))
}

/// Ports that one rule leads.
#[derive(Debug, PartialEq, Eq)]
struct Run<'a> {
    host: IpAddr,
    protocol: &'a str,
    first: u16,
    last: u16,
    /// `None` for ports that keep their numbers.
    container_port: Option<u16>,
}

/// Neighbouring ports that keep their numbers need one rule together.
fn runs(forwards: &[PortForward]) -> Vec<Run<'_>> {
    let mut sorted: Vec<&PortForward> = forwards.iter().collect();
    sorted.sort_by_key(|forward| (forward.host, forward.protocol.as_str(), forward.host_port));
    let mut runs: Vec<Run<'_>> = Vec::new();
    for forward in sorted {
        let keeps = forward.container_port == forward.host_port;
        if let Some(run) = runs.last_mut()
            && keeps
            && run.container_port.is_none()
            && run.host == forward.host
            && run.protocol == forward.protocol
            && run.last.checked_add(1) == Some(forward.host_port)
        {
            run.last = forward.host_port;
            continue;
        }
        runs.push(Run {
            host: forward.host,
            protocol: &forward.protocol,
            first: forward.host_port,
            last: forward.host_port,
            container_port: (!keeps).then_some(forward.container_port),
        });
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(host: &str, host_port: u16, container_port: u16) -> PortForward {
        PortForward {
            host: host.parse().unwrap(),
            host_port,
            container_port,
            protocol: "tcp".to_owned(),
        }
    }

    #[test]
    fn ports_that_keep_their_numbers_share_a_rule() {
        let check = |forwards: &[PortForward], expected: &[(u16, u16, Option<u16>)]| {
            let runs = runs(forwards);
            let shown: Vec<_> = runs
                .iter()
                .map(|run| (run.first, run.last, run.container_port))
                .collect();
            assert_eq!(shown, expected);
        };
        let same = |port| forward("0.0.0.0", port, port);
        check(
            &[same(81), same(80), same(82), same(90)],
            &[(80, 82, None), (90, 90, None)],
        );
        check(
            &[forward("0.0.0.0", 80, 8080), forward("0.0.0.0", 81, 8081)],
            &[(80, 80, Some(8080)), (81, 81, Some(8081))],
        );
        check(
            &[same(80), forward("10.0.0.1", 81, 81), same(65535)],
            &[(80, 80, None), (65535, 65535, None), (81, 81, None)],
        );
    }

    #[test]
    fn ports_lead_to_the_bridge_that_is_the_way_out() {
        let place = |bridge: Option<&str>, gateway: bool, last: u8| Place {
            network: "n".to_owned(),
            network_id: String::new(),
            device: "eth0".to_owned(),
            bridge: bridge.map(str::to_owned),
            address: Ipv4Addr::new(10, 0, 0, last),
            prefix: 24,
            gateway: gateway.then_some(Ipv4Addr::new(10, 0, 0, 1)),
            address6: None,
            gateway6: None,
            mac: [2, 0, 0, 0, 0, last],
            priority: 0,
        };
        let places = [
            place(None, true, 2),
            place(Some("internal"), false, 3),
            place(Some("br"), true, 4),
        ];
        assert_eq!(Target::of(&places[..2]), None);
        let target = Target::of(&places).unwrap();
        assert_eq!(target.address.octets()[3], 4);
        assert_eq!(target.for_host("::".parse().unwrap()), None);
        let preferred = Place {
            priority: 1,
            ..place(Some("other"), true, 5)
        };
        let target = Target::of(&[places[2].clone(), preferred]).unwrap();
        assert_eq!(target.bridge, "other");
    }
}
