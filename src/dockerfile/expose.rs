//! The words of EXPOSE.

use std::net::IpAddr;
use std::ops::RangeInclusive;

/// The ports that one word of EXPOSE stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExposedPorts {
    /// The ports.
    pub ports: RangeInclusive<u16>,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The protocol was not written in lower case.
    pub has_odd_case: bool,
    /// An address or a port of the host stood in front, where neither belongs.
    pub has_host: bool,
}

impl ExposedPorts {
    /// The keys of the image configuration: `80/tcp`.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        let protocol = self.protocol;
        self.ports
            .clone()
            .map(move |port| format!("{port}/{protocol}"))
    }
}

/// Reads a word of EXPOSE, variables already replaced:
/// `port[-port][/protocol]`, with the tolerated `[[address:]port:]` in front.
///
/// # Errors
/// The message, in BuildKit's words.
pub fn exposed_ports(word: &str) -> Result<ExposedPorts, String> {
    let (host, container) = match word.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, word),
    };
    let (address, host_port) = match host.map(|host| host.rsplit_once(':').unwrap_or(("", host))) {
        Some((address, port)) => (address, port),
        None => ("", ""),
    };
    let (ports, written) = container.split_once('/').unwrap_or((container, ""));
    let invalid = |why: String| format!("invalid port: {}: {why}", super::quote(word));
    if ports.is_empty() {
        return Err(invalid("no port specified".to_owned()));
    }
    let protocol = match written.to_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(invalid(format!("invalid proto: {written}"))),
    };
    check_address(address)?;
    let range = port_range(ports).ok_or_else(|| format!("invalid containerPort: {ports}"))?;
    if !host_port.is_empty() {
        let host = port_range(host_port).ok_or_else(|| format!("invalid hostPort: {host_port}"))?;
        if range.len() != host.len() && range.len() != 1 {
            return Err(format!(
                "invalid ranges specified for container and host Ports: {ports} and {host_port}"
            ));
        }
    }
    Ok(ExposedPorts {
        ports: range,
        protocol,
        has_odd_case: written.chars().any(char::is_uppercase),
        has_host: !address.is_empty() || !host_port.is_empty(),
    })
}

fn check_address(address: &str) -> Result<(), String> {
    let bare = address
        .strip_prefix('[')
        .and_then(|address| address.strip_suffix(']'))
        .unwrap_or(address);
    if bare.is_empty() && address.is_empty() || bare.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    Err(format!("invalid IP address: {address}"))
}

fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let number = |text: &str| text.parse::<u16>().ok();
    let (start, end) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (number(start)?, number(end)?);
    (start <= end).then_some(start..=end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(word: &str) -> Vec<String> {
        exposed_ports(word).unwrap().keys().collect()
    }

    #[test]
    fn ports_with_protocols() {
        assert_eq!(keys("80"), ["80/tcp"]);
        assert_eq!(keys("53/UDP"), ["53/udp"]);
        assert_eq!(keys("80/"), ["80/tcp"]);
        assert_eq!(
            keys("8000-8002/sctp"),
            ["8000/sctp", "8001/sctp", "8002/sctp"]
        );
        assert_eq!(keys("65535"), ["65535/tcp"]);
    }

    #[test]
    fn hosts_are_tolerated() {
        for word in [
            "8080:80",
            "127.0.0.1:8080:80",
            "127.0.0.1::80",
            "[::1]:1:80",
            "8000-8010:80",
        ] {
            let ports = exposed_ports(word).unwrap();
            assert!(ports.has_host, "{word}");
            assert_eq!(ports.keys().collect::<Vec<_>>(), ["80/tcp"], "{word}");
        }
        assert!(!exposed_ports("80").unwrap().has_host);
        assert!(exposed_ports("80/Tcp").unwrap().has_odd_case);
    }

    #[test]
    fn wrong_ports_are_refused() {
        let check = |word: &str, want: &str| {
            assert_eq!(exposed_ports(word).unwrap_err(), want, "{word}");
        };
        check("x", "invalid containerPort: x");
        check("65536", "invalid containerPort: 65536");
        check("9-8", "invalid containerPort: 9-8");
        check("/tcp", "invalid port: \"/tcp\": no port specified");
        check("80/foo", "invalid port: \"80/foo\": invalid proto: foo");
        check("x:80", "invalid hostPort: x");
        check("1.2.3:1:80", "invalid IP address: 1.2.3");
        check(
            "1-3:1-2",
            "invalid ranges specified for container and host Ports: 1-2 and 1-3",
        );
    }
}
