//! nftables in the kernel's own encoding, as far as the rules of a bridge need
//! it. No `nft` program is involved: it would have to be installed, and takes
//! ten milliseconds to start where these calls take a tenth of one.
//!
//! Source: include/uapi/linux/netfilter/{nf_tables,nfnetlink}.h of Linux. Numbers
//! are in network byte order, the contents of registers in the host's.

mod rule;

use std::io;

pub(in crate::network) use rule::Rule;

use netlink_sys::protocols::NETLINK_NETFILTER;
use rustix::io::Errno;

use super::attributes::{Attributes, find, read_array, terminated};
use super::{Connection, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, Reply, Request};

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;
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
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_USERDATA: u16 = 6;
/// The table is its socket's: nobody else changes it, and it goes when the socket
/// is closed. Since Linux 5.12.
const NFT_TABLE_F_OWNER: u32 = 2;
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

/// The first register; it holds 16 bytes, as the second one does.
const NFT_REG_1: u32 = 1;
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
    /// Both.
    Both,
}

impl Family {
    fn number(self) -> u8 {
        match self {
            Self::Four => NFPROTO_IPV4,
            Self::Six => NFPROTO_IPV6,
            Self::Both => NFPROTO_INET,
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
    /// The same, before it.
    pub(in crate::network) const BEFORE_POSTROUTING: Self = Self {
        priority: 99,
        ..Self::POSTROUTING
    };
    /// Destination translation of packets that come in.
    pub(in crate::network) const PREROUTING: Self = Self {
        chain_type: "nat",
        number: 0,
        priority: DESTINATION_PRIORITY,
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

    /// What the next change is about.
    pub(in crate::network) fn current_family(&self) -> Family {
        self.family
    }

    /// Makes a table, or keeps the one that is there.
    pub(in crate::network) fn add_table(&mut self, name: &str, comment: &str) {
        let table = Attributes::default()
            .text(NFTA_TABLE_NAME, name)
            .bytes(NFTA_TABLE_USERDATA, &comment_data(comment));
        self.push(NFT_MSG_NEWTABLE, NLM_F_CREATE, &table);
    }

    /// Makes a table that is the socket's: nobody else can change or remove it, and
    /// it goes with the socket, however that ends.
    pub(in crate::network) fn add_owned_table(&mut self, name: &str, comment: &str) {
        let table = Attributes::default()
            .text(NFTA_TABLE_NAME, name)
            .number(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER)
            .bytes(NFTA_TABLE_USERDATA, &comment_data(comment));
        self.push(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, &table);
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
        let request = request(self.family, kind, flags, attributes);
        self.requests.push(request);
    }
}

/// A chain of another program's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::network) struct ForeignChain {
    protocol: u8,
    pub(in crate::network) table: String,
    pub(in crate::network) name: String,
}

impl ForeignChain {
    /// Whether packets of this family come through it.
    pub(in crate::network) fn sees(&self, family: Family) -> bool {
        [family.number(), NFPROTO_INET].contains(&self.protocol)
    }
}

/// A `NETLINK_NETFILTER` socket.
#[derive(Debug)]
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
        // What fails is answered without being asked; one answer stands for all the
        // rest, as those to hundreds of rules would not fit into the socket.
        if let Some(last) = requests.last_mut() {
            last.flags |= NLM_F_ACK;
        }
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

    /// The chains, of every program, that drop forwarded packets which none of their
    /// rules decides.
    pub(in crate::network) fn forward_drops(&mut self) -> io::Result<Vec<ForeignChain>> {
        let everything = Request {
            kind: (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN,
            flags: 0,
            body: vec![NFPROTO_UNSPEC, 0, 0, 0],
        };
        let mut chains = Vec::new();
        for reply in self.0.list(everything)? {
            let attributes = attributes_of(&reply);
            let number = |list, kind| -> io::Result<Option<u32>> {
                let value = find(list, kind).map(|value| read_array(value, 0));
                Ok(value.transpose()?.map(u32::from_be_bytes))
            };
            let hook = find(attributes, NFTA_CHAIN_HOOK).unwrap_or_default();
            let is_there = number(hook, NFTA_HOOK_HOOKNUM)? == Some(Hook::FORWARD.number);
            if is_there && number(attributes, NFTA_CHAIN_POLICY)? == Some(NF_DROP) {
                chains.push(ForeignChain {
                    protocol: reply.body.first().copied().unwrap_or_default(),
                    table: text_of(attributes, NFTA_CHAIN_TABLE),
                    name: text_of(attributes, NFTA_CHAIN_NAME),
                });
            }
        }
        Ok(chains)
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

fn text_of(attributes: &[u8], kind: u16) -> String {
    let text = find(attributes, kind).unwrap_or_default();
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    String::from_utf8_lossy(text).into_owned()
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
