//! A connected client, as the shim sees it: never waited for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::net::{RecvFlags, SendFlags};

use super::super::logs::Stream;
use super::super::protocol::{self, Ask, Streams, Tell};

/// Messages that may wait for a client before its program's output waits too.
const BACKLOG: usize = 16;

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    socket: OwnedFd,
    backlog: VecDeque<Vec<u8>>,
    gone: bool,
    /// The session that it is attached to.
    pub(super) session: Option<u64>,
    /// The streams that it wants of it.
    pub(super) streams: Streams,
}

impl Client {
    /// A client that has asked for nothing yet.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            backlog: VecDeque::new(),
            gone: false,
            session: None,
            streams: Streams::default(),
        }
    }

    /// Its socket.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to wait for; it is listened to unless its input has nowhere to go.
    pub(super) fn interest(&self, listen: bool) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, listen);
        flags.set(PollFlags::OUT, !self.backlog.is_empty());
        flags
    }

    /// Whether it is so far behind that its program must wait.
    pub(super) fn is_congested(&self) -> bool {
        self.backlog.len() >= BACKLOG && !self.gone
    }

    /// Whether everything said to it was sent, or it is gone.
    pub(super) fn is_settled(&self) -> bool {
        self.gone || self.backlog.is_empty()
    }

    /// Whether it went away.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Notes that it went away.
    pub(super) fn leave(&mut self) {
        self.gone = true;
        self.backlog.clear();
    }

    /// Sends it output of its session, if it wants that stream.
    pub(super) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout if self.streams.stdout => self.tell(&Tell::Stdout(bytes.to_vec())),
            Stream::Stderr if self.streams.stderr => self.tell(&Tell::Stderr(bytes.to_vec())),
            Stream::Stdout | Stream::Stderr => {}
        }
    }

    /// Sends it a message, now or when it has room.
    pub(super) fn tell(&mut self, tell: &Tell) {
        if self.gone {
            return;
        }
        match tell.encode() {
            Ok(packet) => self.backlog.push_back(packet),
            Err(_) => return self.leave(),
        }
        self.flush();
    }

    /// Sends what waits for it as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(packet) = self.backlog.front() {
            match protocol::send(self.socket.as_fd(), packet, SendFlags::DONTWAIT) {
                Ok(()) => drop(self.backlog.pop_front()),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.leave(),
            }
        }
    }

    /// Its next message, if one is there. It leaves at the end of the
    /// connection, and when it says what no client of ours says.
    pub(super) fn hear(&mut self) -> Option<Ask> {
        let packet = match protocol::receive(self.socket.as_fd(), RecvFlags::DONTWAIT) {
            Ok(packet) => packet,
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return None,
            Err(_) => Vec::new(),
        };
        let ask = Ask::decode(&packet).unwrap_or(None);
        if ask.is_none() {
            self.leave();
        }
        ask
    }
}
