//! The `resolv.conf` and `hosts` files of a sandbox. Pure.

use std::net::IpAddr;

/// The `resolv.conf` for a sandbox, from the host's. On a bridge, name servers
/// on loopback addresses cannot be reached and are dropped; when none is left,
/// `fallback` (systemd-resolved's own upstream file, if there is one) is used, and
/// then public name servers.
pub fn resolv_conf(host: &str, fallback: Option<&str>, own_namespace: bool) -> String {
    let _ = (host, fallback, own_namespace);
    todo!()
}

/// The `hosts` file for a sandbox: loopback names, its own address and name, and `extra` (`--add-host`).
pub fn hosts_file(own: Option<(IpAddr, &str)>, extra: &[(String, IpAddr)]) -> String {
    let _ = (own, extra);
    todo!()
}
