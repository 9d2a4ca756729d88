//! One carried TCP connection.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

use rustix::event::epoll::EventFlags;

/// How often one direction is served before others have their turn.
const ROUNDS: usize = 8;

/// Two connections whose bytes go from one to the other, both ways. Each way ends
/// by itself, as TCP allows.
#[derive(Debug)]
pub(super) struct Relay {
    client: TcpStream,
    container: TcpStream,
    is_connecting: bool,
    inward: Way,
    outward: Way,
}

/// The state of one direction. Bytes wait here only when the receiver is full,
/// and meanwhile the sender is not read.
#[derive(Debug, Default)]
struct Way {
    waiting: Vec<u8>,
    sent: usize,
    has_ended: bool,
}

/// Which of the two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Container,
}

impl Relay {
    /// `container` may still be connecting. Both must not block.
    pub(super) fn new(client: TcpStream, container: TcpStream) -> Self {
        Self {
            client,
            container,
            is_connecting: true,
            inward: Way::default(),
            outward: Way::default(),
        }
    }

    /// The connection of one side.
    pub(super) fn stream(&self, side: Side) -> &TcpStream {
        match side {
            Side::Client => &self.client,
            Side::Container => &self.container,
        }
    }

    /// Carries what can be carried; whether both ways have ended. An error ends
    /// both at once.
    pub(super) fn carry(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        if self.is_connecting {
            if let Some(err) = self.container.take_error()? {
                return Err(err);
            }
            match self.container.peer_addr() {
                Ok(_) => self.is_connecting = false,
                Err(err) if err.kind() == io::ErrorKind::NotConnected => return Ok(false),
                Err(err) => return Err(err),
            }
        }
        self.inward.carry(&self.client, &self.container, scratch)?;
        self.outward.carry(&self.container, &self.client, scratch)?;
        Ok(self.inward.has_ended && self.outward.has_ended)
    }

    /// What is awaited of one side.
    pub(super) fn interest(&self, side: Side) -> EventFlags {
        if self.is_connecting {
            return match side {
                Side::Client => EventFlags::empty(),
                Side::Container => EventFlags::OUT,
            };
        }
        let (from, to) = match side {
            Side::Client => (&self.inward, &self.outward),
            Side::Container => (&self.outward, &self.inward),
        };
        let mut flags = EventFlags::empty();
        flags.set(EventFlags::IN, !from.has_ended && from.waiting.is_empty());
        flags.set(EventFlags::OUT, !to.waiting.is_empty());
        flags
    }
}

impl Way {
    fn carry(
        &mut self,
        mut from: &TcpStream,
        to: &TcpStream,
        scratch: &mut [u8],
    ) -> io::Result<()> {
        for _ in 0..ROUNDS {
            if !self.flush(to)? || self.has_ended {
                return Ok(());
            }
            let length = match from.read(scratch) {
                Ok(length) => length,
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(err),
            };
            if length == 0 {
                self.has_ended = true;
                return match to.shutdown(Shutdown::Write) {
                    Err(err) if err.kind() == io::ErrorKind::NotConnected => Ok(()),
                    result => result,
                };
            }
            let sent = send(to, &scratch[..length])?;
            if sent < length {
                self.waiting = scratch[sent..length].to_vec();
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends what waits; whether nothing waits any more.
    fn flush(&mut self, to: &TcpStream) -> io::Result<bool> {
        self.sent += send(to, &self.waiting[self.sent..])?;
        if self.sent < self.waiting.len() {
            return Ok(false);
        }
        self.waiting = Vec::new();
        self.sent = 0;
        Ok(true)
    }
}

/// Sends as much as is taken at once.
fn send(mut to: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        return match to.write(bytes) {
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            result => result,
        };
    }
}
