//! Reading a container's log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::net::RecvFlags;
use serde::{Deserialize, Serialize};

use super::dir::Dir;
use super::protocol::{self, Ask, Tell};
use super::{Error, find, socket};
use crate::fs::At;
use crate::store::Store;
use crate::sys::process::descriptor_path;

/// How much is read at a time.
const BLOCK: usize = 64 << 10;
/// Longest document; a shim's are at most 16 KiB of text, each byte six at worst.
const DOCUMENT_LIMIT: usize = 1 << 20;

/// Most turned-over files that are looked for.
const FILES: u32 = 1_000;

/// The names of a log's turned-over file of this number, plain and compressed.
pub(super) fn rotated(path: &Path, number: u32) -> [PathBuf; 2] {
    let with = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}{suffix}"));
        PathBuf::from(name)
    };
    [with(""), with(".gz")]
}

/// Which of a program's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// Which part of a log is wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogOptions {
    /// Whether to go on until the container ends.
    pub follow: bool,
    /// Only so many of the last lines; all when absent.
    pub tail: Option<usize>,
    /// Only lines at or after this time, nanoseconds since 1970.
    pub since: Option<i64>,
    /// Only lines at or before this time, nanoseconds since 1970.
    pub until: Option<i64>,
}

/// One line of a log, or a piece of a very long one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogEntry {
    /// The text; with its line feed, unless it is a piece.
    #[serde(rename = "log")]
    pub text: String,
    /// Where it was written to.
    pub stream: Stream,
    /// Labels and variables that the log's options asked for.
    #[serde(default, rename = "attrs")]
    pub attributes: BTreeMap<String, String>,
    /// When, RFC 3339 with nanoseconds.
    pub time: String,
}

impl LogEntry {
    fn is_within(&self, options: &LogOptions) -> bool {
        if options.since.is_none() && options.until.is_none() {
            return true;
        }
        let Ok(time) = self.time.parse::<jiff::Timestamp>() else {
            return true;
        };
        let time = time.as_nanosecond();
        options.since.is_none_or(|since| time >= i128::from(since))
            && options.until.is_none_or(|until| time <= i128::from(until))
    }
}

/// Hands the log of the container `text` to `sink`, oldest line first. With
/// `follow` it returns when the container has ended and its last line was handed
/// over; an error of `sink` ends it at once.
pub fn logs(
    store: &Store,
    text: &str,
    options: &LogOptions,
    sink: &mut dyn FnMut(&LogEntry) -> io::Result<()>,
) -> Result<io::Result<()>, Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    // Connected before the first look, so that no line falls between the two.
    let watch = if options.follow {
        Watch::new(&dir)?
    } else {
        None
    };
    if dir
        .record()
        .is_ok_and(|record| record.request.log.driver == "none")
    {
        return Err(Error::Invalid(
            "configured logging driver does not support reading".to_owned(),
        ));
    }
    let path = dir.log();
    let mut file = match newest(&path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Ok(())),
        Err(err) => return Err(err).at("open", &path)?,
    };
    if let Some(watch) = &watch {
        watch.follow(&file).at("watch", &path)?;
    }
    let mut old = older(&file, &path, options)?;
    if let Some(tail) = options.tail {
        let (start, found) = tail_start(&mut file, tail).at("read", &path)?;
        file.seek(SeekFrom::Start(start)).at("read", &path)?;
        let missing = tail.saturating_sub(found);
        let skipped = old.len().saturating_sub(missing);
        old.drain(..skipped);
    }
    for entry in old {
        if entry.is_within(options)
            && let Err(err) = sink(&entry)
        {
            return Ok(Err(err));
        }
    }
    let mut reader = Reader::new(file);
    loop {
        // The end is looked at before the log: what it says came before the end.
        let ended = watch.as_ref().is_none_or(Watch::has_ended);
        // So is a new file: what the old one has by then is all it will ever have.
        let turned_over = reader.is_turned_over(&path);
        while let Some(entry) = reader.next().at("read", &path)? {
            if entry.is_within(options)
                && let Err(err) = sink(&entry)
            {
                return Ok(Err(err));
            }
        }
        match &watch {
            Some(watch) if turned_over => {
                let next = successor(&reader.file, &path).at("open", &path)?;
                watch.follow(&next).at("watch", &path)?;
                reader = Reader::new(next);
            }
            Some(watch) if !ended => watch.wait(&path).at("watch", &path)?,
            _ => return Ok(Ok(())),
        }
    }
}

/// The file that is written to. Between the renaming of a full one and the making of
/// the next there is none for a moment.
fn newest(path: &Path) -> io::Result<File> {
    const ROUNDS: u32 = 200;
    const PAUSE: Duration = Duration::from_millis(5);
    let [first, _] = rotated(path, 1);
    let mut round = 0;
    loop {
        match File::open(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound && round < ROUNDS => {
                if !first.exists() {
                    return Err(err);
                }
                round += 1;
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// How many names may be free in a row before there is nothing more. A log is turned
/// over from its oldest file on, so that one name after the other is free for a moment.
const GAPS: u32 = 2;

/// The file that came after an open one that was turned over. There may be several
/// by now: then the one right after it, or the oldest that is left.
///
/// The names are gone through from the newest on. Files get higher numbers meanwhile,
/// so that none is passed by.
fn successor(open: &File, path: &Path) -> io::Result<File> {
    let inode = open.metadata()?.ino();
    loop {
        let mut newer: Option<(PathBuf, u64)> = None;
        let mut gaps = 0;
        for number in 0..FILES {
            let [plain, packed] = match number {
                0 => [path.to_owned(), path.to_owned()],
                _ => rotated(path, number),
            };
            match std::fs::metadata(&plain) {
                Ok(found) if found.ino() == inode => break,
                Ok(found) => {
                    newer = Some((plain, found.ino()));
                    gaps = 0;
                }
                Err(_) if packed.exists() => gaps = 0,
                Err(_) if gaps == GAPS => break,
                Err(_) => gaps += 1,
            }
        }
        let Some((name, expected)) = newer else {
            return newest(path);
        };
        // It may have another name by now, and another file this one.
        if let Ok(file) = File::open(&name)
            && file.metadata()?.ino() == expected
        {
            return Ok(file);
        }
    }
}

/// The files that were turned over before the open one, oldest first, each with
/// whether it is compressed.
fn turned_over(open: &File, path: &Path) -> io::Result<Vec<(bool, File)>> {
    let inode = open.metadata()?.ino();
    let mut files: Vec<(bool, File)> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut gaps = 0;
    for number in 1..FILES {
        let [plain, packed] = rotated(path, number);
        let found = File::open(plain).map(|file| (false, file));
        let found = found.or_else(|_| File::open(packed).map(|file| (true, file)));
        match found {
            Ok((is_packed, file)) => {
                gaps = 0;
                let own = file.metadata()?.ino();
                if own == inode {
                    // It was turned over itself since it was opened: those before are newer.
                    files.clear();
                } else if seen.insert(own) {
                    files.push((is_packed, file));
                }
            }
            Err(_) if gaps == GAPS => break,
            Err(_) => gaps += 1,
        }
    }
    files.reverse();
    Ok(files)
}

/// The entries of the files that were turned over before the open one, oldest first.
fn older(open: &File, path: &Path, options: &LogOptions) -> Result<Vec<LogEntry>, Error> {
    let mut entries = Vec::new();
    for (is_packed, mut file) in turned_over(open, path).at("open", path)? {
        let mut reader = Reader::new(if is_packed {
            let (_, mut plain) = crate::layer::decompress(&mut file).at("read", path)?;
            let mut unpacked = tempfile::tempfile().at("unpack", path)?;
            io::copy(&mut plain, &mut unpacked).at("unpack", path)?;
            unpacked.seek(SeekFrom::Start(0)).at("unpack", path)?;
            unpacked
        } else {
            file
        });
        while let Some(entry) = reader.next().at("read", path)? {
            entries.push(entry);
            if let Some(tail) = options.tail
                && entries.len() > tail.saturating_mul(2).max(1 << 10)
            {
                let old = entries.len() - tail;
                entries.drain(..old);
            }
        }
    }
    Ok(entries)
}

/// More of it, or another name for it.
const WATCHED: inotify::WatchFlags =
    inotify::WatchFlags::MODIFY.union(inotify::WatchFlags::MOVE_SELF);

/// Waits for more of a log, or for the end of its container.
#[derive(Debug)]
struct Watch {
    shim: OwnedFd,
    changes: OwnedFd,
}

impl Watch {
    /// `None` for a container that does not run.
    fn new(dir: &Dir) -> Result<Option<Self>, Error> {
        let Some(shim) = socket::connect_to(dir)? else {
            return Ok(None);
        };
        let changes = || -> io::Result<OwnedFd> {
            protocol::ask(&shim, &Ask::Wait)?;
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            Ok(inotify::init(flags)?)
        };
        let changes = changes().at("watch", dir.log())?;
        Ok(Some(Self { shim, changes }))
    }

    /// Watches this file, whatever its name is by now.
    fn follow(&self, file: &File) -> io::Result<()> {
        let path = descriptor_path(file.as_raw_fd());
        inotify::add_watch(&self.changes, path, WATCHED)?;
        Ok(())
    }

    fn has_ended(&self) -> bool {
        match protocol::receive(self.shim.as_fd(), RecvFlags::DONTWAIT).map(Tell::decode) {
            Err(err) => err.kind() != io::ErrorKind::WouldBlock,
            Ok(tell) => matches!(tell, Ok(None | Some(Tell::Exited(_))) | Err(_)),
        }
    }

    /// `path` is the log's name: while nothing has it, the next file is just being made.
    fn wait(&self, path: &Path) -> io::Result<()> {
        const SOON: Timespec = Timespec {
            tv_sec: 0,
            tv_nsec: 5_000_000,
        };
        let limit = (!path.exists()).then_some(&SOON);
        let mut fds = [
            PollFd::new(&self.shim, PollFlags::IN),
            PollFd::new(&self.changes, PollFlags::IN),
        ];
        match poll(&mut fds, limit) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
        // What changed is known; only that it did is to be forgotten.
        let mut events = [0; 4 << 10];
        while rustix::io::read(&self.changes, &mut events).is_ok_and(|length| length > 0) {}
        Ok(())
    }
}

/// Reads documents as they become complete.
#[derive(Debug)]
struct Reader {
    file: File,
    buffer: Vec<u8>,
    start: usize,
}

impl Reader {
    fn new(file: File) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            start: 0,
        }
    }

    /// Whether another file has its name now, or it was emptied.
    fn is_turned_over(&mut self, path: &Path) -> bool {
        let (Ok(open), Ok(named)) = (self.file.metadata(), std::fs::metadata(path)) else {
            return false;
        };
        let position = self.file.stream_position().unwrap_or(0);
        open.ino() != named.ino() || open.len() < position
    }

    /// The next whole document; `None` at what is the end at the moment. A line
    /// that is no document is passed over.
    fn next(&mut self) -> io::Result<Option<LogEntry>> {
        let mut searched = self.start;
        loop {
            if let Some(at) = self.buffer[searched..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let end = searched + at;
                let entry = serde_json::from_slice(&self.buffer[self.start..end]);
                self.start = end + 1;
                searched = self.start;
                match entry {
                    Ok(entry) => return Ok(Some(entry)),
                    Err(_) => continue,
                }
            }
            if !self.fill()? {
                return Ok(None);
            }
            searched = 0;
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() > DOCUMENT_LIMIT {
            self.buffer.clear();
        }
        let before = self.buffer.len();
        self.buffer.resize(before + BLOCK, 0);
        let length = self.file.read(&mut self.buffer[before..])?;
        self.buffer.truncate(before + length);
        Ok(length > 0)
    }
}

/// Where the last `count` lines start, found from the end, and how many there are.
fn tail_start(file: &mut File, count: usize) -> io::Result<(u64, usize)> {
    let end = file.seek(SeekFrom::End(0))?;
    if count == 0 {
        return Ok((end, 0));
    }
    let mut block = vec![0; BLOCK];
    let mut position = end;
    let mut found: usize = 0;
    while position > 0 {
        let length = usize::try_from(position).unwrap_or(BLOCK).min(BLOCK);
        position -= u64::try_from(length).unwrap_or(position);
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut block[..length])?;
        for at in (0..length).rev() {
            if block[at] == b'\n' {
                // The line feed that ends the last line starts no line.
                if found == count {
                    return Ok((position + u64::try_from(at).unwrap_or(0) + 1, found));
                }
                found += 1;
            }
        }
    }
    Ok((0, found))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn log(lines: usize) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for line in 1..=lines {
            let second = line % 60;
            writeln!(
                file,
                r#"{{"log":"l{line}\n","stream":"stdout","time":"2026-01-02T03:04:{second:02}.5Z"}}"#
            )
            .unwrap();
        }
        file
    }

    fn read(path: &Path, tail: Option<usize>) -> Vec<String> {
        let mut file = File::open(path).unwrap();
        let start = tail.map_or(0, |tail| tail_start(&mut file, tail).unwrap().0);
        file.seek(SeekFrom::Start(start)).unwrap();
        let mut reader = Reader::new(file);
        std::iter::from_fn(|| reader.next().unwrap())
            .map(|entry| entry.text.trim_end().to_owned())
            .collect()
    }

    #[test]
    fn the_tail_is_found_from_the_end() {
        let file = log(5_000);
        assert_eq!(read(file.path(), Some(2)), ["l4999", "l5000"]);
        assert_eq!(read(file.path(), Some(0)), [""; 0]);
        assert_eq!(read(file.path(), Some(9_999)).len(), 5_000);
        assert_eq!(read(file.path(), Some(3_000))[0], "l2001");
        assert_eq!(read(file.path(), None).len(), 5_000);
    }

    #[test]
    fn half_a_document_waits_for_its_other_half() {
        let mut file = log(1);
        let mut reader = Reader::new(File::open(file.path()).unwrap());
        assert_eq!(reader.next().unwrap().unwrap().text, "l1\n");
        file.write_all(br#"{"log":"two","stre"#).unwrap();
        assert_eq!(reader.next().unwrap(), None);
        writeln!(file, r#"am":"stderr","time":"x"}}"#).unwrap();
        let entry = reader.next().unwrap().unwrap();
        assert_eq!((entry.text.as_str(), entry.stream), ("two", Stream::Stderr));
    }

    #[test]
    fn times_bound_on_both_sides() {
        let nanos = |text: &str| -> Option<i64> {
            let time: jiff::Timestamp = text.parse().unwrap();
            i64::try_from(time.as_nanosecond()).ok()
        };
        let entry = LogEntry {
            text: String::new(),
            stream: Stream::Stdout,
            attributes: BTreeMap::new(),
            time: "2026-01-02T03:04:05.5Z".to_owned(),
        };
        let within = |since, until| {
            entry.is_within(&LogOptions {
                since,
                until,
                ..LogOptions::default()
            })
        };
        assert!(within(nanos("2026-01-02T03:04:05.5Z"), None));
        assert!(!within(nanos("2026-01-02T03:04:06Z"), None));
        assert!(!within(None, nanos("2026-01-02T03:04:05Z")));
    }
}
