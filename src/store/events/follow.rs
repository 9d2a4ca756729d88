//! Reading the log from its beginning, and on as it grows.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;

use super::LINE_LIMIT;
use super::record::EventRecord;
use crate::fs::{At, PathError};
use crate::store::Paths;

/// How often the log is looked at where the kernel does not tell of changes.
const PAUSE: Duration = Duration::from_millis(100);

/// The log as it is read.
#[derive(Debug)]
pub struct Events {
    dir: PathBuf,
    /// What is read now.
    file: Option<Opened>,
    /// The start of a line whose end is not written yet.
    partial: Vec<u8>,
    watch: Option<OwnedFd>,
}

/// A file, with the device and inode that say whether it is the log still.
type Opened = (BufReader<File>, (u64, u64));

/// Why waiting for more ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// There may be more.
    More,
    /// The time was up.
    TimedOut,
    /// A signal came.
    Interrupted,
}

impl Events {
    /// Opens the log at its oldest event.
    pub fn open(paths: &Paths) -> Result<Self, PathError> {
        let dir = paths.events();
        std::fs::create_dir_all(&dir).at("create", &dir)?;
        // Watched before anything is read, so that nothing is missed.
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .and_then(|watch| {
                let changes = inotify::WatchFlags::MODIFY
                    | inotify::WatchFlags::CREATE
                    | inotify::WatchFlags::MOVED_TO;
                inotify::add_watch(&watch, &dir, changes)?;
                Ok(watch)
            });
        let mut events = Self {
            file: None,
            partial: Vec::new(),
            watch: watch.ok(),
            dir,
        };
        events.file = events.open_file("log.1")?;
        if events.file.is_none() {
            events.file = events.open_file("log")?;
        }
        Ok(events)
    }

    fn open_file(&self, name: &str) -> Result<Option<Opened>, PathError> {
        let path = self.dir.join(name);
        let file = match File::open(&path) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("open", &path)?,
        };
        let meta = file.metadata().at("look at", &path)?;
        Ok(Some((BufReader::new(file), (meta.dev(), meta.ino()))))
    }

    /// The next event; `None` when there is no more for now. Lines that cannot
    /// be read are passed over.
    pub fn next_event(&mut self) -> Result<Option<EventRecord>, PathError> {
        loop {
            if self.file.is_none() {
                self.file = self.open_file("log")?;
            }
            let Some((reader, identity)) = &mut self.file else {
                return Ok(None);
            };
            let room = (LINE_LIMIT + 1).saturating_sub(self.partial.len());
            let room = u64::try_from(room).unwrap_or(u64::MAX);
            reader
                .take(room)
                .read_until(b'\n', &mut self.partial)
                .at("read", &self.dir)?;
            if self.partial.ends_with(b"\n") || self.partial.len() > LINE_LIMIT {
                let line = std::mem::take(&mut self.partial);
                if let Ok(event) = serde_json::from_slice(&line) {
                    return Ok(Some(event));
                }
                continue;
            }
            // The end of this file. When it is the log no more, the log goes on elsewhere.
            let identity = *identity;
            match self.open_file("log")? {
                Some(next) if next.1 != identity => {
                    if self.has_grown() {
                        continue;
                    }
                    self.partial.clear();
                    self.file = Some(next);
                }
                _ => return Ok(None),
            }
        }
    }

    /// Whether somebody who had opened the file before it was put aside wrote to it.
    fn has_grown(&mut self) -> bool {
        let Some((reader, _)) = &mut self.file else {
            return false;
        };
        reader.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
    }

    /// Waits until there may be more.
    pub fn wait(&self, most: Option<Duration>) -> Wait {
        let Some(watch) = &self.watch else {
            std::thread::sleep(most.unwrap_or(PAUSE).min(PAUSE));
            return if most.is_some_and(|most| most <= PAUSE) {
                Wait::TimedOut
            } else {
                Wait::More
            };
        };
        let most = most.map(|most| Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: most.subsec_nanos().into(),
        });
        let mut fds = [PollFd::new(watch, PollFlags::IN)];
        match poll(&mut fds, most.as_ref()) {
            Ok(0) => Wait::TimedOut,
            Ok(_) => {
                let mut buffer = [0; 4096];
                // What changed is of no interest, only that something did.
                while rustix::io::read(watch.as_fd(), &mut buffer).is_ok_and(|read| read > 0) {}
                Wait::More
            }
            Err(_) => Wait::Interrupted,
        }
    }
}
