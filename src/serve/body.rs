//! The body of a request, as it arrives.

use std::io::{self, Read, Write};

use super::connection::Connection;
use super::head::Framing;

/// Longest line that tells the length of a chunk, and longest line behind the last.
const LINE_LIMIT: usize = 4 << 10;
/// Most lines behind the last chunk.
const TRAILERS: usize = 64;
/// Most unread bytes that are thrown away to keep a connection.
const DRAIN_LIMIT: u64 = 256 << 10;

/// Where the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are to come.
    Length(u64),
    /// The length of a chunk comes next.
    ChunkHead,
    /// So many bytes of a chunk are to come.
    Chunk(u64),
    /// All came.
    Done,
    /// The connection is of no use any more.
    Broken,
}

/// The body of a request. Its end is an error when it came too early.
#[derive(Debug)]
pub(super) struct Body<'c> {
    connection: &'c mut Connection,
    state: State,
    expects: bool,
    taken: u64,
}

impl<'c> Body<'c> {
    pub(super) fn new(connection: &'c mut Connection, framing: Framing, expects: bool) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkHead,
        };
        Self {
            connection,
            state,
            expects,
            taken: 0,
        }
    }

    /// Bytes read so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the connection can serve another request when [`Body::drain`] was called.
    pub(super) fn is_drainable(&self) -> bool {
        match self.state {
            State::Done => true,
            // Nobody knows whether the peer will send it when it was not asked to.
            _ if self.expects => false,
            State::Length(left) => left <= DRAIN_LIMIT,
            State::ChunkHead | State::Chunk(_) | State::Broken => false,
        }
    }

    /// Throws away what was not read; whether that worked.
    pub(super) fn drain(&mut self) -> bool {
        let wanted = self.is_drainable();
        wanted && io::copy(self, &mut io::sink()).is_ok()
    }

    fn piece(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.expects {
            self.expects = false;
            let stream = &mut self.connection.stream;
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.flush()?;
        }
        loop {
            match self.state {
                State::Done => return Ok(0),
                State::Broken => return Err(io::ErrorKind::UnexpectedEof.into()),
                State::Length(left) => {
                    let count = self.some(into, left)?;
                    let left = left - count as u64;
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Length(left)
                    };
                    return Ok(count);
                }
                State::Chunk(left) => {
                    let count = self.some(into, left)?;
                    let left = left - count as u64;
                    self.state = State::Chunk(left);
                    if left == 0 {
                        if !self.connection.line(LINE_LIMIT)?.is_empty() {
                            return Err(io::Error::other("a chunk is longer than it says"));
                        }
                        self.state = State::ChunkHead;
                    }
                    return Ok(count);
                }
                State::ChunkHead => {
                    self.state = match self.chunk_length()? {
                        0 => {
                            self.skip_trailers()?;
                            State::Done
                        }
                        length => State::Chunk(length),
                    };
                }
            }
        }
    }

    fn some(&mut self, into: &mut [u8], left: u64) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match self.connection.read(&mut into[..most])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    fn chunk_length(&mut self) -> io::Result<u64> {
        let line = self.connection.line(LINE_LIMIT)?;
        // Extensions after the number mean nothing to us.
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let digits = digits.trim_ascii();
        let good = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).unwrap_or_default();
        match u64::from_str_radix(text, 16) {
            Ok(length) if good => Ok(length),
            _ => Err(io::Error::other("a chunk has no length")),
        }
    }

    fn skip_trailers(&mut self) -> io::Result<()> {
        for _ in 0..TRAILERS {
            if self.connection.line(LINE_LIMIT)?.is_empty() {
                return Ok(());
            }
        }
        Err(io::Error::other("too many lines behind the last chunk"))
    }
}

impl Read for Body<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let read = self.piece(into);
        match &read {
            Ok(count) => self.taken += *count as u64,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.state = State::Broken,
        }
        read
    }
}
