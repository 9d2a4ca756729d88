//! Bytes from one thread to another, with the error that ended them.

use std::io::{self, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait at most: bounds the memory of one pipe to about 1 MiB.
const CHUNKS: usize = 4;

/// A pipe with a bounded buffer. Unlike the kernel's, its writing end can end
/// it with an error, which the reader then gets.
pub(crate) fn pipe() -> (PipeWriter, PipeReader) {
    let (sender, receiver) = sync_channel(CHUNKS);
    let writer = PipeWriter {
        sender,
        chunk: Vec::new(),
    };
    let reader = PipeReader {
        receiver,
        chunk: Vec::new(),
        at: 0,
    };
    (writer, reader)
}

/// The writing end. Dropping it ends the bytes; whoever cannot finish them
/// says so with [`PipeWriter::fail`].
#[derive(Debug)]
pub(crate) struct PipeWriter {
    sender: SyncSender<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
}

impl PipeWriter {
    /// Ends the bytes with an error.
    pub(crate) fn fail(mut self, err: io::Error) {
        // When nobody reads any more, neither the rest nor the error is missed.
        if self.flush().is_ok() {
            self.sender.send(Err(err)).ok();
        }
    }
}

impl Write for PipeWriter {
    /// # Errors
    /// `BrokenPipe` when the reading end is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.chunk.capacity() == 0 {
            self.chunk.reserve_exact(CHUNK_BYTES);
        }
        let room = CHUNK_BYTES - self.chunk.len();
        let length = bytes.len().min(room);
        self.chunk.extend_from_slice(&bytes[..length]);
        if self.chunk.len() == CHUNK_BYTES {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = std::mem::take(&mut self.chunk);
        let sent = chunk.is_empty() || self.sender.send(Ok(chunk)).is_ok();
        sent.then_some(())
            .ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for PipeWriter {
    fn drop(&mut self) {
        // The last chunk; a reader that is gone wants nothing.
        self.flush().ok();
    }
}

/// The reading end.
#[derive(Debug)]
pub(crate) struct PipeReader {
    receiver: Receiver<io::Result<Vec<u8>>>,
    chunk: Vec<u8>,
    at: usize,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            let Ok(chunk) = self.receiver.recv() else {
                return Ok(0);
            };
            self.chunk = chunk?;
            self.at = 0;
        }
        let length = buffer.len().min(self.chunk.len() - self.at);
        buffer[..length].copy_from_slice(&self.chunk[self.at..self.at + length]);
        self.at += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_before_the_error() {
        let (mut writer, mut reader) = pipe();
        let sent: Vec<u8> = (0..700_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        let copy = sent.clone();
        let thread = std::thread::spawn(move || {
            writer.write_all(&copy).unwrap();
            writer.fail(io::Error::other("the end"));
        });
        let mut got = Vec::new();
        let err = reader.read_to_end(&mut got).unwrap_err();
        thread.join().unwrap();
        assert_eq!(got, sent);
        assert_eq!(err.to_string(), "the end");
    }

    #[test]
    fn a_reader_that_leaves_stops_the_writer() {
        let (mut writer, reader) = pipe();
        drop(reader);
        let err = writer.write_all(&vec![0; 1 << 20]).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::BrokenPipe);
    }
}
