//! The `resolv.conf` and `hosts` files of a sandbox. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// Used when a host names no server that a sandbox could reach, as Docker does.
const PUBLIC_SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];

/// Every `hosts` file begins with these, as Docker's do.
const LOOPBACK_NAMES: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// The `resolv.conf` for a sandbox, from the host's. On a bridge, name servers
/// on loopback and IPv6 addresses cannot be reached and are dropped; when none is left,
/// `fallback` (systemd-resolved's own upstream file, if there is one) is used, and
/// then public name servers.
///
/// In the host's namespace the file is as the host's. Comments, and lines that
/// are none of `domain`, `search`, `options`, `sortlist`, are left out otherwise.
pub fn resolv_conf(host: &str, fallback: Option<&str>, own_namespace: bool) -> String {
    if !own_namespace {
        return host.to_owned();
    }
    let source = [Some(host), fallback]
        .into_iter()
        .flatten()
        .find(|text| name_servers(text).any(is_reachable));
    let servers: Vec<IpAddr> = match source {
        Some(text) => name_servers(text)
            .filter(|server| is_reachable(*server))
            .collect(),
        None => PUBLIC_SERVERS.map(IpAddr::V4).to_vec(),
    };
    let mut file = String::new();
    for server in servers {
        writeln!(file, "nameserver {server}").expect("a string takes everything");
    }
    for line in source.unwrap_or(host).lines().map(str::trim) {
        let keyword = line.split_ascii_whitespace().next();
        if matches!(keyword, Some("domain" | "search" | "options" | "sortlist")) {
            file.push_str(line);
            file.push('\n');
        }
    }
    file
}

/// The `hosts` file for a sandbox: loopback names, its own addresses with its name, and `extra` (`--add-host`).
pub fn hosts_file(own: &[(IpAddr, &str)], extra: &[(String, IpAddr)]) -> String {
    let mut file = LOOPBACK_NAMES.to_owned();
    // Docker, too, writes the names that users add before the sandbox's own.
    let extra = extra
        .iter()
        .map(|(name, address)| (*address, name.as_str()));
    for (address, name) in extra.chain(own.iter().copied()) {
        writeln!(file, "{address}\t{name}").expect("a string takes everything");
    }
    file
}

/// The name servers of a `resolv.conf`, in order.
pub fn servers_of(text: &str) -> Vec<IpAddr> {
    name_servers(text).collect()
}

/// The name servers of a `resolv.conf`, in order; those with a scope
/// (`fe80::1%eth0`) are left out, since it names a device of the host.
pub(super) fn name_servers(text: &str) -> impl Iterator<Item = IpAddr> {
    text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        if words.next() != Some("nameserver") {
            return None;
        }
        words.next()?.parse().ok()
    })
}

fn is_reachable(server: IpAddr) -> bool {
    server.is_ipv4() && !server.is_loopback() && !server.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reachable_servers_and_search_are_kept() {
        let host = "# made by hand\nnameserver 10.0.0.2\nnameserver 127.0.0.53 \n\
                    ; old\nsearch corp.example  lab\noptions edns0 trust-ad\nnonsense\n";
        assert_eq!(
            resolv_conf(host, None, true),
            "nameserver 10.0.0.2\nsearch corp.example  lab\noptions edns0 trust-ad\n"
        );
    }

    #[test]
    fn loopback_servers_are_replaced_by_the_fallback() {
        let host = "nameserver 127.0.0.53\noptions edns0\nsearch .\n";
        let upstream = "nameserver 192.0.2.1\nnameserver fd00::1\nsearch lan\n";
        assert_eq!(
            resolv_conf(host, Some(upstream), true),
            "nameserver 192.0.2.1\nsearch lan\n"
        );
    }

    #[test]
    fn public_servers_are_the_last_resort() {
        let expected = "nameserver 8.8.8.8\nnameserver 8.8.4.4\n";
        for host in [
            "",
            "nameserver ::1",
            "nameserver 127.0.0.1\nnameserver 127.9.9.9",
            "nameserver fe80::1%eth0",
            "nameserver",
            "nameserver 0.0.0.0",
        ] {
            assert_eq!(resolv_conf(host, None, true), expected, "{host}");
            assert_eq!(resolv_conf(host, Some(host), true), expected, "{host}");
        }
    }

    #[test]
    fn the_hosts_namespace_has_the_hosts_file() {
        let host = "# made by hand\nnameserver 127.0.0.53\n";
        assert_eq!(resolv_conf(host, None, false), host);
    }

    #[test]
    fn hosts_file_ends_with_the_sandbox_itself() {
        let extra = [("db".to_owned(), "10.0.0.9".parse().unwrap())];
        let own = ("172.17.0.2".parse().unwrap(), "0123456789ab");
        let file = hosts_file(&[own], &extra);
        assert!(file.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost"));
        assert!(
            file.ends_with("ff02::2\tip6-allrouters\n10.0.0.9\tdb\n172.17.0.2\t0123456789ab\n")
        );
        assert_eq!(hosts_file(&[], &[]), LOOPBACK_NAMES);
    }
}
