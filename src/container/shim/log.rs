//! Writing a container's log: Docker's `json-file` format.
//!
//! One JSON document a line: `{"log":"text\n","stream":"stdout","time":"..."}`.
//! A line of output that is longer than [`LINE_LIMIT`] is cut into several
//! documents, of which only the last one's text ends with a line feed.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::super::logs::Stream;
use crate::fs::{At, PathError};

/// Longest text in one document, as Docker's.
const LINE_LIMIT: usize = 16 << 10;

#[derive(Serialize)]
struct Document<'a> {
    log: &'a str,
    stream: Stream,
    time: &'a str,
}

/// A log being written, and the unfinished last line of each stream.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    partial: [Vec<u8>; 2],
}

impl Writer {
    /// Opens the log for appending.
    pub(super) fn open(path: &Path) -> Result<Self, PathError> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .at("open", path)?;
        Ok(Self {
            file,
            partial: [Vec::new(), Vec::new()],
        })
    }

    /// Appends output. Whole lines are written at once; the rest waits for its end.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let mut documents = Vec::with_capacity(bytes.len() + 128);
        let partial = &mut self.partial[index(stream)];
        encode(stream, partial, bytes, &now(), &mut documents);
        self.append(&documents);
    }

    /// Appends what is left of unfinished lines.
    pub(super) fn finish(&mut self) {
        let mut documents = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.partial[index(stream)]);
            if !rest.is_empty() {
                push(stream, &rest, &now(), &mut documents);
            }
        }
        self.append(&documents);
    }

    fn append(&mut self, documents: &[u8]) {
        // A full disk costs log lines, not the container.
        let _lost = self.file.write_all(documents);
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn now() -> String {
    Timestamp::now().to_string()
}

/// Splits `bytes`, which come after `partial`, into documents.
fn encode(stream: Stream, partial: &mut Vec<u8>, bytes: &[u8], time: &str, out: &mut Vec<u8>) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        partial.extend_from_slice(piece);
        while partial.len() > LINE_LIMIT {
            let rest = partial.split_off(character_boundary(partial));
            push(stream, partial, time, out);
            *partial = rest;
        }
        if partial.ends_with(b"\n") {
            push(stream, partial, time, out);
            partial.clear();
        }
    }
}

/// The last place within the limit that does not cut a character in two.
fn character_boundary(bytes: &[u8]) -> usize {
    (LINE_LIMIT - 3..=LINE_LIMIT)
        .rev()
        .find(|&at| bytes[at] & 0xC0 != 0x80)
        .unwrap_or(LINE_LIMIT)
}

fn push(stream: Stream, text: &[u8], time: &str, out: &mut Vec<u8>) {
    let log = String::from_utf8_lossy(text);
    let document = Document {
        log: &log,
        stream,
        time,
    };
    let before = out.len();
    match serde_json::to_writer(&mut *out, &document) {
        Ok(()) => out.push(b'\n'),
        // Nothing in a document can fail to encode; half a line would spoil the rest.
        Err(_) => out.truncate(before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pieces: &[&[u8]], want: &[&str]) {
        let mut partial = Vec::new();
        let mut out = Vec::new();
        for piece in pieces {
            encode(Stream::Stdout, &mut partial, piece, "T", &mut out);
        }
        if !partial.is_empty() {
            push(Stream::Stdout, &partial, "T", &mut out);
        }
        let lines: Vec<String> = String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                value["log"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(lines, want);
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        check(&[b"a\nb\n"], &["a\n", "b\n"]);
        check(&[b"a", b"b\nc", b"d"], &["ab\n", "cd"]);
        check(&[b"", b"\n\n"], &["\n", "\n"]);
        check(&[b"\xff\n"], &["\u{fffd}\n"]);
        check(&["ü\u{1b}\"\\\r\n".as_bytes()], &["ü\u{1b}\"\\\r\n"]);
    }

    #[test]
    fn the_format_is_dockers() {
        let mut out = Vec::new();
        encode(
            Stream::Stderr,
            &mut Vec::new(),
            b"x\n",
            "2026-01-02T03:04:05Z",
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"log\":\"x\\n\",\"stream\":\"stderr\",\"time\":\"2026-01-02T03:04:05Z\"}\n"
        );
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let long = "é".repeat(LINE_LIMIT);
        let mut partial = Vec::new();
        let mut out = Vec::new();
        encode(Stream::Stdout, &mut partial, long.as_bytes(), "T", &mut out);
        encode(Stream::Stdout, &mut partial, b"!\n", "T", &mut out);
        let text: String = String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                value["log"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(text, format!("{long}!\n"));
    }
}
