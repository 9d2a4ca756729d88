//! A conversation with a program in a container, from the client's side.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, SendFlags};

use super::dir::Dir;
use super::logs::Stream;
use super::protocol::{self, Ask, CHUNK, Streams, Tell};
use super::record::Status;
use super::{Error, find, socket};
use crate::store::Store;

/// What a program in a container said or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It wrote this.
    Output(Stream, Vec<u8>),
    /// It ended with this code, after all of its output.
    Exited(i32),
}

/// A connection to a program in a container. Dropping it detaches.
///
/// Nothing here waits except where it says so: a caller that stopped reading in
/// order to write could wait for a program that does the same.
#[derive(Debug)]
pub struct Attached {
    socket: OwnedFd,
    id: String,
    outbox: VecDeque<Vec<u8>>,
}

/// Attaches to the first program of the running container `text`.
///
/// # Errors
/// [`Error::AttachStopped`] when it does not run.
pub fn attach(store: &Store, text: &str, streams: Streams) -> Result<Attached, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    match dir.state()?.status {
        Status::Paused => return Err(Error::AttachPaused),
        Status::Restarting => return Err(Error::AttachRestarting),
        _ => {}
    }
    let socket = socket::connect_to(&dir)?.ok_or(Error::AttachStopped)?;
    let mut attached = Attached::new(socket, row.id);
    attached.send(&Ask::Attach(streams))?;
    Ok(attached)
}

impl Attached {
    pub(super) fn new(socket: OwnedFd, id: String) -> Self {
        Self {
            socket,
            id,
            outbox: VecDeque::new(),
        }
    }

    /// The container's ID.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether something waits to be sent; [`Attached::flush`] sends it when the
    /// connection takes it.
    pub fn is_behind(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Bytes for standard input.
    pub fn input(&mut self, bytes: &[u8]) -> Result<(), Error> {
        bytes
            .chunks(CHUNK)
            .try_for_each(|chunk| self.send(&Ask::Stdin(chunk.to_vec())))
    }

    /// Standard input ends.
    pub fn end_input(&mut self) -> Result<(), Error> {
        self.send(&Ask::StdinEnd)
    }

    /// The caller's terminal has these rows and columns.
    pub fn resize(&mut self, rows: u16, columns: u16) -> Result<(), Error> {
        self.send(&Ask::Resize(rows, columns))
    }

    /// Sends a signal to the program.
    pub fn signal(&mut self, signal: i32) -> Result<(), Error> {
        self.send(&Ask::Signal(signal))
    }

    /// Asks for something and waits until it is done; what the user should know of it.
    pub(super) fn demand(&mut self, ask: &Ask) -> Result<Vec<String>, Error> {
        self.send(ask)?;
        match protocol::hear(&self.socket).map_err(|err| self.failed("hear from", err))? {
            Some(Tell::Refused(refusal)) => Err(Error::from(refusal)),
            Some(Tell::Done(warnings)) => Ok(warnings),
            Some(_) => Ok(Vec::new()),
            None => Err(Error::ShimLost(self.id.clone())),
        }
    }

    pub(super) fn send(&mut self, ask: &Ask) -> Result<(), Error> {
        let packet = ask.encode().map_err(|err| self.failed("reach", err))?;
        self.outbox.push_back(packet);
        self.flush()
    }

    /// Sends what waits as far as the connection takes it.
    pub fn flush(&mut self) -> Result<(), Error> {
        while let Some(packet) = self.outbox.front() {
            match protocol::send(self.socket.as_fd(), packet, SendFlags::DONTWAIT) {
                Ok(()) => drop(self.outbox.pop_front()),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => break,
                // The shim is gone. What it said before is still to be read.
                Err(_) => self.outbox.clear(),
            }
        }
        Ok(())
    }

    /// What happened, without waiting; `None` when nothing did.
    ///
    /// # Errors
    /// [`Error::ShimLost`] when the connection ended without an end of the program.
    pub fn event(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let tell = match protocol::receive(self.socket.as_fd(), RecvFlags::DONTWAIT) {
                Ok(packet) => Tell::decode(packet),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(err) => Err(err),
            };
            match tell.map_err(|err| self.failed("hear from", err))? {
                Some(Tell::Stdout(bytes)) => {
                    return Ok(Some(Event::Output(Stream::Stdout, bytes)));
                }
                Some(Tell::Stderr(bytes)) => {
                    return Ok(Some(Event::Output(Stream::Stderr, bytes)));
                }
                Some(Tell::Exited(exited)) => return Ok(Some(Event::Exited(exited.code))),
                // A signal that came too late is no news: the end is.
                Some(Tell::Started(_) | Tell::Done(_) | Tell::Refused(_)) => {}
                None => return Err(Error::ShimLost(self.id.clone())),
            }
        }
    }

    /// Waits for the end of the program, `limit` at most; `None` when it did not
    /// end by then. Its output is thrown away.
    pub(super) fn wait(
        &mut self,
        limit: Option<std::time::Duration>,
    ) -> Result<Option<i32>, Error> {
        let until = limit.map(|limit| std::time::Instant::now() + limit);
        loop {
            while let Some(event) = self.event()? {
                if let Event::Exited(code) = event {
                    return Ok(Some(code));
                }
            }
            let left =
                until.map(|until| until.saturating_duration_since(std::time::Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(None);
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, self.is_behind());
            let mut fds = [PollFd::new(&self.socket, flags)];
            match poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(err) => return Err(self.failed("hear from", err.into())),
            }
            self.flush()?;
        }
    }

    fn failed(&self, action: &'static str, source: io::Error) -> Error {
        Error::Shim {
            action,
            id: self.id.clone(),
            source,
        }
    }
}

impl AsFd for Attached {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
