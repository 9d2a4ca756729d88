//! The face of every place that a cache can lie in.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, Read, Write};

use super::s3::S3Error;
use crate::fs::PathError;
use crate::oci::{Descriptor, Digest, Hasher, Reference};
use crate::registry;
use crate::store::Store;

/// Largest record that is read, in bytes.
pub(super) const RECORD_LIMIT: u64 = 16 << 20;

/// Most layers that are written at once where the place has no wish.
const LAYERS_AT_ONCE: usize = 4;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::build) enum RecordKind {
    /// The result of a step, by its cache key.
    Step,
    /// The key of a step by what it does and the content that it did it to.
    Content,
    /// The blob of a layer, by its diff ID.
    Layer,
    /// A cache mount, by its name.
    Mount,
}

impl RecordKind {
    /// Every kind.
    pub(super) const ALL: [Self; 4] = [Self::Step, Self::Content, Self::Layer, Self::Mount];

    /// Its word in a path or key.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Content => "content",
            Self::Layer => "layer",
            Self::Mount => "mount",
        }
    }
}

/// Names a record; the `Display` form is a path of two plain components.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::build) struct RecordKey {
    /// What it is about.
    pub(super) kind: RecordKind,
    /// What it is found by.
    pub(super) id: Digest,
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.name(), self.id.hex())
    }
}

/// The bytes of a blob whose digest is known.
pub(super) struct BlobSource<'a> {
    /// Opens them, from their beginning.
    pub(super) open: &'a (dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync),
    /// A repository of a registry that has them.
    pub(super) repository: Option<&'a Reference>,
}

/// What an export names.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Its records.
    pub(super) records: BTreeSet<RecordKey>,
    /// The blobs that they name.
    pub(super) blobs: BTreeMap<Digest, Descriptor>,
}

/// What becomes of what was there before an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It stays, as far as the place keeps several exports.
    AsUsual,
    /// It stays: this export has less than a whole build.
    Stays,
    /// It goes.
    Goes,
}

/// A place with blobs by digest and records by key.
///
/// Whoever writes looks first whether it is there. Any number of builds may read
/// and write one place at the same time; a reader sees a blob or record whole or
/// not at all.
pub(in crate::build) trait Backend: Send + Sync {
    /// The size of a blob, in bytes; `None` when it is not there.
    fn blob_size(&self, digest: Digest) -> Result<Option<u64>, BackendError>;

    /// The bytes of a blob of this size. They may be anything: wrap them in [`Checked`].
    fn read_blob(
        &self,
        store: &Store,
        digest: Digest,
        size: u64,
    ) -> Result<Box<dyn Read + Send>, BackendError>;

    /// Starts a blob whose digest is known when it is finished. Until then it may
    /// lie in `store`.
    fn write_blob<'a>(&'a self, store: &'a Store) -> Result<Box<dyn BlobSink + 'a>, BackendError>;

    /// Puts a blob there unless it is; whether its bytes had to be sent.
    fn add_blob(&self, blob: &Descriptor, source: &BlobSource<'_>) -> Result<bool, BackendError>;

    /// The bytes of a record, [`RECORD_LIMIT`] at most.
    fn get_record(&self, key: RecordKey) -> Result<Option<Vec<u8>>, BackendError>;

    /// Puts a record, in place of one that is there. Others may see it only after
    /// [`Backend::finish`].
    fn put_record(&self, key: RecordKey, bytes: &[u8]) -> Result<(), BackendError>;

    /// Ends an export.
    fn finish(&self, named: &Named, before: Before) -> Result<(), BackendError>;

    /// How many layers are best written at once.
    fn layers_at_once(&self) -> usize {
        LAYERS_AT_ONCE
    }

    /// The repository that blobs may be taken over from, where this is one.
    fn repository(&self) -> Option<&Reference> {
        None
    }
}

/// A blob being written. Dropped before it is committed, it leaves nothing behind.
pub(in crate::build) trait BlobSink: Write {
    /// Ends the blob, makes it survive a power cut and gives it its name.
    fn commit(self: Box<Self>, digest: Digest) -> Result<(), BackendError>;
}

/// What is wrong with a place.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum BackendError {
    /// It is not there.
    #[error("there is no cache")]
    Missing,
    /// It was written by another version.
    #[error("it is a cache of version {0}, which is unknown here")]
    Version(u32),
    /// Something in it is not what it should be.
    #[error("{what} is damaged: {why}")]
    Damaged {
        /// What.
        what: String,
        /// In what way.
        why: String,
    },
    /// It is not a cache, and not empty.
    #[error("the directory is not empty and no cache")]
    Foreign,
    /// It is one of another program.
    #[error("{0}")]
    Other(&'static str),
    /// Nothing can be put there.
    #[error("nothing can be put there")]
    ReadOnly,
    /// There is no way to registries.
    #[error("this build has no access to registries")]
    NoRegistries,
    /// The registry refused.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The bucket refused.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
    /// A layer could not be packed.
    #[error("cannot pack a layer")]
    Pack(#[source] io::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// An image cannot be read.
    #[error(transparent)]
    Image(#[from] crate::image::Error),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::Error),
}

impl BackendError {
    /// Something that is not what it should be.
    pub(super) fn damaged(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Damaged {
            what: what.to_string(),
            why: why.to_string(),
        }
    }
}

/// Bytes that must have a size and a digest: the end is an error when they do not.
pub(super) struct Checked<R> {
    source: R,
    hasher: Option<Hasher>,
    left: u64,
    digest: Digest,
}

impl<R: Read> Checked<R> {
    /// Checks `source` on its way.
    pub(super) fn new(source: R, digest: Digest, size: u64) -> Self {
        Self {
            source,
            hasher: Some(Hasher::new()),
            left: size,
            digest,
        }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = self.source.read(buffer)?;
        let wrong = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        if count > 0 {
            self.left = self
                .left
                .checked_sub(count as u64)
                .ok_or_else(|| wrong(format!("blob {} is too long", self.digest)))?;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            return Ok(count);
        }
        if let Some(hasher) = self.hasher.take() {
            let got = hasher.finish();
            if self.left > 0 {
                return Err(wrong(format!("blob {} is too short", self.digest)));
            }
            if got != self.digest {
                return Err(wrong(format!("blob {} hashes to {got}", self.digest)));
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], digest: Digest, size: u64) -> Result<Vec<u8>, String> {
        let mut read = Vec::new();
        match Checked::new(bytes, digest, size).read_to_end(&mut read) {
            Ok(_) => Ok(read),
            Err(err) => Err(err.to_string()),
        }
    }

    #[test]
    fn bytes_are_checked_to_their_end() {
        let digest = Digest::of(b"abc");
        assert_eq!(check(b"abc", digest, 3).unwrap(), b"abc");
        assert!(check(b"abc", digest, 4).unwrap_err().contains("too short"));
        assert!(check(b"abc", digest, 2).unwrap_err().contains("too long"));
        assert!(check(b"abd", digest, 3).unwrap_err().contains("hashes to"));
    }
}
