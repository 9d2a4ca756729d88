//! A file that one thread writes while another reads it already.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// How far the file has come.
#[derive(Debug, Clone, Default)]
enum State {
    /// Not begun.
    #[default]
    Nothing,
    /// So many bytes stand in it.
    Growing { path: PathBuf, length: u64 },
    /// It is whole and lies there.
    Whole(PathBuf),
    /// It will not be written.
    Failed(String),
    /// Nobody wants it any more.
    Abandoned,
}

/// The state of a file that grows, shared by writer and readers.
#[derive(Debug, Default)]
pub(super) struct Growing {
    state: Mutex<State>,
    changed: Condvar,
}

impl Growing {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, unless nobody cares; whether somebody does.
    fn set(&self, new: State) -> bool {
        let mut state = self.lock();
        if matches!(*state, State::Abandoned) {
            return false;
        }
        *state = new;
        self.changed.notify_all();
        true
    }

    /// `length` bytes can be read at `path`. An error means that it was abandoned.
    pub(super) fn grew(&self, path: &Path, length: u64) -> io::Result<()> {
        let path = path.to_owned();
        let wanted = self.set(State::Growing { path, length });
        let stopped = || io::Error::other("the transfer was stopped");
        wanted.then_some(()).ok_or_else(stopped)
    }

    /// Ends it from the reader's side; whether its writer had not failed before.
    pub(super) fn abandon(&self) -> bool {
        !matches!(*self.lock(), State::Failed(_)) && self.set(State::Abandoned)
    }

    /// Whether its reader ended it.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(*self.lock(), State::Abandoned)
    }

    /// Waits until the file has `length` bytes; whether it is whole, or has failed, before.
    pub(super) fn is_whole_before(&self, length: u64) -> bool {
        !matches!(self.wait(length.saturating_sub(1)), State::Growing { .. })
    }

    /// The whole file lies at `path`.
    pub(super) fn whole(&self, path: PathBuf) {
        self.set(State::Whole(path));
    }

    /// There will be no more.
    pub(super) fn failed(&self, why: &str) {
        self.set(State::Failed(why.to_owned()));
    }

    /// Waits until more than `at` bytes can be read or the file is whole.
    fn wait(&self, at: u64) -> State {
        let mut state = self.lock();
        loop {
            match &*state {
                State::Nothing => {}
                State::Growing { length, .. } if *length <= at => {}
                _ => return state.clone(),
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads a growing file from its beginning to its end, waiting where it must.
#[derive(Debug)]
pub(super) struct GrowingReader {
    growing: Arc<Growing>,
    /// Where the file lies once it has its name.
    named: Option<PathBuf>,
    file: Option<File>,
    at: u64,
}

impl GrowingReader {
    /// Reads from byte `at` on.
    pub(super) fn new(growing: Arc<Growing>, at: u64) -> Self {
        Self {
            growing,
            named: None,
            file: None,
            at,
        }
    }

    /// The same for a file that is renamed to `named` at a moment when it is whole.
    pub(super) fn named(mut self, named: PathBuf) -> Self {
        self.named = Some(named);
        self
    }

    fn open(&self, path: &Path) -> io::Result<File> {
        let mut file = match (File::open(path), &self.named) {
            (Err(err), Some(named)) if err.kind() == io::ErrorKind::NotFound => File::open(named)?,
            (opened, _) => opened?,
        };
        file.seek(SeekFrom::Start(self.at))?;
        Ok(file)
    }
}

impl Read for GrowingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (path, left) = match self.growing.wait(self.at) {
            State::Growing { path, length } => (path, length - self.at),
            State::Whole(path) => (path, u64::MAX),
            State::Failed(why) => return Err(io::Error::other(why)),
            State::Nothing | State::Abandoned => return Ok(0),
        };
        // The file is renamed when it is whole; what is open stays the same file.
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open(&path)?,
        };
        let wanted = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = file.read(&mut buffer[..wanted])?;
        self.file = Some(file);
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_reader_follows_its_writer() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let growing = Arc::new(Growing::default());
        let mut reader = GrowingReader::new(Arc::clone(&growing), 0);
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let mut length = 0;
        for piece in ["one ", "two ", "three"] {
            file.write_all(piece.as_bytes()).unwrap();
            length += piece.len() as u64;
            growing.grew(file.path(), length).unwrap();
        }
        growing.whole(file.path().to_owned());
        assert_eq!(reading.join().unwrap().unwrap(), "one two three");
    }

    #[test]
    fn a_file_that_got_its_name_meanwhile_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        std::fs::write(&new, "whole").unwrap();
        let growing = Arc::new(Growing::default());
        growing.whole(old);
        let mut text = String::new();
        let mut reader = GrowingReader::new(growing, 2).named(new);
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ole");
    }

    #[test]
    fn what_is_abandoned_ends() {
        let growing = Growing::default();
        growing.grew(Path::new("/x"), 10).unwrap();
        assert!(!growing.is_whole_before(10));
        assert!(growing.abandon());
        assert!(growing.grew(Path::new("/x"), 20).is_err());
        let growing = Growing::default();
        growing.failed("no");
        assert!(growing.is_whole_before(10));
        assert!(!growing.abandon());
    }

    #[test]
    fn a_failure_reaches_the_reader() {
        let growing = Arc::new(Growing::default());
        growing.failed("gone");
        let err = GrowingReader::new(growing, 0)
            .read(&mut [0; 4])
            .unwrap_err();
        assert_eq!(err.to_string(), "gone");
    }
}
