//! Blobs by digest: put, open with verification, remove.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::NamedTempFile;

use super::{Error, Store};
use crate::fs::{At, sync_dir};
use crate::oci::{Digest, Hasher};

/// Bytes gathered before they are written, so that small writes stay cheap.
const BUFFER: usize = 128 << 10;

/// A blob being written; dropping it unfinished leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    file: BufWriter<NamedTempFile>,
    hasher: Hasher,
    length: u64,
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Where the bytes lie until the blob is finished; those that were flushed can be read there.
    pub fn path(&self) -> &Path {
        self.file.get_ref().path()
    }

    /// The file, the digest of its bytes and their number.
    pub(super) fn into_parts(self) -> (BufWriter<NamedTempFile>, Digest, u64) {
        (self.file, self.hasher.finish(), self.length)
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.length += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Store {
    /// Starts a blob.
    pub fn blob_writer(&self) -> Result<BlobWriter, Error> {
        Ok(BlobWriter {
            file: BufWriter::with_capacity(BUFFER, self.temp_file()?),
            hasher: Hasher::new(),
            length: 0,
        })
    }

    /// Syncs the blob and gives it its name. Idempotent: storing the same bytes
    /// twice keeps one file. With `expected`, other bytes are refused.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the bytes are not `expected`; nothing is left behind.
    pub fn blob_finish(
        &self,
        writer: BlobWriter,
        expected: Option<Digest>,
    ) -> Result<(Digest, u64), Error> {
        let BlobWriter {
            file,
            hasher,
            length,
        } = writer;
        let digest = hasher.finish();
        let path = self.blob_path(digest);
        if let Some(want) = expected
            && want != digest
        {
            return Err(Error::Damaged { want, got: digest });
        }
        let file = file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .at("write", &path)?;
        // A blob that is there already is as good, but must look new to the collector.
        let renewed = File::options()
            .write(true)
            .open(&path)
            .and_then(|old| old.set_modified(SystemTime::now()));
        if renewed.is_err() {
            file.as_file().sync_data().at("sync", file.path())?;
            file.persist(&path)
                .map_err(|err| err.error)
                .at("rename a file to", &path)?;
        }
        // Also for a file of another process, which may not have come so far yet.
        sync_dir(&self.paths().blobs())?;
        Ok((digest, length))
    }

    /// Whether the blob is there.
    pub fn blob_exists(&self, digest: Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// Opens a blob for reading. The reader is not verified; use a hasher where
    /// the bytes leave the machine.
    ///
    /// # Errors
    /// [`Error::NoBlob`] when it is not there.
    pub fn blob_open(&self, digest: Digest) -> Result<File, Error> {
        let path = self.blob_path(digest);
        match File::open(&path) {
            Err(err) if err.kind() == ErrorKind::NotFound => Err(Error::NoBlob(digest)),
            other => Ok(other.at("open", &path)?),
        }
    }

    /// Removes a blob; a missing one is fine.
    pub fn blob_remove(&self, digest: Digest) -> Result<(), Error> {
        let path = self.blob_path(digest);
        match std::fs::remove_file(&path) {
            Err(err) if err.kind() == ErrorKind::NotFound => Ok(()),
            other => Ok(other.at("remove", &path)?),
        }
    }

    /// Where a blob lies.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.paths().blobs().join(digest.hex())
    }
}
