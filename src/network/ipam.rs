//! Which subnet, which address, which hardware address. Pure.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::spec::Ipv6;

/// An IPv4 subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subnet {
    network: u32,
    prefix: u8,
}

impl Subnet {
    /// The subnet of this prefix length that holds `address`.
    pub(super) fn of(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        Self {
            network: u32::from(address) & mask(prefix),
            prefix,
        }
    }

    /// Its lowest address.
    pub(super) fn network(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    /// Its mask.
    pub(super) fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(mask(self.prefix))
    }

    /// Its prefix length.
    pub(super) fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its first usable address, which the bridge gets.
    pub(super) fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(self.network.saturating_add(1))
    }

    /// Whether an address belongs to it.
    pub(super) fn contains(self, address: Ipv4Addr) -> bool {
        self.overlaps(Self::of(address, 32))
    }

    /// Whether an address may be a member's: neither the first nor the last one.
    pub(super) fn is_host(self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        self.contains(address)
            && number != self.network
            && number != (self.network | !mask(self.prefix))
    }

    /// Reads `172.20.0.0/16`. Bits behind the prefix do not count.
    pub(super) fn parse(text: &str) -> Option<(Ipv4Addr, Self)> {
        let (address, prefix) = text.split_once('/')?;
        let address = address.parse().ok()?;
        let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
        Some((address, Self::of(address, prefix)))
    }

    /// Whether the two have an address in common.
    pub(super) fn overlaps(self, other: Self) -> bool {
        let mask = mask(self.prefix.min(other.prefix));
        self.network & mask == other.network & mask
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.network(), self.prefix)
    }
}

fn mask(prefix: u8) -> u32 {
    u32::MAX
        .checked_shl(32_u32.saturating_sub(u32::from(prefix)))
        .unwrap_or(0)
}

/// The first of Docker's default pools that overlaps nothing in `taken`:
/// 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in steps of a /20.
pub(super) fn choose_subnet(taken: &[Subnet]) -> Option<Subnet> {
    let large = (17..=31).map(|second| Subnet::of(Ipv4Addr::new(172, second, 0, 0), 16));
    let small = (0..=240)
        .step_by(16)
        .map(|third| Subnet::of(Ipv4Addr::new(192, 168, third, 0), 20));
    large
        .chain(small)
        .find(|candidate| !taken.iter().any(|other| candidate.overlaps(*other)))
}

/// The next free address of `pool` behind `last`, the one given last, or else the
/// lowest free one; never the subnet's first, its gateway's or its broadcast address.
///
/// Going upwards keeps an address unused for a while after its user is gone:
/// the kernel takes its time to remove a namespace, and its device would still
/// answer to the address.
pub(super) fn next_address(
    gateway: Ipv4Addr,
    subnet: Subnet,
    pool: Subnet,
    taken: &[Ipv4Addr],
    last: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let lowest = pool.network.max(subnet.network.checked_add(1)?);
    let broadcast = subnet.network | !mask(subnet.prefix);
    let highest = (pool.network | !mask(pool.prefix)).min(broadcast.checked_sub(1)?);
    let mut used: Vec<u32> = taken.iter().map(|address| u32::from(*address)).collect();
    used.push(u32::from(gateway));
    used.sort_unstable();
    let is_free = |address: &u32| used.binary_search(address).is_err();
    let start = last
        .map(u32::from)
        .filter(|last| (lowest..highest).contains(last))
        .map_or(lowest, |last| last + 1);
    // Within as many steps as there are taken addresses a gap must come.
    let gap = |range: RangeInclusive<u32>| range.take(used.len() + 1).find(is_free);
    gap(start..=highest)
        .or_else(|| gap(lowest..=highest))
        .map(Ipv4Addr::from)
}

/// The hardware address that goes with an address: as Docker's were, so that an
/// address that is used again needs no new neighbour entry.
pub(super) fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

/// The IPv6 address that goes with an IPv4 address: the same number in its subnet,
/// so that one lease keeps both.
pub(super) fn companion(six: Ipv6, address: Ipv4Addr, subnet: Subnet) -> Ipv6Addr {
    let number = u128::from(u32::from(address) - subnet.network);
    let companion = Ipv6Addr::from(u128::from(six.network()).saturating_add(number));
    if companion == six.gateway {
        // The gateways may have different numbers; no IPv4 address has this one.
        return Ipv6Addr::from(u128::from(companion).saturating_add(1 << 32));
    }
    companion
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet {
        let (address, prefix) = text.split_once('/').unwrap();
        Subnet::of(address.parse().unwrap(), prefix.parse().unwrap())
    }

    #[test]
    fn subnet_is_the_first_that_overlaps_nothing() {
        let check = |taken: &[&str], expected: Option<&str>| {
            let taken: Vec<_> = taken.iter().map(|text| subnet(text)).collect();
            let chosen = choose_subnet(&taken).map(|subnet| subnet.to_string());
            assert_eq!(chosen.as_deref(), expected, "{taken:?}");
        };
        check(&[], Some("172.17.0.0/16"));
        check(&["10.0.0.0/8"], Some("172.17.0.0/16"));
        check(&["172.17.0.0/16"], Some("172.18.0.0/16"));
        check(&["172.17.200.0/24", "172.18.0.1/32"], Some("172.19.0.0/16"));
        check(&["172.16.0.0/12"], Some("192.168.0.0/20"));
        check(
            &["172.16.0.0/12", "192.168.1.0/24"],
            Some("192.168.16.0/20"),
        );
        check(&["172.16.0.0/12", "192.168.0.0/16"], None);
    }

    #[test]
    fn addresses_go_upwards_and_wrap_around() {
        let check = |gateway: &str, prefix: u8, taken: &[&str], last: &str, expected: &str| {
            let taken: Vec<Ipv4Addr> = taken.iter().map(|text| text.parse().unwrap()).collect();
            let gateway: Ipv4Addr = gateway.parse().unwrap();
            let subnet = Subnet::of(gateway, prefix);
            let next = next_address(gateway, subnet, subnet, &taken, last.parse().ok());
            let shown = next.map_or("none".to_owned(), |address| address.to_string());
            assert_eq!(shown, expected, "{gateway}/{prefix} {taken:?} {last}");
        };
        check("172.17.0.1", 16, &[], "", "172.17.0.2");
        check("172.17.0.1", 16, &["172.17.0.2"], "", "172.17.0.3");
        check("172.17.0.1", 16, &[], "172.17.0.2", "172.17.0.3");
        check(
            "172.17.0.1",
            16,
            &["172.17.0.3"],
            "172.17.0.2",
            "172.17.0.4",
        );
        check("172.17.0.1", 16, &[], "172.17.0.255", "172.17.1.0");
        check("172.17.0.1", 16, &[], "172.17.255.253", "172.17.255.254");
        check("172.17.0.1", 16, &[], "172.17.255.254", "172.17.0.2");
        check("172.17.0.1", 16, &[], "172.17.255.255", "172.17.0.2");
        check("172.17.0.1", 16, &["10.0.0.1"], "10.0.0.1", "172.17.0.2");
        check("10.0.0.1", 30, &[], "", "10.0.0.2");
        check("10.0.0.1", 30, &["10.0.0.2"], "", "none");
        check("10.0.0.6", 29, &["10.0.0.5"], "10.0.0.5", "10.0.0.1");
        let three = ["10.0.0.6", "10.0.0.2", "10.0.0.4"];
        check("10.0.0.1", 29, &three, "10.0.0.5", "10.0.0.3");
        check("10.0.0.1", 31, &[], "", "none");
        check("10.0.0.1", 32, &[], "", "none");
        check("255.255.255.253", 30, &["255.255.255.254"], "", "none");
    }

    #[test]
    fn addresses_stay_in_their_pool() {
        let whole = subnet("10.1.0.0/16");
        let pool = subnet("10.1.5.0/30");
        let gateway = Ipv4Addr::new(10, 1, 0, 1);
        let mut taken = Vec::new();
        while let Some(address) = next_address(gateway, whole, pool, &taken, None) {
            taken.push(address);
        }
        let last = |address: &Ipv4Addr| address.octets()[3];
        assert_eq!(taken.iter().map(last).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!(taken.iter().all(|address| pool.contains(*address)));
        let six = Ipv6 {
            gateway: "fd00::1".parse().unwrap(),
            prefix: 64,
        };
        let companion = companion(six, taken[1], whole);
        assert_eq!(companion, "fd00::501".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn every_address_is_given_before_the_network_is_full() {
        let gateway = Ipv4Addr::new(10, 0, 0, 1);
        let mut taken = Vec::new();
        let mut last = Some(Ipv4Addr::new(10, 0, 0, 77));
        let subnet = Subnet::of(gateway, 24);
        while let Some(address) = next_address(gateway, subnet, subnet, &taken, last) {
            assert!(!taken.contains(&address));
            taken.push(address);
            last = Some(address);
        }
        assert_eq!(taken.len(), 253);
    }
}
