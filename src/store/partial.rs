//! Blobs of which a part has come: kept for whoever brings the rest.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Error, Store};
use crate::fs::{At, Lock, sync_dir};
use crate::oci::{Digest, Hasher};

/// How long the beginning of a blob is kept for whoever tries again.
const KEPT: Duration = Duration::from_hours(24);
/// Most beginnings that are kept; the oldest go first.
const MOST: usize = 64;
/// Bytes read at once.
const BUFFER: usize = 256 << 10;

/// A blob that is coming, in a file that outlives this process. Whoever has one
/// holds the [lock](Store::blob_lock) of its digest.
#[derive(Debug)]
pub struct PartialBlob {
    file: File,
    path: PathBuf,
    length: u64,
}

impl PartialBlob {
    /// Bytes that are there.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether nothing is there yet.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where they lie until the blob is finished.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hashes what is there, for whoever verifies the whole.
    pub fn hasher(&self) -> Result<Hasher, Error> {
        let mut hasher = Hasher::new();
        let mut left = self.length;
        let mut file = File::open(&self.path).at("open", &self.path)?;
        let mut buffer = vec![0; BUFFER];
        while left > 0 {
            let wanted = usize::try_from(left).map_or(BUFFER, |left| left.min(BUFFER));
            let count = file.read(&mut buffer[..wanted]).at("read", &self.path)?;
            if count == 0 {
                let err = io::Error::from(ErrorKind::UnexpectedEof);
                return Err(err).at("read", &self.path).map_err(Into::into);
            }
            hasher.update(&buffer[..count]);
            left -= count as u64;
        }
        Ok(hasher)
    }

    /// Adds bytes; they can be read at once.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

impl Store {
    /// Waits for the right to bring the blob with this digest: one at a time has
    /// it, among all processes.
    pub fn blob_lock(&self, digest: Digest) -> Result<Lock, Error> {
        Ok(Lock::transient(&self.blob_lock_path(digest))?)
    }

    fn blob_lock_path(&self, digest: Digest) -> PathBuf {
        let name = format!("blob-{}", digest.hex());
        self.paths().locks().join(name)
    }

    /// Takes up what is there of a blob of `size` bytes, or begins it. Its bytes are
    /// not verified. The caller holds its [lock](Self::blob_lock).
    pub fn partial_open(&self, digest: Digest, size: u64) -> Result<PartialBlob, Error> {
        let dir = self.paths().partial();
        let path = dir.join(digest.hex());
        let open = || {
            File::options()
                .create(true)
                .append(true)
                .read(true)
                .open(&path)
        };
        let file = match open() {
            // Roots of older versions do not have the directory.
            Err(err) if err.kind() == ErrorKind::NotFound => {
                self.paths().create_partial()?;
                open()
            }
            other => other,
        };
        let file = file.at("open", &path)?;
        let mut length = file.metadata().at("look at", &path)?.len();
        if length > size {
            file.set_len(0).at("empty", &path)?;
            length = 0;
        }
        Ok(PartialBlob { file, path, length })
    }

    /// Forgets what is there of a blob: it is not its beginning. The partial blob is empty then.
    pub fn partial_restart(&self, partial: &mut PartialBlob) -> Result<(), Error> {
        partial.file.set_len(0).at("empty", &partial.path)?;
        partial.length = 0;
        Ok(())
    }

    /// Syncs a blob that is whole and verified, and gives it its name.
    pub fn partial_finish(&self, partial: &PartialBlob, digest: Digest) -> Result<(), Error> {
        let target = self.blob_path(digest);
        partial.file.sync_data().at("sync", &partial.path)?;
        std::fs::rename(&partial.path, &target).at("rename a file to", &target)?;
        sync_dir(&self.paths().blobs())?;
        Ok(())
    }

    /// Removes beginnings of blobs that nobody has gone on with for a day, and the
    /// oldest where there are many; those that are coming now stay. Returns the bytes freed.
    pub fn partial_sweep(&self) -> Result<u64, Error> {
        self.partial_sweep_older(KEPT)
    }

    pub(super) fn partial_sweep_older(&self, age: Duration) -> Result<u64, Error> {
        let dir = self.paths().partial();
        let entries = match std::fs::read_dir(&dir) {
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(0),
            other => other.at("list", &dir)?,
        };
        let mut found: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in entries {
            let entry = entry.at("list", &dir)?;
            // One that is gone has become a blob.
            if let Ok(metadata) = entry.metadata() {
                let written = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((written, entry.path(), metadata.len()));
            }
        }
        found.sort();
        let (mut freed, mut left) = (0, found.len());
        for (written, path, bytes) in found {
            let old = written.elapsed().unwrap_or_default() >= age;
            if !old && left <= MOST {
                continue;
            }
            let name = path.file_name().and_then(|name| name.to_str());
            let digest = name.and_then(|name| Digest::from_hex(name).ok());
            let lock = digest.map(|digest| Lock::try_transient(&self.blob_lock_path(digest)));
            let _turn = match lock.transpose()? {
                Some(None) => continue,
                turn => turn,
            };
            match std::fs::remove_file(&path) {
                Err(err) if err.kind() == ErrorKind::NotFound => {}
                other => {
                    other.at("remove", &path)?;
                    freed += bytes;
                }
            }
            left -= 1;
        }
        Ok(freed)
    }
}
