//! Advisory locks on files, between processes and between threads.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{At, PathError};

/// A held lock; dropping it lets go. The file stays, unless the lock is transient.
#[derive(Debug)]
pub struct Lock {
    #[allow(dead_code, reason = "held for its destructor, which releases the lock")]
    file: File,
    /// A file to remove before the lock is let go.
    transient: Option<PathBuf>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.transient {
            // Whoever waits on the removed file notices and opens a new one.
            drop(std::fs::remove_file(path));
        }
    }
}

impl Lock {
    /// Waits for the exclusive lock on `path`, which is created if missing.
    pub fn exclusive(path: &Path) -> Result<Self, PathError> {
        let file = Self::open(path)?;
        file.lock().at("lock", path)?;
        Ok(Self {
            file,
            transient: None,
        })
    }

    /// Waits for the exclusive lock on `path`, whose file is removed with the
    /// lock: for names that come and go.
    pub fn transient(path: &Path) -> Result<Self, PathError> {
        loop {
            let file = Self::open(path)?;
            file.lock().at("lock", path)?;
            let held = file.metadata().at("look at", path)?.ino();
            // Its last holder may have removed the file that we waited on.
            if std::fs::metadata(path).is_ok_and(|now| now.ino() == held) {
                let transient = Some(path.to_owned());
                return Ok(Self { file, transient });
            }
        }
    }

    /// The same as [`Lock::transient`] if nobody holds it.
    pub fn try_transient(path: &Path) -> Result<Option<Self>, PathError> {
        let Some(mut lock) = Self::try_exclusive(path)? else {
            return Ok(None);
        };
        let held = lock.file.metadata().at("look at", path)?.ino();
        // Removed by its last holder: whoever comes next has another file.
        if !std::fs::metadata(path).is_ok_and(|now| now.ino() == held) {
            return Ok(None);
        }
        lock.transient = Some(path.to_owned());
        Ok(Some(lock))
    }

    /// Waits for the shared lock on `path`, which is created if missing.
    pub fn shared(path: &Path) -> Result<Self, PathError> {
        let file = Self::open(path)?;
        file.lock_shared().at("lock", path)?;
        Ok(Self {
            file,
            transient: None,
        })
    }

    /// Takes the exclusive lock on `path` if nobody holds it.
    pub fn try_exclusive(path: &Path) -> Result<Option<Self>, PathError> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                file,
                transient: None,
            })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(err)) => Err(err).at("lock", path),
        }
    }

    /// Takes the shared lock on `path` if nobody holds it exclusively.
    pub fn try_shared(path: &Path) -> Result<Option<Self>, PathError> {
        let file = Self::open(path)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Self {
                file,
                transient: None,
            })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(err)) => Err(err).at("lock", path),
        }
    }

    /// Makes an exclusive lock a shared one. Whoever waits for it may have it in
    /// between; then this waits in turn.
    pub fn share(&self) -> std::io::Result<()> {
        self.file.lock_shared()
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
