//! Parsing `-p`. Pure; messages are Docker's (go-connections `nat.ParsePortSpec`).

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;

/// What `-p` asked for, one container port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortPublish {
    /// Host address; all (v4 and v6) when absent.
    pub host: Option<IpAddr>,
    /// Host ports of which the first free one is taken; any free one when absent.
    pub host_port: Option<RangeInclusive<u16>>,
    /// Container port.
    pub container_port: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl PortPublish {
    /// Parses `[[ip:][hostPort]:]containerPort[/proto]`, ranges included.
    /// The error is Docker's message.
    pub fn parse(text: &str) -> Result<Vec<Self>, String> {
        let (host, host_ports, rest) = split(text);
        let (container_ports, protocol) = match rest.split_once('/') {
            Some((ports, protocol)) if !protocol.is_empty() => (ports, protocol.to_lowercase()),
            Some((ports, _)) => (ports, "tcp".to_owned()),
            None => (rest, "tcp".to_owned()),
        };
        match protocol.as_str() {
            "tcp" | "udp" | "sctp" => {}
            _ => return Err(format!("invalid proto: {protocol}")),
        }
        let host = match host {
            "" => None,
            host => Some(parse_host(host)?),
        };
        if container_ports.is_empty() {
            return Err(format!("no port specified: {text}<empty>"));
        }
        let inside = range(container_ports)
            .filter(|range| *range.start() > 0)
            .ok_or_else(|| format!("invalid containerPort: {container_ports}"))?;
        let outside = match host_ports {
            "" => None,
            ports => Some(range(ports).ok_or_else(|| format!("invalid hostPort: {ports}"))?),
        };
        if let Some(outside) = &outside
            && inside.len() != 1
            && inside.len() != outside.len()
        {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {container_ports} and {host_ports}"
            ));
        }
        let is_single = inside.len() == 1;
        let publish = |(container_port, offset)| Self {
            host,
            host_port: match &outside {
                Some(ports) if is_single => Some(ports.clone()),
                Some(ports) => {
                    let port = ports.start().saturating_add(offset);
                    Some(port..=port)
                }
                None => None,
            }
            // Port 0 asks for any free one.
            .filter(|ports| *ports != (0..=0)),
            container_port,
            protocol: protocol.clone(),
        };
        Ok(inside.zip(0_u16..).map(publish).collect())
    }
}

/// Host address, host ports, and the rest. Everything before the last two parts
/// is the address, so that IPv6 addresses need no brackets.
fn split(text: &str) -> (&str, &str, &str) {
    let Some((front, container)) = text.rsplit_once(':') else {
        return ("", "", text);
    };
    match front.rsplit_once(':') {
        Some((host, ports)) => (host, ports, container),
        None => ("", front, container),
    }
}

fn parse_host(text: &str) -> Result<IpAddr, String> {
    let bracketed = text
        .strip_prefix('[')
        .map(|rest| rest.strip_suffix(']').unwrap_or(rest));
    let parsed = match bracketed {
        Some(inner) => inner.parse::<Ipv6Addr>().map(IpAddr::V6),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("invalid IP address: {}", bracketed.unwrap_or(text)))
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some(first..=last)
}

fn port(text: &str) -> Option<u16> {
    // `parse` alone would take a sign.
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let parsed = PortPublish::parse(text).unwrap();
        let shown: Vec<String> = parsed
            .iter()
            .map(|publish| {
                let host = publish.host.map_or("*".to_owned(), |host| host.to_string());
                let ports = publish.host_port.as_ref().map_or("?".to_owned(), |ports| {
                    if ports.start() == ports.end() {
                        ports.start().to_string()
                    } else {
                        format!("{}-{}", ports.start(), ports.end())
                    }
                });
                format!(
                    "{host} {ports} {}/{}",
                    publish.container_port, publish.protocol
                )
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    fn check_refused(text: &str, expected: &str) {
        assert_eq!(PortPublish::parse(text), Err(expected.to_owned()), "{text}");
    }

    #[test]
    fn every_part_is_optional_but_the_container_port() {
        check("80", &["* ? 80/tcp"]);
        check("80/udp", &["* ? 80/udp"]);
        check("80/UDP", &["* ? 80/udp"]);
        check("9999:9999/sctp", &["* 9999 9999/sctp"]);
        check("80/", &["* ? 80/tcp"]);
        check("8080:80", &["* 8080 80/tcp"]);
        check("8080:80/tcp", &["* 8080 80/tcp"]);
        check(":80", &["* ? 80/tcp"]);
        check("0:80", &["* ? 80/tcp"]);
        check("127.0.0.1:8080:80", &["127.0.0.1 8080 80/tcp"]);
        check("127.0.0.1::80/udp", &["127.0.0.1 ? 80/udp"]);
        check("0.0.0.0:53:53/udp", &["0.0.0.0 53 53/udp"]);
    }

    #[test]
    fn ipv6_addresses_are_read_with_and_without_brackets() {
        check("[::1]:8080:80", &["::1 8080 80/tcp"]);
        check("[::]::80", &[":: ? 80/tcp"]);
        check("::1:8080:80", &["::1 8080 80/tcp"]);
        check("2001:db8::1:8080:80", &["2001:db8::1 8080 80/tcp"]);
    }

    #[test]
    fn ranges_are_paired() {
        check("80-82", &["* ? 80/tcp", "* ? 81/tcp", "* ? 82/tcp"]);
        check("90-91:80-81", &["* 90 80/tcp", "* 91 81/tcp"]);
        check("9000-9010:80", &["* 9000-9010 80/tcp"]);
        check(
            "65534-65535:65534-65535",
            &["* 65534 65534/tcp", "* 65535 65535/tcp"],
        );
        assert_eq!(PortPublish::parse("1-65535:1-65535").unwrap().len(), 65535);
    }

    #[test]
    fn refusals_are_dockers() {
        check_refused("", "no port specified: <empty>");
        check_refused("80:", "no port specified: 80:<empty>");
        check_refused("x", "invalid containerPort: x");
        check_refused("0", "invalid containerPort: 0");
        check_refused("+80", "invalid containerPort: +80");
        check_refused("70000", "invalid containerPort: 70000");
        check_refused("82-80", "invalid containerPort: 82-80");
        check_refused("80-", "invalid containerPort: 80-");
        check_refused("x:80", "invalid hostPort: x");
        check_refused("65536:80", "invalid hostPort: 65536");
        check_refused("80/icmp", "invalid proto: icmp");
        check_refused("localhost:8080:80", "invalid IP address: localhost");
        check_refused("[127.0.0.1]:8080:80", "invalid IP address: 127.0.0.1");
        check_refused("1.2.3:8080:80", "invalid IP address: 1.2.3");
        check_refused(
            "90-92:80-81",
            "invalid ranges specified for container and host Ports: 80-81 and 90-92",
        );
    }
}
