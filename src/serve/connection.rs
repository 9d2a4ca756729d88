//! One connection: bytes in through a buffer, bytes out, with time limits.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustls::{ServerConnection, StreamOwned};

/// Largest head of a request, in bytes.
pub(super) const HEAD_LIMIT: usize = 64 << 10;
/// How long a peer may send or take nothing in the middle of something.
pub(super) const STALL: Duration = Duration::from_mins(1);

/// The transport beneath.
#[derive(Debug)]
pub(super) enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted.
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Stream {
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => &stream.sock,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A connection with the bytes that came but were not taken yet.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: Stream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Wraps a stream; sets its time limit for writing.
    pub(super) fn new(stream: Stream) -> io::Result<Self> {
        let socket = stream.socket();
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(STALL))?;
        socket.set_read_timeout(Some(STALL))?;
        Ok(Self {
            stream,
            buffer: vec![0; HEAD_LIMIT].into_boxed_slice(),
            start: 0,
            end: 0,
        })
    }

    /// The bytes that wait.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether no more bytes can wait.
    pub(super) fn is_full(&self) -> bool {
        self.start == 0 && self.end == self.buffer.len()
    }

    /// Takes `count` of the waiting bytes away.
    pub(super) fn take(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    /// Waits for more bytes until `deadline`; their number, 0 at the end of the stream.
    pub(super) fn fill_until(&mut self, deadline: Instant) -> io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.socket().set_read_timeout(Some(left))?;
        let count = self.fill();
        self.stream.socket().set_read_timeout(Some(STALL))?;
        count
    }

    fn fill(&mut self) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) if is_abrupt_end(&err) => return Ok(0),
                Err(err) => return Err(err),
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
            }
        }
    }

    /// Reads some bytes, those that wait first.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            return self.stream.read(into);
        }
        let count = into.len().min(self.end - self.start);
        into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }

    /// Reads a line of at most `limit` bytes, without its end.
    pub(super) fn line(&mut self, limit: usize) -> io::Result<Vec<u8>> {
        loop {
            let waiting = self.waiting();
            if let Some(at) = waiting.iter().position(|byte| *byte == b'\n') {
                let line = waiting[..at].strip_suffix(b"\r").unwrap_or(&waiting[..at]);
                let line = line.to_vec();
                self.take(at + 1);
                return Ok(line);
            }
            if waiting.len() >= limit.min(HEAD_LIMIT) {
                return Err(io::Error::other("a line of the body's framing is too long"));
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Ends the connection so that the peer can still read what was sent: a
    /// socket that is closed with unread bytes resets the connection.
    pub(super) fn linger(&mut self) {
        const BYTES: usize = 4 << 20;
        const TIME: Duration = Duration::from_secs(2);
        if let Stream::Tls(stream) = &mut self.stream {
            stream.conn.send_close_notify();
            // Whoever is gone needs no farewell.
            let _gone = stream.flush();
        }
        let _gone = self.stream.socket().shutdown(std::net::Shutdown::Write);
        let deadline = Instant::now() + TIME;
        let mut thrown = 0;
        while thrown < BYTES {
            self.start = self.end;
            match self.fill_until(deadline) {
                Ok(0) | Err(_) => return,
                Ok(count) => thrown += count,
            }
        }
    }
}

/// Whether a peer has ended TLS without saying so, as many do.
fn is_abrupt_end(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}
