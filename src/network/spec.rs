//! What a network is, beside its bridge's address. Pure.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::ipam::Subnet;

/// How its members are connected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A bridge of this host, with a way out by address translation.
    #[default]
    Bridge,
    /// Devices of their own on a device of this host.
    Macvlan,
    /// Addresses of their own on a device of this host.
    Ipvlan,
}

impl Driver {
    /// Docker's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Macvlan => "macvlan",
            Self::Ipvlan => "ipvlan",
        }
    }
}

/// The IPv6 side of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6 {
    /// The bridge's address, the containers' gateway.
    pub gateway: Ipv6Addr,
    /// Prefix length of the subnet.
    pub prefix: u8,
}

impl Ipv6 {
    /// The subnet's first address.
    pub fn network(&self) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(self.gateway) & self.mask())
    }

    /// Whether an address belongs to the subnet.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        u128::from(address) & self.mask() == u128::from(self.network())
    }

    fn mask(&self) -> u128 {
        let host_bits = 128_u32.saturating_sub(u32::from(self.prefix));
        u128::MAX.checked_shl(host_bits).unwrap_or(0)
    }
}

/// Everything about a network that the store only keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// How its members are connected.
    pub driver: Driver,
    /// Whether there is no way out of it.
    pub internal: bool,
    /// `--attachable`, which is only told.
    pub attachable: bool,
    /// Where members' addresses are taken from: first address and prefix length.
    pub range: Option<(Ipv4Addr, u8)>,
    /// Addresses that are taken by something else, by what the user calls it.
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// Its IPv6 subnet.
    pub ipv6: Option<Ipv6>,
    /// `--label`.
    pub labels: BTreeMap<String, String>,
    /// `--opt`, as written.
    pub options: BTreeMap<String, String>,
    /// Whether the user named the subnet.
    pub chosen: bool,
}

/// The options of a bridge that mean something here.
pub(super) const OPTION_MTU: &str = "com.docker.network.driver.mtu";
pub(super) const OPTION_DEVICE: &str = "com.docker.network.bridge.name";
pub(super) const OPTION_MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
/// The device that members of a macvlan or ipvlan network are on.
pub(super) const OPTION_PARENT: &str = "parent";
/// How those see each other: `bridge`, `private`, `vepa`, `passthru`; `l2`, `l3`, `l3s`.
pub(super) const OPTIONS_MODE: [&str; 2] = ["macvlan_mode", "ipvlan_mode"];

impl Spec {
    /// The MTU that the user asked for.
    pub(super) fn mtu(&self) -> Option<u32> {
        self.options.get(OPTION_MTU)?.parse().ok()
    }

    /// Whether packets that leave get this host's address.
    pub(super) fn masquerades(&self) -> bool {
        let off = self.options.get(OPTION_MASQUERADE);
        !self.internal && off.is_none_or(|text| text != "false")
    }

    /// The device that members of a macvlan or ipvlan network are on.
    pub(super) fn parent(&self) -> Option<&str> {
        self.options.get(OPTION_PARENT).map(String::as_str)
    }

    /// The mode of a macvlan or ipvlan network.
    pub(super) fn mode(&self) -> Option<&str> {
        let options = OPTIONS_MODE.iter().chain(&["mode"]);
        options
            .filter_map(|name| self.options.get(*name))
            .map(String::as_str)
            .next()
    }

    /// Addresses that no member may get.
    pub(super) fn reserved_addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        self.reserved.values().copied()
    }

    /// The part of `subnet` that addresses are taken from.
    pub(super) fn pool(&self, subnet: Subnet) -> Subnet {
        self.range
            .map_or(subnet, |(address, prefix)| Subnet::of(address, prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_or_empty_document_is_a_plain_bridge() {
        let spec: Spec = serde_json::from_str("{}").unwrap();
        assert_eq!(spec, Spec::default());
        assert!(spec.masquerades());
        assert_eq!(spec.mtu(), None);
    }

    #[test]
    fn an_ipv6_subnet_knows_its_addresses() {
        let six = Ipv6 {
            gateway: "fd00:1::1".parse().unwrap(),
            prefix: 64,
        };
        assert_eq!(six.network(), "fd00:1::".parse::<Ipv6Addr>().unwrap());
        assert!(six.contains("fd00:1::ffff".parse().unwrap()));
        assert!(!six.contains("fd00:2::1".parse().unwrap()));
    }
}
