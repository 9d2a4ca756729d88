//! The rules of nftables: conditions, and what is done where they hold.
//!
//! Source: include/uapi/linux/netfilter/nf_tables.h of Linux.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::super::attributes::{Attributes, terminated};
use super::{Family, NF_ACCEPT, NF_DROP, NFT_REG_1};

const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_VERDICT_CHAIN: u16 = 2;
/// `NFT_JUMP`, -3 as the kernel takes it.
const NFT_JUMP: u32 = 0_u32.wrapping_sub(3);
const NFT_REG_VERDICT: u32 = 0;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFT_CMP_LTE: u32 = 3;
const NFT_CMP_GTE: u32 = 5;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_OIFNAME: u32 = 7;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_CT_STATE: u32 = 0;
const NFT_CT_STATUS: u32 = 2;
/// Set in a connection's status once its destination was translated (`IPS_DST_NAT`).
const CT_DESTINATION_TRANSLATED: u32 = 1 << 5;
/// Connection states as bits: established and related (nf_conntrack_common.h).
const CT_ESTABLISHED_RELATED: u32 = 0b110;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_FIB_RESULT_ADDRTYPE: u32 = 3;
const NFTA_FIB_F_DADDR: u32 = 2;
/// The kind of route that leads to an address of this host (linux/rtnetlink.h).
const RTN_LOCAL: u32 = 2;
const NFT_NAT_SNAT: u32 = 0;
const NFT_NAT_DNAT: u32 = 1;
const IPV4_SOURCE_OFFSET: u32 = 12;
const IPV4_DESTINATION_OFFSET: u32 = 16;
const IPV6_SOURCE_OFFSET: u32 = 8;
const IPV6_DESTINATION_OFFSET: u32 = 24;
/// 127.0.0.0/8, which only its first byte tells.
const LOOPBACK_MASK: [u8; 4] = [255, 0, 0, 0];
const LOOPBACK_NETWORK: [u8; 4] = [127, 0, 0, 0];
const DESTINATION_PORT_OFFSET: u32 = 2;
const NFT_REG_2: u32 = 2;
const NFTA_LIST_ELEM: u16 = 1;

/// The expressions of a rule: conditions in order, then what is done.
#[derive(Debug, Clone, Default)]
pub(in crate::network) struct Rule(pub(super) Attributes);

impl Rule {
    /// The packet came in by this device.
    pub(in crate::network) fn if_in_by(self, name: &str) -> Self {
        self.meta(NFT_META_IIFNAME)
            .compare(NFT_CMP_EQ, &terminated(name))
    }

    /// The packet came in by another device.
    pub(in crate::network) fn unless_in_by(self, name: &str) -> Self {
        self.meta(NFT_META_IIFNAME)
            .compare(NFT_CMP_NEQ, &terminated(name))
    }

    /// The packet goes out by this device.
    pub(in crate::network) fn if_out_by(self, name: &str) -> Self {
        self.meta(NFT_META_OIFNAME)
            .compare(NFT_CMP_EQ, &terminated(name))
    }

    /// The packet goes out by another device.
    pub(in crate::network) fn unless_out_by(self, name: &str) -> Self {
        self.meta(NFT_META_OIFNAME)
            .compare(NFT_CMP_NEQ, &terminated(name))
    }

    /// The packet's source address is in this subnet.
    pub(in crate::network) fn if_from(self, network: Ipv4Addr, mask: Ipv4Addr) -> Self {
        self.network_header(IPV4_SOURCE_OFFSET, 4)
            .masked(&mask.octets())
            .compare(NFT_CMP_EQ, &network.octets())
    }

    /// The packet's source address is in this IPv6 subnet.
    pub(in crate::network) fn if_from6(self, network: Ipv6Addr, prefix: u8) -> Self {
        let host_bits = 128_u32.saturating_sub(u32::from(prefix));
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        self.network_header(IPV6_SOURCE_OFFSET, 16)
            .masked(&mask.to_be_bytes())
            .compare(NFT_CMP_EQ, &network.octets())
    }

    /// The packet goes to this address; holds for packets of its family alone,
    /// which has to be asked for before.
    pub(in crate::network) fn if_to(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self
                .network_header(IPV4_DESTINATION_OFFSET, 4)
                .compare(NFT_CMP_EQ, &address.octets()),
            IpAddr::V6(address) => self
                .network_header(IPV6_DESTINATION_OFFSET, 16)
                .compare(NFT_CMP_EQ, &address.octets()),
        }
    }

    /// The packet is of this family; needed in tables of several.
    pub(in crate::network) fn if_family(self, family: Family) -> Self {
        self.meta(NFT_META_NFPROTO)
            .compare(NFT_CMP_EQ, &[family.number()])
    }

    /// The packet is of this family and goes elsewhere than to its loopback addresses.
    pub(in crate::network) fn unless_to_loopback(self, family: Family) -> Self {
        let rule = self.if_family(family);
        if family == Family::Six {
            return rule
                .network_header(IPV6_DESTINATION_OFFSET, 16)
                .compare(NFT_CMP_NEQ, &Ipv6Addr::LOCALHOST.octets());
        }
        rule.network_header(IPV4_DESTINATION_OFFSET, 4)
            .masked(&LOOPBACK_MASK)
            .compare(NFT_CMP_NEQ, &LOOPBACK_NETWORK)
    }

    /// The packet goes to an address of this host, whichever.
    pub(in crate::network) fn if_to_this_host(self) -> Self {
        let look = Attributes::default()
            .number(1, NFT_REG_1)
            .number(2, NFT_FIB_RESULT_ADDRTYPE)
            .number(3, NFTA_FIB_F_DADDR);
        self.expression("fib", &look)
            .compare(NFT_CMP_EQ, &RTN_LOCAL.to_ne_bytes())
    }

    /// The packet goes to one of these ports by this protocol (its IP number; one
    /// whose header begins with the ports).
    pub(in crate::network) fn if_to_ports(self, protocol: u8, ports: RangeInclusive<u16>) -> Self {
        let load = Attributes::default()
            .number(1, NFT_REG_1)
            .number(2, NFT_PAYLOAD_TRANSPORT_HEADER)
            .number(3, DESTINATION_PORT_OFFSET)
            .number(4, 2);
        let loaded = self
            .meta(NFT_META_L4PROTO)
            .compare(NFT_CMP_EQ, &[protocol])
            .expression("payload", &load);
        let (first, last) = (ports.start().to_be_bytes(), ports.end().to_be_bytes());
        if first == last {
            return loaded.compare(NFT_CMP_EQ, &first);
        }
        loaded
            .compare(NFT_CMP_GTE, &first)
            .compare(NFT_CMP_LTE, &last)
    }

    /// It goes to this address instead, and where one is named to this port.
    pub(in crate::network) fn redirect(self, address: IpAddr, port: Option<u16>) -> Self {
        let value = |register: u32, bytes: &[u8]| {
            Attributes::default()
                .number(1, register)
                .nested(2, &Attributes::default().bytes(NFTA_DATA_VALUE, bytes))
        };
        let (family, rule) = match address {
            IpAddr::V4(address) => {
                let octets = value(NFT_REG_1, &address.octets());
                (Family::Four, self.expression("immediate", &octets))
            }
            IpAddr::V6(address) => {
                let octets = value(NFT_REG_1, &address.octets());
                (Family::Six, self.expression("immediate", &octets))
            }
        };
        let nat = Attributes::default()
            .number(1, NFT_NAT_DNAT)
            .number(2, u32::from(family.number()))
            .number(3, NFT_REG_1);
        match port {
            None => rule.expression("nat", &nat),
            Some(port) => rule
                .expression("immediate", &value(NFT_REG_2, &port.to_be_bytes()))
                .expression("nat", &nat.number(5, NFT_REG_2)),
        }
    }

    /// The connection's destination was translated.
    pub(in crate::network) fn if_translated(self) -> Self {
        self.translation()
            .compare(NFT_CMP_NEQ, &0_u32.to_ne_bytes())
    }

    /// The connection goes to the address that its client named.
    pub(in crate::network) fn unless_translated(self) -> Self {
        self.translation().compare(NFT_CMP_EQ, &0_u32.to_ne_bytes())
    }

    fn translation(self) -> Self {
        let load = Attributes::default()
            .number(1, NFT_REG_1)
            .number(2, NFT_CT_STATUS);
        self.expression("ct", &load)
            .masked(&CT_DESTINATION_TRANSLATED.to_ne_bytes())
    }

    fn network_header(self, offset: u32, length: u32) -> Self {
        let load = Attributes::default()
            .number(1, NFT_REG_1)
            .number(2, NFT_PAYLOAD_NETWORK_HEADER)
            .number(3, offset)
            .number(4, length);
        self.expression("payload", &load)
    }

    /// The packet belongs to no connection that is already known.
    pub(in crate::network) fn if_first_of_connection(self) -> Self {
        let load = Attributes::default()
            .number(1, NFT_REG_1)
            .number(2, NFT_CT_STATE);
        self.expression("ct", &load)
            .masked(&CT_ESTABLISHED_RELATED.to_ne_bytes())
            .compare(NFT_CMP_EQ, &0_u32.to_ne_bytes())
    }

    /// Its source becomes the address of the device that it leaves by.
    pub(in crate::network) fn masquerade(self) -> Self {
        self.expression("masq", &Attributes::default())
    }

    /// Its source stays what it is, whatever later rules say; `family` is the table's.
    pub(in crate::network) fn keep_source(self, family: Family) -> Self {
        let (offset, length) = match family {
            Family::Six => (IPV6_SOURCE_OFFSET, 16),
            _ => (IPV4_SOURCE_OFFSET, 4),
        };
        let nat = Attributes::default()
            .number(1, NFT_NAT_SNAT)
            .number(2, u32::from(family.number()))
            .number(3, NFT_REG_1);
        self.network_header(offset, length).expression("nat", &nat)
    }

    /// It is let through.
    pub(in crate::network) fn accept(self) -> Self {
        self.verdict(NF_ACCEPT)
    }

    /// It is dropped.
    pub(in crate::network) fn drop(self) -> Self {
        self.verdict(NF_DROP)
    }

    /// The rules of another chain of the table decide.
    pub(in crate::network) fn jump(self, chain: &str) -> Self {
        let verdict = Attributes::default()
            .number(NFTA_VERDICT_CODE, NFT_JUMP)
            .text(NFTA_VERDICT_CHAIN, chain);
        self.immediate_verdict(&verdict)
    }

    fn meta(self, key: u32) -> Self {
        let load = Attributes::default().number(1, NFT_REG_1).number(2, key);
        self.expression("meta", &load)
    }

    fn masked(self, mask: &[u8]) -> Self {
        let zeros = vec![0; mask.len()];
        let length = u32::try_from(mask.len()).expect("a mask is as short as a register");
        let bitwise = Attributes::default()
            .number(1, NFT_REG_1)
            .number(2, NFT_REG_1)
            .number(3, length)
            .nested(4, &Attributes::default().bytes(NFTA_DATA_VALUE, mask))
            .nested(5, &Attributes::default().bytes(NFTA_DATA_VALUE, &zeros));
        self.expression("bitwise", &bitwise)
    }

    fn compare(self, operator: u32, value: &[u8]) -> Self {
        let compare = Attributes::default()
            .number(1, NFT_REG_1)
            .number(2, operator)
            .nested(3, &Attributes::default().bytes(NFTA_DATA_VALUE, value));
        self.expression("cmp", &compare)
    }

    fn verdict(self, code: u32) -> Self {
        let verdict = Attributes::default().number(NFTA_VERDICT_CODE, code);
        self.expression("counter", &Attributes::default())
            .immediate_verdict(&verdict)
    }

    fn immediate_verdict(self, verdict: &Attributes) -> Self {
        let immediate = Attributes::default()
            .number(1, NFT_REG_VERDICT)
            .nested(2, &Attributes::default().nested(NFTA_DATA_VERDICT, verdict));
        self.expression("immediate", &immediate)
    }

    fn expression(self, name: &str, data: &Attributes) -> Self {
        let element = Attributes::default()
            .text(NFTA_EXPR_NAME, name)
            .nested(NFTA_EXPR_DATA, data);
        Self(self.0.nested(NFTA_LIST_ELEM, &element))
    }
}
