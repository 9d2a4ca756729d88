//! Talking to the kernel by netlink, blocking: requests go out in one datagram,
//! and every one is answered before the call returns.
//!
//! Requests are typed ([`RouteSocket`](route::RouteSocket)) or written out
//! ([`nftables`]). Of replies only the attributes that matter are read, so that
//! a newer kernel's additions cannot fail the parsing.

pub(super) mod attributes;
pub(super) mod conntrack;
pub(super) mod nftables;
pub(super) mod route;

use std::io;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr};
use rustix::net::sockopt::{Timeout, set_socket_send_buffer_size_force, set_socket_timeout};

use attributes::read_array;

const HEADER_BYTES: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// First message type that is not netlink's own (linux/netlink.h, `NLMSG_MIN_TYPE`).
const NLMSG_MIN_TYPE: u16 = 0x10;

/// Flags of a request (linux/netlink.h).
pub(super) const NLM_F_REQUEST: u16 = 0x1;
pub(super) const NLM_F_ACK: u16 = 0x4;
pub(super) const NLM_F_DUMP: u16 = 0x300;
pub(super) const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;
/// Flag of a reply: the table changed while it was being listed.
const NLM_F_DUMP_INTR: u16 = 0x10;

/// The kernel fills datagrams of a listing up to 32 KiB.
const RECEIVE_BYTES: usize = 64 * 1024;
/// What goes into a socket as it is made.
const USUAL_SEND_BYTES: usize = 64 * 1024;
/// The kernel answers at once; this only bounds what a bug could cost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a listing that was interrupted by a change is tried again.
const LISTING_ATTEMPTS: usize = 10;

/// A request: message type, flags, and everything behind the netlink header.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) kind: u16,
    pub(super) flags: u16,
    pub(super) body: Vec<u8>,
}

/// A reply: its type, and everything behind the netlink header.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) kind: u16,
    pub(super) body: Vec<u8>,
}

/// A netlink socket, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Connection {
    /// Opens a socket of this protocol (`NETLINK_ROUTE`, `NETLINK_NETFILTER`).
    pub(super) fn open(protocol: isize) -> io::Result<Self> {
        let socket = Socket::new(protocol)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            socket,
            sequence: 0,
            buffer: Vec::with_capacity(RECEIVE_BYTES),
        })
    }

    /// Sends the requests in one datagram and waits until each that asks for an
    /// acknowledgement has it. Fails with the first refusal.
    pub(super) fn send_all(&mut self, requests: &[Request]) -> io::Result<()> {
        let waiting = requests
            .iter()
            .filter(|request| request.flags & NLM_F_ACK != 0)
            .count();
        let first = self.send(requests)?;
        let mut replies = Vec::new();
        self.collect(first, waiting, &mut replies)?;
        Ok(())
    }

    /// Asks for one thing; its replies come before its acknowledgement.
    pub(super) fn ask(&mut self, mut request: Request) -> io::Result<Vec<Reply>> {
        request.flags |= NLM_F_ACK;
        let first = self.send(std::slice::from_ref(&request))?;
        let mut replies = Vec::new();
        self.collect(first, 1, &mut replies)?;
        Ok(replies)
    }

    /// Asks for a listing.
    pub(super) fn list(&mut self, mut request: Request) -> io::Result<Vec<Reply>> {
        request.flags |= NLM_F_DUMP;
        for _ in 0..LISTING_ATTEMPTS {
            let first = self.send(std::slice::from_ref(&request))?;
            let mut replies = Vec::new();
            if self.collect(first, 1, &mut replies)? {
                return Ok(replies);
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    fn send(&mut self, requests: &[Request]) -> io::Result<u32> {
        let first = self.sequence.wrapping_add(1);
        let mut datagram = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let length = u32::try_from(HEADER_BYTES + request.body.len())
                .map_err(|_| io::ErrorKind::InvalidInput)?;
            datagram.extend_from_slice(&length.to_ne_bytes());
            datagram.extend_from_slice(&request.kind.to_ne_bytes());
            datagram.extend_from_slice(&(request.flags | NLM_F_REQUEST).to_ne_bytes());
            datagram.extend_from_slice(&self.sequence.to_ne_bytes());
            datagram.extend_from_slice(&0_u32.to_ne_bytes());
            datagram.extend_from_slice(&request.body);
            datagram.resize(datagram.len().next_multiple_of(4), 0);
        }
        if datagram.len() > USUAL_SEND_BYTES {
            // Without leave to it, the kernel's own bound may still be enough.
            set_socket_send_buffer_size_force(&self.socket, datagram.len()).ok();
        }
        self.socket.send_to(&datagram, &SocketAddr::new(0, 0), 0)?;
        Ok(first)
    }

    /// Reads until `waiting` requests from sequence number `first` on are
    /// finished; whether the replies are consistent with each other.
    fn collect(
        &mut self,
        first: u32,
        mut waiting: usize,
        replies: &mut Vec<Reply>,
    ) -> io::Result<bool> {
        let ours = first..=self.sequence;
        let mut consistent = true;
        while waiting > 0 {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            let mut rest = self.buffer.as_slice();
            while rest.len() >= HEADER_BYTES {
                let length = u32::from_ne_bytes(read_array(rest, 0)?);
                let length = usize::try_from(length).map_err(|_| malformed())?;
                let message = rest.get(..length).ok_or_else(malformed)?;
                let kind = u16::from_ne_bytes(read_array(message, 4)?);
                let flags = u16::from_ne_bytes(read_array(message, 6)?);
                let sequence = u32::from_ne_bytes(read_array(message, 8)?);
                let body = message.get(HEADER_BYTES..).ok_or_else(malformed)?;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                // What an earlier request that failed half-way left behind.
                if !ours.contains(&sequence) {
                    continue;
                }
                consistent &= flags & NLM_F_DUMP_INTR == 0;
                match kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        if !body.is_empty() {
                            answer(i32::from_ne_bytes(read_array(body, 0)?))?;
                        }
                        waiting = waiting.saturating_sub(1);
                    }
                    kind if kind >= NLMSG_MIN_TYPE => replies.push(Reply {
                        kind,
                        body: body.to_vec(),
                    }),
                    _ => {}
                }
            }
        }
        Ok(consistent)
    }
}

fn answer(code: i32) -> io::Result<()> {
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code.wrapping_neg()))
    }
}

/// The error of a reply that is cut short.
pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed netlink message")
}
