//! Where a container's output is kept.
//!
//! `json-file` and `local` are files beside the container; `journald` and
//! `syslog` send each line away and keep a bounded copy, so that `logs` works
//! with them too; `none` keeps nothing.

mod journal;
mod json;
mod syslog;

use std::collections::BTreeMap;

use super::super::Error;
use super::super::dir::Dir;
use super::super::logs::Stream;
use super::super::record::Record;
use super::super::request::Request;
use json::{Bounds, Writer};

/// What the `local` driver keeps, and what is kept of lines that go elsewhere,
/// as Docker's.
const LOCAL: Bounds = Bounds {
    bytes: Some(20 << 20),
    files: 5,
    compress: false,
};

/// What `json-file` keeps where nothing else is said.
const JSON: Bounds = Bounds {
    bytes: None,
    files: 1,
    compress: false,
};

/// An open log.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<Writer>,
    remote: Option<Remote>,
}

#[derive(Debug)]
enum Remote {
    Journal(journal::Journal),
    Syslog(syslog::Syslog),
}

impl Log {
    /// Opens the log that the request asks for.
    pub(super) fn open(dir: &Dir, record: &Record, name: &str) -> Result<Self, Error> {
        let request = &record.request;
        let options = &request.log.options;
        let driver = request.log.driver.as_str();
        let bounds = match driver {
            "none" => {
                return Ok(Self {
                    file: None,
                    remote: None,
                });
            }
            "json-file" => bounds(options, &JSON)?,
            "local" => bounds(options, &LOCAL)?,
            _ => LOCAL,
        };
        let failed =
            |why: String| Error::Invalid(format!("failed to initialize logging driver: {why}"));
        let remote = match driver {
            "journald" => Some(Remote::Journal(
                journal::Journal::open(record, name).map_err(failed)?,
            )),
            "syslog" => Some(Remote::Syslog(
                syslog::Syslog::open(record, name).map_err(failed)?,
            )),
            _ => None,
        };
        let file = Writer::open(&dir.log(), bounds, attributes(request))?;
        Ok(Self {
            file: Some(file),
            remote,
        })
    }

    /// Keeps output.
    pub(super) fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if let Some(file) = &mut self.file {
            file.write(stream, bytes);
        }
        match &mut self.remote {
            Some(Remote::Journal(journal)) => journal.write(stream, bytes),
            Some(Remote::Syslog(syslog)) => syslog.write(stream, bytes),
            None => {}
        }
    }

    /// What of the output could not be kept, and could not be told in the log.
    pub(super) fn lost(&self) -> Option<String> {
        self.file.as_ref()?.lost()
    }

    /// Keeps what is left of unfinished lines.
    pub(super) fn finish(&mut self) {
        if let Some(file) = &mut self.file {
            file.finish();
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            match &mut self.remote {
                Some(Remote::Journal(journal)) => journal.finish(stream),
                Some(Remote::Syslog(syslog)) => syslog.finish(stream),
                None => {}
            }
        }
    }
}

/// Options of every driver that keeps anything, as far as it takes no others.
const MODES: [&str; 2] = ["mode", "max-buffer-size"];
/// Options of every other driver that keeps anything.
const COMMON: [&str; 7] = [
    "labels",
    "labels-regex",
    "env",
    "env-regex",
    "tag",
    "mode",
    "max-buffer-size",
];

/// Checks a driver's name and options before anything is made.
pub(in crate::container) fn check(request: &Request) -> Result<(), Error> {
    let own: &[&str] = match request.log.driver.as_str() {
        "json-file" | "local" => &["max-size", "max-file", "compress"],
        "none" | "journald" => &[],
        "syslog" => &["syslog-address", "syslog-facility", "syslog-format"],
        other => {
            let message = format!("logger: no log driver named '{other}' is registered");
            return Err(Error::Invalid(message));
        }
    };
    let driver = &request.log.driver;
    for key in request.log.options.keys() {
        let common = match driver.as_str() {
            "none" => &[][..],
            "local" => &MODES[..],
            _ => &COMMON[..],
        };
        if !own.contains(&key.as_str()) && !common.contains(&key.as_str()) {
            return Err(Error::Invalid(format!(
                "unknown log opt '{key}' for {driver} log driver"
            )));
        }
    }
    check_mode(&request.log.options)?;
    match driver.as_str() {
        "json-file" => bounds(&request.log.options, &JSON).map(drop),
        "local" => bounds(&request.log.options, &LOCAL).map(drop),
        "syslog" => syslog::check(&request.log.options).map_err(Error::Invalid),
        _ => Ok(()),
    }
}

/// How a program that writes faster than its log waits; here it always waits.
fn check_mode(options: &BTreeMap<String, String>) -> Result<(), Error> {
    let mode = options.get("mode").map(String::as_str);
    let size = options.get("max-buffer-size");
    match mode {
        None | Some("" | "blocking") if size.is_some() => Err(Error::Invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'".to_owned(),
        )),
        None | Some("" | "blocking") => Ok(()),
        Some("non-blocking") => size.map_or(Ok(()), |text| self::size(text).map(drop)),
        Some(other) => Err(Error::Invalid(format!(
            "logger: logging mode not supported: {other}"
        ))),
    }
}

fn bounds(options: &BTreeMap<String, String>, default: &Bounds) -> Result<Bounds, Error> {
    let mut bounds = default.clone();
    if let Some(text) = options.get("max-size") {
        bounds.bytes = size(text)?;
    }
    if let Some(text) = options.get("max-file") {
        bounds.files = match text.parse() {
            Ok(files) if files > 0 => files,
            _ => return Err(Error::Invalid("max-file cannot be less than 1".to_owned())),
        };
    }
    if let Some(text) = options.get("compress") {
        bounds.compress = match text.as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => {
                return Err(Error::Invalid(format!(
                    "invalid value for compress: {text}"
                )));
            }
        };
    }
    if bounds.compress && (bounds.files < 2 || bounds.bytes.is_none()) {
        return Err(Error::Invalid(
            "compress cannot be true when max-file is less than 2 or max-size is not set"
                .to_owned(),
        ));
    }
    Ok(bounds)
}

/// `10m`; -1 for any size.
fn size(text: &str) -> Result<Option<u64>, Error> {
    let wrong = || Error::Invalid(format!("invalid size: '{text}'"));
    if text == "-1" {
        return Ok(None);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let bytes = number.checked_mul(1 << shift).ok_or_else(wrong)?;
    (bytes > 0).then_some(Some(bytes)).ok_or_else(wrong)
}

/// Labels and variables that the options ask for in each line.
fn attributes(request: &Request) -> BTreeMap<String, String> {
    let options = &request.log.options;
    let wanted = |list: &str, pattern: &str, name: &str| {
        let listed = options
            .get(list)
            .is_some_and(|text| text.split(',').any(|one| one == name));
        let pattern = options
            .get(pattern)
            .and_then(|text| regex::Regex::new(text).ok());
        listed || pattern.is_some_and(|pattern| pattern.is_match(name))
    };
    let labels = request
        .labels
        .iter()
        .filter(|(name, _)| wanted("labels", "labels-regex", name));
    let mut attributes: BTreeMap<String, String> = labels
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let variables = request
        .env
        .iter()
        .filter_map(|variable| variable.split_once('='));
    let variables = variables.filter(|(name, _)| wanted("env", "env-regex", name));
    attributes.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    if let Some(tag) = options.get("tag") {
        attributes.insert("tag".to_owned(), tag.clone());
    }
    attributes
}

/// What a line is marked with elsewhere: the option `tag` with Docker's names, or the short ID.
fn tag(record: &Record, name: &str) -> String {
    let short: String = record.id.chars().take(12).collect();
    let Some(tag) = record
        .request
        .log
        .options
        .get("tag")
        .filter(|tag| !tag.is_empty())
    else {
        return short;
    };
    [
        ("ID", short.as_str()),
        ("FullID", record.id.as_str()),
        ("Name", name),
        ("ImageName", record.request.image.as_str()),
        ("ImageFullID", record.image_id.as_str()),
        ("DaemonName", "rbuild"),
    ]
    .iter()
    .fold(tag.clone(), |text, (key, value)| {
        text.replace(&format!("{{{{.{key}}}}}"), value)
    })
}

/// Cuts output into lines for senders that take one at a time.
#[derive(Debug, Default)]
struct Lines {
    partial: [Vec<u8>; 2],
}

impl Lines {
    fn place(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.partial[0],
            Stream::Stderr => &mut self.partial[1],
        }
    }

    /// The lines that are complete now, without their line feeds.
    fn take(&mut self, stream: Stream, bytes: &[u8]) -> Vec<Vec<u8>> {
        let partial = self.place(stream);
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            partial.extend_from_slice(piece);
            while partial.len() > json::LINE_LIMIT {
                let rest = partial.split_off(json::character_boundary(partial));
                lines.push(std::mem::replace(partial, rest));
            }
            if partial.pop_if(|byte| *byte == b'\n').is_some() {
                lines.push(std::mem::take(partial));
            }
        }
        lines
    }

    /// What is left of an unfinished line.
    fn rest(&mut self, stream: Stream) -> Option<Vec<u8>> {
        Some(std::mem::take(self.place(stream))).filter(|rest| !rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(driver: &str, options: &[(&str, &str)]) -> Request {
        let options = options
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let mut request = Request::default();
        driver.clone_into(&mut request.log.driver);
        request.log.options = options.collect();
        request
    }

    #[test]
    fn drivers_and_options_are_checked() {
        for (driver, options) in [
            ("json-file", &[("max-size", "20k"), ("max-file", "2")][..]),
            ("local", &[("max-file", "3"), ("compress", "true")]),
            ("none", &[]),
            ("journald", &[("tag", "{{.Name}}")]),
            ("syslog", &[("syslog-address", "udp://127.0.0.1:514")]),
        ] {
            check(&request(driver, options)).unwrap();
        }
        for (driver, options) in [
            ("nosuch", &[][..]),
            ("json-file", &[("max-size", "x")]),
            ("json-file", &[("max-file", "0")]),
            ("json-file", &[("nosuch", "1")]),
            ("syslog", &[("syslog-address", "ftp://x")]),
        ] {
            assert!(check(&request(driver, options)).is_err(), "{driver}");
        }
    }

    #[test]
    fn lines_are_cut_for_senders() {
        let mut lines = Lines::default();
        assert_eq!(lines.take(Stream::Stdout, b"a\nb"), [b"a".to_vec()]);
        assert_eq!(lines.take(Stream::Stderr, b"e\n"), [b"e".to_vec()]);
        assert_eq!(lines.take(Stream::Stdout, b"c\n"), [b"bc".to_vec()]);
        assert_eq!(lines.rest(Stream::Stdout), None);
    }

    #[test]
    fn labels_and_variables_go_with_each_line() {
        let mut request = request("json-file", &[("labels", "a,b"), ("env-regex", "^X")]);
        request.labels.insert("a".to_owned(), "1".to_owned());
        request.labels.insert("c".to_owned(), "2".to_owned());
        request.env = vec!["XY=3".to_owned(), "Z=4".to_owned()];
        let attributes = attributes(&request);
        assert_eq!(attributes.len(), 2);
        assert_eq!(
            (attributes["a"].as_str(), attributes["XY"].as_str()),
            ("1", "3")
        );
    }
}
