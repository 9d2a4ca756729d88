//! Blobs by digest: put, open with verification, remove.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use super::{Error, Store};
use crate::oci::Digest;

/// A blob being written; dropping it unfinished leaves nothing behind.
#[derive(Debug)]
pub struct BlobWriter {
    file: tempfile::NamedTempFile,
}

impl BlobWriter {
    /// Bytes written so far.
    pub fn len(&self) -> u64 {
        todo!()
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Store {
    /// Starts a blob.
    pub fn blob_writer(&self) -> Result<BlobWriter, Error> {
        todo!()
    }

    /// Syncs the blob and gives it its name. Idempotent: storing the same bytes
    /// twice keeps one file. With `expected`, other bytes are refused.
    pub fn blob_finish(
        &self,
        writer: BlobWriter,
        expected: Option<Digest>,
    ) -> Result<(Digest, u64), Error> {
        let _ = (writer, expected);
        todo!()
    }

    /// Whether the blob is there.
    pub fn blob_exists(&self, digest: Digest) -> bool {
        self.blob_path(digest).exists()
    }

    /// Opens a blob for reading. The reader is not verified; use a hasher where
    /// the bytes leave the machine.
    pub fn blob_open(&self, digest: Digest) -> Result<File, Error> {
        let _ = digest;
        todo!()
    }

    /// Removes a blob; a missing one is fine.
    pub fn blob_remove(&self, digest: Digest) -> Result<(), Error> {
        let _ = digest;
        todo!()
    }

    /// Where a blob lies.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.paths().blobs().join(digest.hex())
    }
}
