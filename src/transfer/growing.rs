//! A file that one thread writes while another reads it already.

use std::fs::File;
use std::io::{self, Read};
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

    fn set(&self, state: State) {
        *self.lock() = state;
        self.changed.notify_all();
    }

    /// `length` bytes can be read at `path`.
    pub(super) fn grew(&self, path: &Path, length: u64) {
        self.set(State::Growing {
            path: path.to_owned(),
            length,
        });
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
    file: Option<File>,
    at: u64,
}

impl GrowingReader {
    pub(super) fn new(growing: Arc<Growing>) -> Self {
        Self {
            growing,
            file: None,
            at: 0,
        }
    }
}

impl Read for GrowingReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (path, left) = match self.growing.wait(self.at) {
            State::Growing { path, length } => (path, length - self.at),
            State::Whole(path) => (path, u64::MAX),
            State::Failed(why) => return Err(io::Error::other(why)),
            State::Nothing => return Ok(0),
        };
        // The file is renamed when it is whole; what is open stays the same file.
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(path)?),
        };
        let wanted = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = file.read(&mut buffer[..wanted])?;
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
        let mut reader = GrowingReader::new(Arc::clone(&growing));
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        let mut length = 0;
        for piece in ["one ", "two ", "three"] {
            file.write_all(piece.as_bytes()).unwrap();
            length += piece.len() as u64;
            growing.grew(file.path(), length);
        }
        growing.whole(file.path().to_owned());
        assert_eq!(reading.join().unwrap().unwrap(), "one two three");
    }

    #[test]
    fn a_failure_reaches_the_reader() {
        let growing = Arc::new(Growing::default());
        growing.failed("gone");
        let err = GrowingReader::new(growing).read(&mut [0; 4]).unwrap_err();
        assert_eq!(err.to_string(), "gone");
    }
}
