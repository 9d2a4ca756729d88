//! The kernel's table of connections, as far as some have to be forgotten.
//!
//! What a packet's destination is translated to is decided by the first packet of
//! its connection. For UDP a "connection" is whatever goes between two ports with no
//! long pause, so a client that keeps sending is led to where its first packet
//! went, whatever the rules say by now, until the kernel is told to forget it.
//!
//! Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h of Linux.

use std::io;
use std::net::IpAddr;

use netlink_sys::protocols::NETLINK_NETFILTER;

use super::attributes::{Attributes, find, read_array};
use super::{Connection, NLM_F_ACK, Request};

const NFNL_SUBSYS_CTNETLINK: u16 = 1;
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_FILTER: u16 = 25;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_FILTER_ORIG_FLAGS: u16 = 1;
const CTA_FILTER_REPLY_FLAGS: u16 = 2;
/// `CTA_FILTER_F_CTA_PROTO_NUM`: entries of the named protocol only.
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
/// Size of `struct nfgenmsg`, which precedes the attributes.
const GENERIC_BYTES: usize = 4;
const FAMILIES: [u8; 2] = [2, 10];

/// One direction of a connection that the kernel remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::network) struct Tracked {
    /// Where its client sends to.
    pub(in crate::network) destination: IpAddr,
    /// The port there.
    pub(in crate::network) port: u16,
    /// Who answers.
    pub(in crate::network) answerer: IpAddr,
}

/// Forgets the connections of a protocol that `is_stale` says so of; how many. One
/// that ended in the meantime is as good as forgotten.
pub(in crate::network) fn forget(
    protocol: u8,
    is_stale: &dyn Fn(&Tracked) -> bool,
) -> io::Result<usize> {
    let mut connection = Connection::open(NETLINK_NETFILTER)?;
    let mut forgotten = 0;
    for family in FAMILIES {
        for reply in connection.list(request(IPCTNL_MSG_CT_GET, family, &wanted(protocol)))? {
            let attributes = reply.body.get(GENERIC_BYTES..).unwrap_or_default();
            let Some(tuple) = find(attributes, CTA_TUPLE_ORIG) else {
                continue;
            };
            // Kernels before 5.8 pass the filter over.
            if protocol_of(tuple) != Some(protocol)
                || !read(attributes).is_some_and(|tracked| is_stale(&tracked))
            {
                continue;
            }
            let named = Attributes::default().nested_bytes(CTA_TUPLE_ORIG, tuple);
            let mut delete = request(IPCTNL_MSG_CT_DELETE, family, &named);
            delete.flags = NLM_F_ACK;
            forgotten += usize::from(connection.send_all(&[delete]).is_ok());
        }
    }
    Ok(forgotten)
}

fn wanted(protocol: u8) -> Attributes {
    let number = Attributes::default().bytes(CTA_PROTO_NUM, &[protocol]);
    let tuple = Attributes::default().nested(CTA_TUPLE_PROTO, &number);
    let flags = Attributes::default()
        .bytes(CTA_FILTER_ORIG_FLAGS, &FILTER_BY_PROTOCOL.to_ne_bytes())
        .bytes(CTA_FILTER_REPLY_FLAGS, &0_u32.to_ne_bytes());
    Attributes::default()
        .nested(CTA_TUPLE_ORIG, &tuple)
        .nested(CTA_FILTER, &flags)
}

fn request(kind: u16, family: u8, attributes: &Attributes) -> Request {
    let mut body = vec![family, 0, 0, 0];
    body.extend_from_slice(attributes.as_bytes());
    Request {
        kind: (NFNL_SUBSYS_CTNETLINK << 8) | kind,
        flags: 0,
        body,
    }
}

fn protocol_of(tuple: &[u8]) -> Option<u8> {
    find(find(tuple, CTA_TUPLE_PROTO)?, CTA_PROTO_NUM)?
        .first()
        .copied()
}

fn read(attributes: &[u8]) -> Option<Tracked> {
    let tuple = find(attributes, CTA_TUPLE_ORIG)?;
    let port = find(find(tuple, CTA_TUPLE_PROTO)?, CTA_PROTO_DST_PORT)?;
    let addresses = find(tuple, CTA_TUPLE_IP)?;
    let answers = find(find(attributes, CTA_TUPLE_REPLY)?, CTA_TUPLE_IP)?;
    Some(Tracked {
        destination: address(addresses, CTA_IP_V4_DST, CTA_IP_V6_DST)?,
        port: u16::from_be_bytes(read_array(port, 0).ok()?),
        answerer: address(answers, CTA_IP_V4_SRC, CTA_IP_V6_SRC)?,
    })
}

fn address(list: &[u8], four: u16, six: u16) -> Option<IpAddr> {
    if let Some(value) = find(list, four) {
        return Some(read_array::<4>(value, 0).ok()?.into());
    }
    Some(read_array::<16>(find(list, six)?, 0).ok()?.into())
}
