//! Published ports: what a request wants, and how Docker shows them. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Error, Request};
use crate::network::{PortForward, PortPublish};

/// The ports that a container's start binds.
pub(super) fn wanted(request: &Request) -> Result<Vec<PortPublish>, Error> {
    let mut ports = Vec::new();
    for text in &request.publish {
        ports.extend(PortPublish::parse(text).map_err(Error::Invalid)?);
    }
    if request.publish_all {
        for (container_port, protocol) in request.expose.iter().flat_map(|text| exposed(text)) {
            let known = |port: &PortPublish| {
                port.container_port == container_port && port.protocol == protocol
            };
            if !ports.iter().any(known) {
                ports.push(PortPublish {
                    host: None,
                    host_port: None,
                    container_port,
                    protocol,
                });
            }
        }
    }
    Ok(ports)
}

/// The ports of `80`, `80/udp` or `80-82/tcp`; none for anything else.
pub(super) fn exposed(text: &str) -> Vec<(u16, String)> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if first > 0 => (first..=last)
            .map(|port| (port, protocol.to_ascii_lowercase()))
            .collect(),
        _ => Vec::new(),
    }
}

/// Docker's PORTS column: `0.0.0.0:8000-8002->80-82/tcp, [::]:53->53/udp, 443/tcp`.
pub(super) fn render(forwards: &[PortForward], expose: &[String]) -> String {
    let mut groups: BTreeMap<_, Vec<(u16, u16)>> = BTreeMap::new();
    for forward in forwards {
        let key = (forward.protocol.clone(), Some(forward.host));
        let pair = (forward.container_port, forward.host_port);
        groups.entry(key).or_default().push(pair);
    }
    for (port, protocol) in expose.iter().flat_map(|text| exposed(text)) {
        let published = forwards
            .iter()
            .any(|forward| forward.container_port == port && forward.protocol == protocol);
        if !published {
            groups
                .entry((protocol, None))
                .or_default()
                .push((port, port));
        }
    }
    let mut shown: Vec<(u16, String)> = Vec::new();
    for ((protocol, host), mut pairs) in groups {
        pairs.sort_unstable();
        pairs.dedup();
        for run in runs(&pairs) {
            shown.push((run.0.0, show(host, &protocol, run)));
        }
    }
    // Docker sorts by the container's port; the sort is stable for one port's addresses.
    shown.sort_by_key(|(port, _)| *port);
    let texts: Vec<String> = shown.into_iter().map(|(_, text)| text).collect();
    texts.join(", ")
}

/// Ends of stretches in which both ports count up together.
fn runs(pairs: &[(u16, u16)]) -> Vec<((u16, u16), (u16, u16))> {
    let mut runs: Vec<((u16, u16), (u16, u16))> = Vec::new();
    for &pair in pairs {
        let follows = |last: (u16, u16)| {
            last.0.checked_add(1) == Some(pair.0) && last.1.checked_add(1) == Some(pair.1)
        };
        match runs.last_mut() {
            Some(run) if follows(run.1) => run.1 = pair,
            _ => runs.push((pair, pair)),
        }
    }
    runs
}

fn show(host: Option<IpAddr>, protocol: &str, (first, last): ((u16, u16), (u16, u16))) -> String {
    let range = |first: u16, last: u16| {
        if first == last {
            return first.to_string();
        }
        format!("{first}-{last}")
    };
    let container = range(first.0, last.0);
    match host {
        None => format!("{container}/{protocol}"),
        Some(host) => {
            let host_ports = range(first.1, last.1);
            format!("{}->{container}/{protocol}", address(host, &host_ports))
        }
    }
}

/// `0.0.0.0:80` or `[::]:80`.
pub(super) fn address(host: IpAddr, port: &str) -> String {
    match host {
        IpAddr::V4(host) => format!("{host}:{port}"),
        IpAddr::V6(host) => format!("[{host}]:{port}"),
    }
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
    fn ports_read_as_dockers() {
        let both = [forward("0.0.0.0", 8080, 80), forward("::", 8080, 80)];
        assert_eq!(
            render(&both, &[]),
            "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        let range = [8000, 8001, 8002].map(|port| forward("0.0.0.0", port, port));
        assert_eq!(render(&range, &[]), "0.0.0.0:8000-8002->8000-8002/tcp");
        let gap = [forward("127.0.0.1", 90, 80), forward("127.0.0.1", 95, 81)];
        assert_eq!(
            render(&gap, &[]),
            "127.0.0.1:90->80/tcp, 127.0.0.1:95->81/tcp"
        );
        let expose = ["80/tcp".to_owned(), "443".to_owned(), "53/udp".to_owned()];
        assert_eq!(
            render(&both[..1], &expose),
            "53/udp, 0.0.0.0:8080->80/tcp, 443/tcp"
        );
        assert_eq!(render(&[], &[]), "");
    }

    #[test]
    fn exposed_ports_and_nonsense() {
        assert_eq!(
            exposed("80-81/udp"),
            [(80, "udp".to_owned()), (81, "udp".to_owned())]
        );
        assert!(exposed("x").is_empty() && exposed("0").is_empty() && exposed("9-1").is_empty());
    }
}
