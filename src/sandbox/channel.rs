//! What parent, init and first process say to each other.
//!
//! Two sockets. The *control* socket, init's standard input, carries the order
//! one way and [`Notice`]s the other; its closing tells either side that the
//! other is gone. The *report* socket carries [`Report`]s of init and first
//! process to the parent; it closes when the program is executed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::outside::Errand;
use super::{ExecSpec, Spec};

/// Longest message, in bytes: hundreds of layers take some tens of kilobytes, an
/// argument vector two megabytes (the kernel's own limit), escapes make it longer.
const LIMIT: usize = 32 << 20;
/// Most descriptors that travel with one message.
const DESCRIPTORS: usize = 8;
/// Longest report: a step that names two paths.
const REPORT_LIMIT: usize = 64 << 10;

/// What init is to do. `T` is [`Task`] or, where it is sent, [`TaskRef`].
///
/// Descriptors that come along, in this order: the report socket; the network
/// namespace, if `network`; standard input, output and error, unless `terminal`.
/// The system call filter follows as bytes, unless the program's process is to make
/// it itself.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order<T> {
    pub(super) task: T,
    pub(super) makes_filter: bool,
    pub(super) terminal: bool,
    pub(super) network: bool,
}

/// A new sandbox, a further process in one, or what an outside runtime does.
#[derive(Debug, Deserialize)]
pub(super) enum Task {
    Spawn(Box<Spec>),
    Enter(i32, Box<ExecSpec>),
    Outside(Box<Errand>),
}

/// [`Task`] as it is sent, without a copy.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) enum TaskRef<'a> {
    Spawn(&'a Spec),
    Enter(i32, &'a ExecSpec),
    Outside(&'a Errand),
}

impl TaskRef<'_> {
    /// The name of the program.
    pub(super) fn command(&self) -> &str {
        let argv = match self {
            Self::Spawn(spec) => &spec.argv,
            Self::Enter(_, spec) => &spec.argv,
            Self::Outside(errand) => return errand.command(),
        };
        argv.first().map_or("", String::as_str)
    }
}

/// What the parent hears about the start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// A limit that could not be set.
    Warning(String),
    /// The terminal, whose master end comes along.
    Terminal,
    /// The program does not run.
    Failed(Failure),
}

/// What init tells the parent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) enum Notice {
    /// The first process exists, under this pid; its pidfd comes along.
    Started { pid: i32 },
    /// A call of an outside runtime succeeded.
    Done,
    /// It ended, and everything in the sandbox with it.
    Ended {
        code: Option<i32>,
        signal: i32,
        out_of_memory: bool,
        /// Processor time of all its processes.
        cpu: Duration,
        /// Most memory in use, in bytes.
        memory_peak: u64,
    },
}

/// The two ends of a control socket.
pub(super) fn control() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::STREAM)
}

/// The two ends of a report socket.
pub(super) fn reports() -> io::Result<(OwnedFd, OwnedFd)> {
    pair(SocketType::SEQPACKET)
}

fn pair(kind: SocketType) -> io::Result<(OwnedFd, OwnedFd)> {
    let (one, other) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    Ok((one, other))
}

/// Sends a message, bytes behind it, and descriptors.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    message: &impl Serialize,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut whole = vec![0; 8];
    serde_json::to_writer(&mut whole, message)?;
    let length = |length: usize| u32::try_from(length).map_err(|_| Errno::MSGSIZE);
    let lengths = [length(whole.len() - 8)?, length(bytes.len())?];
    whole[..4].copy_from_slice(&lengths[0].to_ne_bytes());
    whole[4..8].copy_from_slice(&lengths[1].to_ne_bytes());
    whole.extend_from_slice(bytes);
    let mut sent = transmit(socket, &whole, descriptors)?;
    while sent < whole.len() {
        sent += transmit(socket, &whole[sent..], &[])?;
    }
    Ok(())
}

fn transmit(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL.into());
    }
    loop {
        let slices = [IoSlice::new(bytes)];
        match rustix::net::sendmsg(socket, &slices, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// What [`receive`] got: message, bytes, descriptors.
pub(super) type Received<T> = (T, Vec<u8>, Vec<OwnedFd>);

/// Receives what [`send`] sent; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
) -> io::Result<Option<Received<T>>> {
    let mut descriptors = Vec::new();
    let mut lengths = [[0; 4]; 2];
    if !fill(socket, lengths.as_flattened_mut(), &mut descriptors)? {
        return Ok(None);
    }
    let [text, bytes] =
        lengths.map(|bytes| usize::try_from(u32::from_ne_bytes(bytes)).unwrap_or(usize::MAX));
    if text > LIMIT || bytes > LIMIT {
        return Err(Errno::MSGSIZE.into());
    }
    let mut whole = vec![0; text + bytes];
    if !fill(socket, &mut whole, &mut descriptors)? {
        return Ok(None);
    }
    let message = serde_json::from_slice(&whole[..text])?;
    Ok(Some((message, whole.split_off(text), descriptors)))
}

/// Whether the buffer could be filled before the other side was gone.
fn fill(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<bool> {
    let mut at = 0;
    while at < buffer.len() {
        match take(socket, &mut buffer[at..], descriptors) {
            Ok(0) | Err(Errno::CONNRESET) => return Ok(false),
            Ok(length) => at += length,
            Err(err) => return Err(err.into()),
        }
    }
    Ok(true)
}

/// Receives once.
fn take(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    loop {
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let got = match rustix::net::recvmsg(socket, &mut slices, &mut control, flags) {
            Err(Errno::INTR) => continue,
            result => result?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                descriptors.extend(received);
            }
        }
        return Ok(got.bytes);
    }
}

/// Sends a report, with a descriptor or none.
pub(super) fn report(
    socket: BorrowedFd<'_>,
    report: &Report,
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(report)?;
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    transmit(socket, &bytes, &descriptors)?;
    Ok(())
}

/// A descriptor that somebody else sends, whatever bytes come with it.
pub(super) fn descriptor_from(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut descriptors = Vec::new();
    take(socket, &mut vec![0; REPORT_LIMIT], &mut descriptors)?;
    Ok(descriptors.into_iter().next())
}

/// The next report; `None` when there will be no more.
pub(super) fn next_report(socket: &OwnedFd) -> io::Result<Option<(Report, Option<OwnedFd>)>> {
    let mut buffer = vec![0; REPORT_LIMIT];
    let mut descriptors = Vec::new();
    let length = take(socket.as_fd(), &mut buffer, &mut descriptors)?;
    if length == 0 {
        return Ok(None);
    }
    let report = serde_json::from_slice(&buffer[..length])?;
    Ok(Some((report, descriptors.pop())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_longer_than_the_sockets_buffer_arrives_whole() {
        let (ours, theirs) = control().unwrap();
        let text = "x".repeat(3 << 20);
        let receiver = std::thread::spawn(move || receive::<String>(theirs.as_fd()).unwrap());
        let null = std::fs::File::open("/dev/null").unwrap();
        send(ours.as_fd(), &text, b"tail", &[null.as_fd(), null.as_fd()]).unwrap();
        let (message, bytes, descriptors) = receiver.join().unwrap().unwrap();
        assert!(message == text);
        assert_eq!(bytes, b"tail");
        assert_eq!(descriptors.len(), 2);
    }

    #[test]
    fn a_closed_socket_is_the_end() {
        let (ours, theirs) = control().unwrap();
        drop(ours);
        assert!(receive::<String>(theirs.as_fd()).unwrap().is_none());
        let (ours, theirs) = reports().unwrap();
        report(ours.as_fd(), &Report::Warning("w".to_owned()), None).unwrap();
        drop(ours);
        assert!(next_report(&theirs).unwrap().is_some());
        assert!(next_report(&theirs).unwrap().is_none());
    }

    #[test]
    fn lengths_beyond_the_limit_are_refused() {
        let (ours, theirs) = control().unwrap();
        let header = [u32::MAX.to_ne_bytes(), 0_u32.to_ne_bytes()].concat();
        rustix::io::write(&ours, &header).unwrap();
        assert!(receive::<String>(theirs.as_fd()).is_err());
    }
}
