//! Sending lines to systemd's journal.
//!
//! Source: systemd, "Native Journal Protocol".

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::super::super::logs::Stream;
use super::super::super::record::Record;
use super::{Lines, tag};

const SOCKET: &str = "/run/systemd/journal/socket";

/// The way to the journal.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    lines: Lines,
    /// The fields of every line.
    fields: Vec<u8>,
}

impl Journal {
    /// Finds the journal of this machine.
    pub(super) fn open(record: &Record, name: &str) -> Result<Self, String> {
        if !Path::new(SOCKET).exists() {
            return Err("journald is not enabled on this host".to_owned());
        }
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(SOCKET)?;
            // Lines that the journal does not take at once are lost, not waited for.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = connected.map_err(|err| format!("cannot connect to {SOCKET}: {err}"))?;
        let tag = tag(record, name);
        let short: String = record.id.chars().take(12).collect();
        let mut fields = Vec::new();
        for (key, value) in [
            ("CONTAINER_ID", short.as_str()),
            ("CONTAINER_ID_FULL", record.id.as_str()),
            ("CONTAINER_NAME", name),
            ("CONTAINER_TAG", tag.as_str()),
            ("IMAGE_NAME", record.request.image.as_str()),
            ("SYSLOG_IDENTIFIER", tag.as_str()),
        ] {
            field(&mut fields, key, value.as_bytes());
        }
        Ok(Self {
            socket,
            lines: Lines::default(),
            fields,
        })
    }

    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        for line in self.lines.take(stream, bytes) {
            self.send(stream, &line);
        }
    }

    pub(super) fn finish(&mut self, stream: Stream) {
        if let Some(line) = self.lines.rest(stream) {
            self.send(stream, &line);
        }
    }

    fn send(&self, stream: Stream, line: &[u8]) {
        // Informational and error, of syslog(3).
        let priority: &[u8] = match stream {
            Stream::Stdout => b"6",
            Stream::Stderr => b"3",
        };
        let mut message = self.fields.clone();
        field(&mut message, "PRIORITY", priority);
        field(&mut message, "MESSAGE", line);
        let _lost = self.socket.send(&message);
    }
}

/// A field: its length in front of a value that has line feeds.
fn field(message: &mut Vec<u8>, key: &str, value: &[u8]) {
    message.extend_from_slice(key.as_bytes());
    if value.contains(&b'\n') {
        message.push(b'\n');
        message.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        message.push(b'=');
    }
    message.extend_from_slice(value);
    message.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_with_line_feeds_have_a_length() {
        let mut message = Vec::new();
        field(&mut message, "A", b"b");
        field(&mut message, "C", b"d\ne");
        assert_eq!(message, b"A=b\nC\n\x03\0\0\0\0\0\0\0d\ne\n");
    }
}
