//! nftables in the kernel's own encoding, as far as the rules of a bridge need
//! it. No `nft` program is involved: it would have to be installed, and takes
//! ten milliseconds to start where these calls take a tenth of one.
//!
//! Source: include/uapi/linux/netfilter/{nf_tables,nfnetlink}.h of Linux. Numbers
//! are in network byte order, the contents of registers in the host's.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;

use super::attributes::{Attributes, find, read_array, terminated};
use super::{Connection, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, Reply, Request};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// Size of `struct nfgenmsg`, which precedes the attributes.
const GENERIC_BYTES: usize = 4;

const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_DELRULE: u16 = 8;

const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;

const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_OIFNAME: u32 = 7;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_CT_STATE: u32 = 0;
/// Connection states as bits: established and related (nf_conntrack_common.h).
const CT_ESTABLISHED_RELATED: u32 = 0b110;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFT_META_L4PROTO: u32 = 16;
const NFT_NAT_DNAT: u32 = 1;
const IPV4_SOURCE_OFFSET: u32 = 12;
const IPV4_DESTINATION_OFFSET: u32 = 16;
const IPV6_SOURCE_OFFSET: u32 = 8;
const DESTINATION_PORT_OFFSET: u32 = 2;
const NFT_REG_2: u32 = 2;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// -100 as the kernel takes it: where destinations are translated.
const DESTINATION_PRIORITY: u32 = 0_u32.wrapping_sub(100);

/// Which packets a table is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::network) enum Family {
    /// IPv4.
    #[default]
    Four,
    /// IPv6.
    Six,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Four => NFPROTO_IPV4,
            Self::Six => NFPROTO_IPV6,
        }
    }
}

/// Where a chain of ours is hooked in.
#[derive(Debug, Clone, Copy)]
pub(in crate::network) struct Hook {
    /// `nat` or `filter`.
    pub(in crate::network) chain_type: &'static str,
    /// Number of the hook (linux/netfilter.h).
    pub(in crate::network) number: u32,
    /// Order among the chains of that hook.
    pub(in crate::network) priority: u32,
}

impl Hook {
    /// Source translation of packets that leave.
    pub(in crate::network) const POSTROUTING: Self = Self {
        chain_type: "nat",
        number: 4,
        priority: 100,
    };
    /// Destination translation of packets that are made here.
    pub(in crate::network) const OUTPUT: Self = Self {
        chain_type: "nat",
        number: 3,
        priority: DESTINATION_PRIORITY,
    };
    /// Filtering of packets that pass through.
    pub(in crate::network) const FORWARD: Self = Self {
        chain_type: "filter",
        number: 2,
        priority: 0,
    };
}

/// The expressions of a rule: conditions in order, then what is done.
#[derive(Debug, Clone, Default)]
pub(in crate::network) struct Rule(Attributes);

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

    /// The packet goes to this address.
    pub(in crate::network) fn if_to(self, address: Ipv4Addr) -> Self {
        self.network_header(IPV4_DESTINATION_OFFSET, 4)
            .compare(NFT_CMP_EQ, &address.octets())
    }

    /// The packet goes to this port by this protocol (its IP number; TCP or UDP).
    pub(in crate::network) fn if_to_port(self, protocol: u8, port: u16) -> Self {
        let load = Attributes::default()
            .number(1, NFT_REG_1)
            .number(2, NFT_PAYLOAD_TRANSPORT_HEADER)
            .number(3, DESTINATION_PORT_OFFSET)
            .number(4, 2);
        self.meta(NFT_META_L4PROTO)
            .compare(NFT_CMP_EQ, &[protocol])
            .expression("payload", &load)
            .compare(NFT_CMP_EQ, &port.to_be_bytes())
    }

    /// It goes to this address and port instead.
    pub(in crate::network) fn redirect(self, address: Ipv4Addr, port: u16) -> Self {
        let value = |register: u32, bytes: &[u8]| {
            Attributes::default()
                .number(1, register)
                .nested(2, &Attributes::default().bytes(NFTA_DATA_VALUE, bytes))
        };
        let nat = Attributes::default()
            .number(1, NFT_NAT_DNAT)
            .number(2, u32::from(NFPROTO_IPV4))
            .number(3, NFT_REG_1)
            .number(5, NFT_REG_2);
        self.expression("immediate", &value(NFT_REG_1, &address.octets()))
            .expression("immediate", &value(NFT_REG_2, &port.to_be_bytes()))
            .expression("nat", &nat)
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

    /// It is let through.
    pub(in crate::network) fn accept(self) -> Self {
        self.verdict(NF_ACCEPT)
    }

    /// It is dropped.
    pub(in crate::network) fn drop(self) -> Self {
        self.verdict(NF_DROP)
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
        let immediate = Attributes::default().number(1, NFT_REG_VERDICT).nested(
            2,
            &Attributes::default().nested(NFTA_DATA_VERDICT, &verdict),
        );
        self.expression("counter", &Attributes::default())
            .expression("immediate", &immediate)
    }

    fn expression(self, name: &str, data: &Attributes) -> Self {
        let element = Attributes::default()
            .text(NFTA_EXPR_NAME, name)
            .nested(NFTA_EXPR_DATA, data);
        Self(self.0.nested(NFTA_LIST_ELEM, &element))
    }
}

/// Changes that take effect together, or not at all.
#[derive(Debug, Default)]
pub(in crate::network) struct Transaction {
    requests: Vec<Request>,
    family: Family,
}

impl Transaction {
    /// What follows is about tables of this family; `Four` at first.
    pub(in crate::network) fn family(&mut self, family: Family) {
        self.family = family;
    }

    /// Makes a table, or keeps the one that is there.
    pub(in crate::network) fn add_table(&mut self, name: &str, comment: &str) {
        let table = Attributes::default()
            .text(NFTA_TABLE_NAME, name)
            .bytes(NFTA_TABLE_USERDATA, &comment_data(comment));
        self.push(NFT_MSG_NEWTABLE, NLM_F_CREATE, &table);
    }

    /// Removes a table with everything in it; it must exist.
    pub(in crate::network) fn remove_table(&mut self, name: &str) {
        let table = Attributes::default().text(NFTA_TABLE_NAME, name);
        self.push(NFT_MSG_DELTABLE, 0, &table);
    }

    /// Makes a chain that packets enter by a hook; those that no rule decides pass.
    pub(in crate::network) fn add_chain(&mut self, table: &str, name: &str, hook: Hook) {
        let place = Attributes::default()
            .number(NFTA_HOOK_HOOKNUM, hook.number)
            .number(NFTA_HOOK_PRIORITY, hook.priority);
        let chain = Attributes::default()
            .text(NFTA_CHAIN_TABLE, table)
            .text(NFTA_CHAIN_NAME, name)
            .nested(NFTA_CHAIN_HOOK, &place)
            .number(NFTA_CHAIN_POLICY, NF_ACCEPT)
            .text(NFTA_CHAIN_TYPE, hook.chain_type);
        self.push(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &chain);
    }

    /// Makes a chain that packets enter by a hook; those that no rule decides are dropped.
    #[cfg(test)]
    pub(in crate::network) fn add_dropping_chain(&mut self, table: &str, name: &str, hook: Hook) {
        self.add_chain(table, name, hook);
        let chain = Attributes::default()
            .text(NFTA_CHAIN_TABLE, table)
            .text(NFTA_CHAIN_NAME, name)
            .number(NFTA_CHAIN_POLICY, NF_DROP);
        self.push(NFT_MSG_NEWCHAIN, 0, &chain);
    }

    /// Makes a chain that is entered by other rules only.
    #[cfg(test)]
    pub(in crate::network) fn add_plain_chain(&mut self, table: &str, name: &str) {
        let chain = Attributes::default()
            .text(NFTA_CHAIN_TABLE, table)
            .text(NFTA_CHAIN_NAME, name);
        self.push(NFT_MSG_NEWCHAIN, NLM_F_CREATE, &chain);
    }

    /// Adds a rule behind those that the chain has.
    pub(in crate::network) fn append_rule(&mut self, table: &str, chain: &str, rule: &Rule) {
        let rule = rule_in(table, chain).nested(NFTA_RULE_EXPRESSIONS, &rule.0);
        self.push(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, &rule);
    }

    /// Adds a rule before those that the chain has.
    pub(in crate::network) fn insert_rule(
        &mut self,
        table: &str,
        chain: &str,
        rule: &Rule,
        comment: &str,
    ) {
        let rule = rule_in(table, chain)
            .nested(NFTA_RULE_EXPRESSIONS, &rule.0)
            .bytes(NFTA_RULE_USERDATA, &comment_data(comment));
        self.push(NFT_MSG_NEWRULE, NLM_F_CREATE, &rule);
    }

    /// Removes the rule with this handle.
    pub(in crate::network) fn remove_rule(&mut self, table: &str, chain: &str, handle: [u8; 8]) {
        let rule = rule_in(table, chain).bytes(NFTA_RULE_HANDLE, &handle);
        self.push(NFT_MSG_DELRULE, 0, &rule);
    }

    /// Whether there is nothing to do.
    pub(in crate::network) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    fn push(&mut self, kind: u16, flags: u16, attributes: &Attributes) {
        let request = request(self.family, kind, flags | NLM_F_ACK, attributes);
        self.requests.push(request);
    }
}

/// A `NETLINK_NETFILTER` socket.
pub(in crate::network) struct NftSocket(Connection);

impl NftSocket {
    /// Opens one in the calling thread's network namespace.
    pub(in crate::network) fn open() -> io::Result<Self> {
        Connection::open(NETLINK_NETFILTER).map(Self)
    }

    /// Carries out a transaction.
    pub(in crate::network) fn commit(&mut self, transaction: Transaction) -> io::Result<()> {
        let mut requests = Vec::with_capacity(transaction.requests.len() + 2);
        requests.push(batch_mark(NFNL_MSG_BATCH_BEGIN));
        requests.extend(transaction.requests);
        requests.push(batch_mark(NFNL_MSG_BATCH_END));
        self.0.send_all(&requests)
    }

    /// Whether there is a table of this name with this comment.
    pub(in crate::network) fn has_table(
        &mut self,
        family: Family,
        name: &str,
        comment: &str,
    ) -> io::Result<bool> {
        let table = Attributes::default().text(NFTA_TABLE_NAME, name);
        let replies = self.get(family, NFT_MSG_GETTABLE, &table)?;
        Ok(replies.iter().any(|reply| {
            find(attributes_of(reply), NFTA_TABLE_USERDATA)
                .is_some_and(|data| data == comment_data(comment))
        }))
    }

    /// Whether there is a table of this name.
    pub(in crate::network) fn has_any_table(
        &mut self,
        family: Family,
        name: &str,
    ) -> io::Result<bool> {
        let table = Attributes::default().text(NFTA_TABLE_NAME, name);
        match self.get(family, NFT_MSG_GETTABLE, &table) {
            Err(err) if is_unsupported(&err) => Ok(false),
            found => Ok(!found?.is_empty()),
        }
    }

    /// Whether packets that no rule of this chain decides are dropped; `None`
    /// when there is no such chain, `Some(false)` when it is not a base chain.
    pub(in crate::network) fn chain_drops(
        &mut self,
        table: &str,
        chain: &str,
    ) -> io::Result<Option<bool>> {
        let wanted = Attributes::default()
            .text(NFTA_CHAIN_TABLE, table)
            .text(NFTA_CHAIN_NAME, chain);
        let replies = self.get(Family::Four, NFT_MSG_GETCHAIN, &wanted)?;
        let Some(reply) = replies.first() else {
            return Ok(None);
        };
        match find(attributes_of(reply), NFTA_CHAIN_POLICY) {
            Some(policy) => Ok(Some(u32::from_be_bytes(read_array(policy, 0)?) == NF_DROP)),
            None => Ok(Some(false)),
        }
    }

    /// The handles of the rules of a chain in which `mark` occurs, in a comment
    /// of whichever kind. None when there is no such chain.
    pub(in crate::network) fn marked_rules(
        &mut self,
        table: &str,
        chain: &str,
        mark: &str,
    ) -> io::Result<Vec<[u8; 8]>> {
        let replies = self.0.list(request(
            Family::Four,
            NFT_MSG_GETRULE,
            0,
            &rule_in(table, chain),
        ))?;
        let mut handles = Vec::new();
        for attributes in replies.iter().map(attributes_of) {
            // Older kernels list every chain, so the names are checked.
            let is_here = find(attributes, NFTA_RULE_TABLE) == Some(&terminated(table))
                && find(attributes, NFTA_RULE_CHAIN) == Some(&terminated(chain));
            let is_marked = attributes
                .windows(mark.len().max(1))
                .any(|window| window == mark.as_bytes());
            if let (true, true, Some(handle)) =
                (is_here, is_marked, find(attributes, NFTA_RULE_HANDLE))
            {
                handles.push(read_array(handle, 0)?);
            }
        }
        Ok(handles)
    }

    fn get(
        &mut self,
        family: Family,
        kind: u16,
        attributes: &Attributes,
    ) -> io::Result<Vec<Reply>> {
        match self.0.ask(request(family, kind, 0, attributes)) {
            Err(err) if err.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => Ok(Vec::new()),
            result => result,
        }
    }
}

/// Whether this is the answer of a kernel that has no nftables.
pub(in crate::network) fn is_unsupported(err: &io::Error) -> bool {
    [
        Errno::OPNOTSUPP,
        Errno::PROTONOSUPPORT,
        Errno::AFNOSUPPORT,
        Errno::INVAL,
    ]
    .iter()
    .any(|errno| err.raw_os_error() == Some(errno.raw_os_error()))
}

fn rule_in(table: &str, chain: &str) -> Attributes {
    Attributes::default()
        .text(NFTA_RULE_TABLE, table)
        .text(NFTA_RULE_CHAIN, chain)
}

/// User data as the `nft` program writes comments: type 0, length, text, zero.
fn comment_data(comment: &str) -> Vec<u8> {
    let text = terminated(comment);
    let length = u8::try_from(text.len()).expect("our comments are short");
    [&[0, length], text.as_slice()].concat()
}

fn attributes_of(reply: &Reply) -> &[u8] {
    reply.body.get(GENERIC_BYTES..).unwrap_or_default()
}

fn request(family: Family, kind: u16, flags: u16, attributes: &Attributes) -> Request {
    let mut body = vec![family.number(), 0, 0, 0];
    body.extend_from_slice(attributes.as_bytes());
    Request {
        kind: (NFNL_SUBSYS_NFTABLES << 8) | kind,
        flags,
        body,
    }
}

fn batch_mark(kind: u16) -> Request {
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    Request {
        kind,
        flags: 0,
        body: vec![NFPROTO_UNSPEC, 0, high, low],
    }
}
