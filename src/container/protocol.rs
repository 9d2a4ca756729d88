//! What a shim and its clients say to each other.
//!
//! A `SOCK_SEQPACKET` socket: each message is one packet, its first byte says
//! what it is, the rest is data or a JSON document. Output travels as messages,
//! not as passed descriptors: a client that was killed or detached must not
//! leave a shim behind that still reads its terminal.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, SendFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::EndpointRequest;
use super::cdi::Edits;
use super::dir::Dir;
use super::machine::Program;
use super::names;
use super::update::Changes;
use crate::oci::passwd::Account;
use crate::sandbox::Runtime;

/// Most data in one message; with room to spare in a default send buffer.
pub(super) const CHUNK: usize = 32 << 10;
/// Longest message that is received: an exec order with a long environment.
const MESSAGE_LIMIT: usize = 192 << 10;

/// Longest order that a client leaves in a file because it is too long for a
/// message: the kernel takes some megabytes of arguments and variables.
const ORDER_LIMIT: u64 = 16 << 20;

/// Which streams a client wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// Standard input, and with it the duty to end it.
    pub stdin: bool,
    /// Standard output, or the terminal's.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// The first message to a new shim: everything that was looked up for a start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StartOrder {
    /// The data root.
    pub(super) data: PathBuf,
    /// The runtime directory.
    pub(super) run: PathBuf,
    /// The container.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Who the program runs as.
    pub(super) account: Account,
    /// Read-only layers, top first.
    pub(super) lower: Vec<PathBuf>,
    /// Another container and its first process, whose network is shared.
    pub(super) network_of: Option<(String, i32)>,
    /// The first process of a container whose processes are seen.
    pub(super) pid_of: Option<i32>,
    /// The first process of a container whose IPC objects are seen.
    pub(super) ipc_of: Option<i32>,
    /// Addresses and variables of linked containers.
    pub(super) links: Links,
    /// The outside runtime that makes its sandbox, if one does.
    #[serde(default)]
    pub(super) program: Option<Program>,
    /// What its devices need.
    #[serde(default)]
    pub(super) edits: Edits,
    /// What the starting client attaches to; it goes when it heard of the start otherwise.
    pub(super) attach: Option<Streams>,
    /// Rows and columns of its terminal; 0 when unknown.
    pub(super) terminal: (u16, u16),
}

impl StartOrder {
    /// The outside runtime with its place in the container's runtime directory.
    pub(super) fn runtime(&self, dir: &Dir) -> Option<Runtime> {
        let program = self.program.as_ref()?;
        Some(Runtime {
            path: program.path.clone(),
            args: program.args.clone(),
            dir: dir.outside(),
            id: self.id.clone(),
        })
    }
}

/// What a container is told of those that it is linked to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Links {
    /// Names and addresses for `/etc/hosts`.
    pub(super) hosts: Vec<(String, std::net::IpAddr)>,
    /// Variables as `NAME=value`.
    pub(super) variables: Vec<String>,
}

/// A further program in the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ExecOrder {
    /// The argument vector.
    pub(super) argv: Vec<String>,
    /// The whole environment.
    pub(super) env: Vec<String>,
    /// The working directory.
    pub(super) cwd: PathBuf,
    /// Who it runs as.
    pub(super) account: Account,
    /// Whether it may do nearly everything.
    pub(super) privileged: bool,
    /// Whether it gets a terminal of its own.
    pub(super) tty: bool,
    /// What the client attaches to; nothing for a detached one.
    pub(super) attach: Streams,
    /// Rows and columns of the client's terminal; 0 when unknown.
    pub(super) terminal: (u16, u16),
}

/// Why something did not start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// Exit code of `run`: 125, 126 or 127.
    pub(super) code: u8,
    /// The message with its causes.
    pub(super) message: String,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Exited {
    /// Its exit code, 128 plus the number for a signal.
    pub(super) code: i32,
}

/// From a client to the shim.
#[derive(Debug)]
pub(super) enum Ask {
    /// Start the container; the first message on the socket that a shim is born with.
    Start(Box<StartOrder>),
    /// Send me these streams from here on, and the end.
    Attach(Streams),
    /// Tell me the end.
    Wait,
    /// Run a program; the streams and the end are sent back.
    Exec(Box<ExecOrder>),
    /// The same; the order is in this file of the container's runtime directory.
    ExecIn(String),
    /// Bytes for standard input.
    Stdin(Vec<u8>),
    /// Standard input ends.
    StdinEnd,
    /// The terminal has these rows and columns now.
    Resize(u16, u16),
    /// Send this signal to the program that this client is attached to, else to the first one.
    Signal(i32),
    /// Ask the container to end with this signal, and do not start it again.
    Stop(i32),
    /// Stop all processes of the container for a while.
    Pause,
    /// Let them go on.
    Unpause,
    /// Change limits and policy.
    Update(Box<Changes>),
    /// Join this network.
    Join(Box<EndpointRequest>),
    /// Leave this network.
    Leave(String),
}

/// From the shim to a client.
#[derive(Debug)]
pub(super) enum Tell {
    /// The program runs; limits that could not be set, one sentence each.
    Started(Vec<String>),
    /// The program did not start.
    Refused(Refusal),
    /// Bytes of its standard output or terminal.
    Stdout(Vec<u8>),
    /// Bytes of its standard error.
    Stderr(Vec<u8>),
    /// It ended, and everything it wrote was sent.
    Exited(Exited),
    /// It was done: a signal sent, a pause begun, limits changed; what the user
    /// should know of it, one sentence each.
    Done(Vec<String>),
}

impl Ask {
    /// The packet.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Start(order) => document(b'S', order),
            Self::Attach(streams) => document(b'A', streams),
            Self::Wait => Ok(vec![b'W']),
            Self::Exec(order) => document(b'X', order),
            Self::ExecIn(file) => document(b'Y', file),
            Self::Stdin(bytes) => Ok(data(b'i', bytes)),
            Self::StdinEnd => Ok(vec![b'I']),
            Self::Resize(rows, columns) => document(b'R', &(rows, columns)),
            Self::Signal(signal) => document(b'K', signal),
            Self::Stop(signal) => document(b'T', signal),
            Self::Pause => Ok(vec![b'P']),
            Self::Unpause => Ok(vec![b'U']),
            Self::Update(changes) => document(b'C', changes),
            Self::Join(endpoint) => document(b'J', endpoint),
            Self::Leave(network) => document(b'L', network),
        }
    }

    /// What a packet says; `None` for the end of the connection.
    pub(super) fn decode(packet: &[u8]) -> io::Result<Option<Self>> {
        let Some((kind, body)) = packet.split_first() else {
            return Ok(None);
        };
        let ask = match kind {
            b'S' => Self::Start(parse(body)?),
            b'A' => Self::Attach(parse(body)?),
            b'W' => Self::Wait,
            b'X' => Self::Exec(parse(body)?),
            b'Y' => Self::ExecIn(parse(body)?),
            b'i' => Self::Stdin(body.to_vec()),
            b'I' => Self::StdinEnd,
            b'R' => {
                let (rows, columns) = parse(body)?;
                Self::Resize(rows, columns)
            }
            b'K' => Self::Signal(parse(body)?),
            b'T' => Self::Stop(parse(body)?),
            b'P' => Self::Pause,
            b'U' => Self::Unpause,
            b'C' => Self::Update(parse(body)?),
            b'J' => Self::Join(parse(body)?),
            b'L' => Self::Leave(parse(body)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some(ask))
    }
}

impl Tell {
    /// The packet.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Started(warnings) => document(b's', warnings),
            Self::Refused(refusal) => document(b'f', refusal),
            Self::Stdout(bytes) => Ok(data(b'o', bytes)),
            Self::Stderr(bytes) => Ok(data(b'e', bytes)),
            Self::Exited(exited) => document(b'x', exited),
            Self::Done(warnings) => document(b'k', warnings),
        }
    }

    /// What a packet says; `None` for the end of the connection.
    pub(super) fn decode(mut packet: Vec<u8>) -> io::Result<Option<Self>> {
        let Some(kind) = packet.first().copied() else {
            return Ok(None);
        };
        packet.drain(..1);
        let tell = match kind {
            b's' => Self::Started(parse(&packet)?),
            b'f' => Self::Refused(parse(&packet)?),
            b'o' => Self::Stdout(packet),
            b'e' => Self::Stderr(packet),
            b'x' => Self::Exited(parse(&packet)?),
            b'k' => Self::Done(parse(&packet)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        Ok(Some(tell))
    }
}

fn document<T: Serialize>(kind: u8, body: &T) -> io::Result<Vec<u8>> {
    let mut packet = vec![kind];
    serde_json::to_writer(&mut packet, body)?;
    Ok(packet)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> io::Result<T> {
    Ok(serde_json::from_slice(body)?)
}

fn data(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(bytes.len() + 1);
    packet.push(kind);
    packet.extend_from_slice(bytes);
    packet
}

/// Asks for a further program; an order that is too long for a message travels in a
/// file, which its reader removes.
pub(super) fn ask_exec(socket: impl AsFd, dir: &Dir, order: ExecOrder) -> io::Result<()> {
    let packet = Ask::Exec(Box::new(order)).encode()?;
    if packet.len() <= MESSAGE_LIMIT / 2 {
        return send(socket.as_fd(), &packet, SendFlags::empty());
    }
    let name = format!("order-{}", names::new_id());
    let path = dir.run().join(&name);
    std::fs::write(&path, &packet[1..])?;
    let asked = ask(socket, &Ask::ExecIn(name));
    if asked.is_err() {
        let _gone = std::fs::remove_file(&path);
    }
    asked
}

/// Takes an order that was left in a file.
pub(super) fn take_order(dir: &Dir, name: &str) -> io::Result<ExecOrder> {
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !plain || !name.starts_with("order-") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let path = dir.run().join(name);
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path)?;
    std::fs::remove_file(&path)?;
    file.take(ORDER_LIMIT).read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// Sends one packet. `WouldBlock` when the other side is behind and `flags` say not to wait.
pub(super) fn send(socket: BorrowedFd<'_>, packet: &[u8], flags: SendFlags) -> io::Result<()> {
    loop {
        // A client that went away is an error to handle, no signal to die of.
        match rustix::net::send(socket, packet, flags | SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

/// Receives one packet; empty at the end of the connection.
pub(super) fn receive(socket: BorrowedFd<'_>, flags: RecvFlags) -> io::Result<Vec<u8>> {
    let peek = flags | RecvFlags::PEEK | RecvFlags::TRUNC;
    let length = retry(|| rustix::net::recv(socket, &mut [0_u8; 0][..], peek))?.1;
    if length > MESSAGE_LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = Vec::with_capacity(length.max(1));
    let space = || rustix::net::recv(socket, spare_capacity(&mut packet), flags);
    retry(space)?;
    Ok(packet)
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            // A reset says that the other side closed with a message of ours
            // unread. What it sent before is still there, and then the end.
            Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNRESET) => {}
            other => return Ok(other?),
        }
    }
}

/// Sends a question, waiting for room.
pub(super) fn ask(socket: impl AsFd, ask: &Ask) -> io::Result<()> {
    send(socket.as_fd(), &ask.encode()?, SendFlags::empty())
}

/// Waits for the next message from a shim.
pub(super) fn hear(socket: impl AsFd) -> io::Result<Option<Tell>> {
    Tell::decode(receive(socket.as_fd(), RecvFlags::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn messages_arrive_as_they_were_sent_and_then_the_end() {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let bytes = vec![7; CHUNK];
        ask(&ours, &Ask::Stdin(bytes.clone())).unwrap();
        ask(&ours, &Ask::Resize(3, 4)).unwrap();
        let next = || Ask::decode(&receive(theirs.as_fd(), RecvFlags::empty()).unwrap()).unwrap();
        assert!(matches!(next(), Some(Ask::Stdin(got)) if got == bytes));
        assert!(matches!(next(), Some(Ask::Resize(3, 4))));
        // One message stays unread on their side: the end must still be heard in order.
        ask(&ours, &Ask::Wait).unwrap();
        let exited = Tell::Exited(Exited { code: 3 }).encode().unwrap();
        send(theirs.as_fd(), &exited, SendFlags::empty()).unwrap();
        drop(theirs);
        assert!(matches!(
            hear(&ours).unwrap(),
            Some(Tell::Exited(Exited { code: 3 }))
        ));
        assert!(hear(&ours).unwrap().is_none());
    }

    #[test]
    fn foreign_packets_are_refused() {
        assert!(Ask::decode(b"?").is_err());
        assert!(Ask::decode(b"K\"x\"").is_err());
        assert!(Tell::decode(b"S".to_vec()).is_err());
        assert!(Ask::decode(b"").unwrap().is_none());
    }
}
