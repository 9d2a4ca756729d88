//! Advisory locks on files, between processes and between threads.

use std::fs::File;
use std::path::Path;

use super::{At, PathError};

/// A held lock; dropping it lets go. The file stays.
#[derive(Debug)]
pub struct Lock {
    #[allow(dead_code, reason = "held for its destructor, which releases the lock")]
    file: File,
}

impl Lock {
    /// Waits for the exclusive lock on `path`, which is created if missing.
    pub fn exclusive(path: &Path) -> Result<Self, PathError> {
        let file = Self::open(path)?;
        file.lock().at("lock", path)?;
        Ok(Self { file })
    }

    /// Waits for the shared lock on `path`, which is created if missing.
    pub fn shared(path: &Path) -> Result<Self, PathError> {
        let file = Self::open(path)?;
        file.lock_shared().at("lock", path)?;
        Ok(Self { file })
    }

    /// Takes the exclusive lock on `path` if nobody holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>, PathError> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(err)) => Err(err).at("lock", path),
        }
    }

    fn open(path: &Path) -> Result<File, PathError> {
        File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .at("open", path)
    }
}
