//! What parent and init say to each other over their socket.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use super::Spec;
use crate::sys::process::FilterInstruction;

/// Longest message, in bytes: a specification with hundreds of layers is some
/// tens of kilobytes.
const LIMIT: usize = 16 << 20;
/// Most descriptors that travel with one message.
const DESCRIPTORS: usize = 8;

/// What the parent sends, once.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) spec: Spec,
    /// Whether the three descriptors of the program come along, else a terminal is made.
    pub(super) has_stdio: bool,
    /// Whether a network namespace comes along, behind them.
    pub(super) has_network: bool,
    /// Whether a running sandbox's first process comes along, last of all, whose
    /// namespaces are entered.
    pub(super) enters: bool,
    /// The system call filters, one after the other.
    pub(super) filters: Vec<Vec<FilterInstruction>>,
}

/// What the init process says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// The program runs; `pid` is its pid as its parent sees it.
    Started { pid: i32, warnings: Vec<String> },
    /// The terminal, whose master end comes along.
    Terminal,
    /// A step failed before the program ran.
    Failed { step: String, errno: i32 },
    /// The program could not be executed.
    NotExecuted { command: String, errno: i32 },
    /// The program ended.
    Ended {
        code: Option<i32>,
        signal: i32,
        out_of_memory: bool,
    },
}

/// Sends one message with descriptors.
pub(super) fn send(
    mut socket: &UnixStream,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .map_err(|_| io::ErrorKind::InvalidInput)?
        .to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    rustix::net::sendmsg(
        socket.as_fd(),
        &[IoSlice::new(&length)],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    socket.write_all(&body)
}

/// Receives one message; `None` when the other side is gone.
pub(super) fn receive<T: for<'de> Deserialize<'de>>(
    mut socket: &UnixStream,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut length = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut length)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?
    .bytes;
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if got == 0 {
        return Ok(None);
    }
    socket.read_exact(&mut length[got..])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(Some((serde_json::from_slice(&body)?, descriptors)))
}
