//! A container's log as files: Docker's `json-file` format.
//!
//! One JSON document a line: `{"log":"text\n","stream":"stdout","time":"..."}`.
//! A line of output that is longer than [`LINE_LIMIT`] is cut into several
//! documents, of which only the last one's text ends with a line feed. A file
//! that has grown to its limit becomes `log.1`, that one `log.2`, and so on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::super::super::logs::{Stream, rotated};
use crate::fs::{At, PathError};
use crate::layer::Codec;

/// Longest text in one document, as Docker's.
pub(super) const LINE_LIMIT: usize = 16 << 10;

#[derive(Serialize)]
struct Document<'a> {
    log: &'a str,
    stream: Stream,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attrs: &'a BTreeMap<String, String>,
    time: &'a str,
}

/// How much is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Bounds {
    /// Bytes of one file; any number when absent.
    pub(super) bytes: Option<u64>,
    /// How many files, the current one included; at least 1.
    pub(super) files: u32,
    /// Whether all but the current one are compressed.
    pub(super) compress: bool,
}

/// A log being written, and the unfinished last line of each stream.
#[derive(Debug)]
pub(super) struct Writer {
    path: PathBuf,
    file: File,
    length: u64,
    bounds: Bounds,
    attributes: BTreeMap<String, String>,
    partial: [Vec<u8>; 2],
    lost: Option<Lost>,
}

/// Output that could not be written, until it can be told.
#[derive(Debug)]
struct Lost {
    lines: usize,
    why: String,
    /// Whether the file ends within a document.
    cut: bool,
}

impl Lost {
    fn text(&self) -> String {
        format!(
            "rbuild: {} lines of output could not be logged: {}",
            self.lines, self.why
        )
    }
}

impl Writer {
    /// Opens the log for appending.
    pub(super) fn open(
        path: &Path,
        bounds: Bounds,
        attributes: BTreeMap<String, String>,
    ) -> Result<Self, PathError> {
        let file = open(path)?;
        let length = file.metadata().at("look at", path)?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            bounds,
            attributes,
            partial: [Vec::new(), Vec::new()],
            lost: None,
        })
    }

    /// Appends output. Whole lines are written at once; the rest waits for its end.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let mut documents = Vec::with_capacity(bytes.len() + 128);
        let partial = &mut self.partial[index(stream)];
        encode(
            stream,
            partial,
            bytes,
            &now(),
            &self.attributes,
            &mut documents,
        );
        self.append(&documents);
    }

    /// Appends what is left of unfinished lines.
    pub(super) fn finish(&mut self) {
        let mut documents = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(&mut self.partial[index(stream)]);
            if !rest.is_empty() {
                push(stream, &rest, &now(), &self.attributes, &mut documents);
            }
        }
        self.append(&documents);
        self.tell_lost();
    }

    /// What could not be written, and could not be told in the log either.
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.as_ref().map(Lost::text)
    }

    /// Writes documents, each whole into one file.
    fn append(&mut self, documents: &[u8]) {
        let Some(limit) = self.bounds.bytes else {
            return self.put(documents);
        };
        for document in documents.split_inclusive(|byte| *byte == b'\n') {
            if self.length > 0 && self.length + document.len() as u64 > limit {
                // What cannot be turned over grows on; output is worth more than its bound.
                let _kept = self.turn_over();
            }
            self.put(document);
        }
    }

    /// Writes documents. A full disk costs log lines, not the container; how many is
    /// told as soon as there is room again.
    fn put(&mut self, documents: &[u8]) {
        let lines = |bytes: &[u8]| bytes.split_inclusive(|byte| *byte == b'\n').count();
        if !self.tell_lost() {
            if let Some(lost) = &mut self.lost {
                lost.lines += lines(documents);
            }
            return;
        }
        if let Err((err, written)) = self.write_whole(documents) {
            let rest = documents.get(written..).unwrap_or_default();
            self.lost = Some(Lost {
                lines: lines(rest),
                why: reason(&err),
                cut: written > 0 && !documents[..written].ends_with(b"\n"),
            });
        }
    }

    /// Writes down what was lost, if anything; whether nothing is owed any more.
    fn tell_lost(&mut self) -> bool {
        let Some(lost) = &self.lost else {
            return true;
        };
        let mut notice = Vec::new();
        if lost.cut {
            // What is there of the document is passed over by readers.
            notice.push(b'\n');
        }
        let text = format!("{}\n", lost.text());
        let attributes = BTreeMap::new();
        push(
            Stream::Stderr,
            text.as_bytes(),
            &now(),
            &attributes,
            &mut notice,
        );
        match self.write_whole(&notice) {
            Ok(()) => {
                self.lost = None;
                true
            }
            Err((err, written)) => {
                if let Some(lost) = &mut self.lost {
                    lost.cut |= written > 0;
                    lost.why = reason(&err);
                }
                false
            }
        }
    }

    /// Writes all of it, or says how much was written.
    fn write_whole(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let before = self.length;
        match self.file.write_all(bytes) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(err) => {
                self.length = self.file.metadata().map_or(before, |meta| meta.len());
                let written = self.length.saturating_sub(before);
                Err((err, usize::try_from(written).unwrap_or(0).min(bytes.len())))
            }
        }
    }

    /// Starts a new file; the oldest one goes.
    fn turn_over(&mut self) -> io::Result<()> {
        let last = self.bounds.files.max(1) - 1;
        if last == 0 {
            self.file.set_len(0)?;
            self.length = 0;
            return Ok(());
        }
        for number in (1..=last).rev() {
            for from in rotated(&self.path, number) {
                if number == last {
                    ignore_missing(std::fs::remove_file(&from))?;
                }
            }
            let newer = number - 1;
            let [plain, packed] = rotated(&self.path, number);
            if newer == 0 {
                std::fs::rename(&self.path, &plain)?;
                if self.bounds.compress {
                    compress(&plain, &packed)?;
                }
            } else {
                let [newer_plain, newer_packed] = rotated(&self.path, newer);
                ignore_missing(std::fs::rename(newer_plain, plain))?;
                ignore_missing(std::fs::rename(newer_packed, packed))?;
            }
        }
        self.file = open(&self.path).map_err(|err| err.source)?;
        self.length = 0;
        Ok(())
    }
}

/// The system's words without its number.
fn reason(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::StorageFull => "no space left on device".to_owned(),
        _ => err.to_string(),
    }
}

fn open(path: &Path) -> Result<File, PathError> {
    let mut options = File::options();
    options
        .create(true)
        .append(true)
        .open(path)
        .at("open", path)
}

fn compress(plain: &Path, packed: &Path) -> io::Result<()> {
    let mut source = BufReader::new(File::open(plain)?);
    Codec::GZIP.compress(&mut source, File::create(packed)?)?;
    std::fs::remove_file(plain)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
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
fn encode(
    stream: Stream,
    partial: &mut Vec<u8>,
    bytes: &[u8],
    time: &str,
    attrs: &BTreeMap<String, String>,
    out: &mut Vec<u8>,
) {
    for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
        partial.extend_from_slice(piece);
        while partial.len() > LINE_LIMIT {
            let rest = partial.split_off(character_boundary(partial));
            push(stream, partial, time, attrs, out);
            *partial = rest;
        }
        if partial.ends_with(b"\n") {
            push(stream, partial, time, attrs, out);
            partial.clear();
        }
    }
}

/// The last place within the limit that does not cut a character in two.
pub(super) fn character_boundary(bytes: &[u8]) -> usize {
    (LINE_LIMIT - 3..=LINE_LIMIT)
        .rev()
        .find(|&at| bytes[at] & 0xC0 != 0x80)
        .unwrap_or(LINE_LIMIT)
}

fn push(
    stream: Stream,
    text: &[u8],
    time: &str,
    attrs: &BTreeMap<String, String>,
    out: &mut Vec<u8>,
) {
    let log = String::from_utf8_lossy(text);
    let document = Document {
        log: &log,
        stream,
        attrs,
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
            encode(
                Stream::Stdout,
                &mut partial,
                piece,
                "T",
                &BTreeMap::new(),
                &mut out,
            );
        }
        if !partial.is_empty() {
            push(Stream::Stdout, &partial, "T", &BTreeMap::new(), &mut out);
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
            &BTreeMap::new(),
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
        let none = BTreeMap::new();
        encode(
            Stream::Stdout,
            &mut partial,
            long.as_bytes(),
            "T",
            &none,
            &mut out,
        );
        encode(Stream::Stdout, &mut partial, b"!\n", "T", &none, &mut out);
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

    #[test]
    fn full_files_make_room_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let bounds = Bounds {
            bytes: Some(200),
            files: 3,
            compress: false,
        };
        let mut writer = Writer::open(&path, bounds, BTreeMap::new()).unwrap();
        for line in 0..20 {
            writer.write(Stream::Stdout, format!("line {line}\n").as_bytes());
        }
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(text("log").contains("line 19") && text("log").len() <= 200);
        assert!(text("log.1").contains("line") && text("log.2").contains("line"));
        assert!(!dir.path().join("log.3").exists());
    }
}
