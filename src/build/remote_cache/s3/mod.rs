//! A cache in a bucket of S3, or of what speaks its protocol.
//!
//! ```text
//! <prefix><blobs_prefix>sha256:<hex>    a blob
//! <prefix><manifests_prefix><name>      the records of an export, and its blobs
//! ```
//!
//! The list of records is written last and replaced as a whole. What it does not name
//! is removed by whoever looks after the bucket: blobs that are used are written
//! anew before they are a day old, so that an expiry by age leaves them.

mod client;
mod identity;
mod read;
mod sign;

pub use identity::region;

use std::io::{self, Read};
use std::sync::Arc;

use jiff::Timestamp;

use super::S3Cache;
use super::backend::{Backend, BackendError, Before, BlobSink, BlobSource, Named, RecordKey};
use super::spool::Spool;
use super::table::{DOCUMENT_LIMIT, SharedTable, Table};
use crate::http::{HttpError, UrlError};
use crate::oci::{Descriptor, Digest};
use crate::store::Store;
use client::{Bucket, Object};
use read::ObjectReader;

/// What goes in one request at most, in bytes, and the size of a part.
const PART: u64 = 8 << 20;
/// Most parts that an object may have.
///
/// Source: Amazon S3 User Guide, "Multipart upload limits".
const PARTS: u64 = 10_000;
/// Largest object that can be copied at once, in bytes; the same source.
const COPY_LIMIT: u64 = 5 << 30;
/// Parts of one object that are sent at once.
const AT_ONCE: usize = 4;

/// What is wrong with a bucket.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum S3Error {
    /// Nobody says who we are.
    #[error(
        "no credentials for S3: give access_key_id and secret_access_key, set AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials"
    )]
    NoIdentity,
    /// No answer.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// It says no.
    #[error("{what}: the server answered {status}: {why}")]
    Refused {
        /// The object.
        what: String,
        /// The status code.
        status: u16,
        /// What it said.
        why: String,
    },
    /// The answer breaks the protocol.
    #[error("{key}: the server broke the protocol: {why}")]
    Protocol {
        /// The object.
        key: String,
        /// How.
        why: &'static str,
    },
    /// The connection broke.
    #[error("{key}: the connection broke")]
    Broke {
        /// The object.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl From<UrlError> for S3Error {
    fn from(err: UrlError) -> Self {
        Self::Http(err.into())
    }
}

impl S3Error {
    fn protocol(key: &str, why: &'static str) -> Self {
        let key = key.to_owned();
        Self::Protocol { key, why }
    }

    fn broke(key: &str, source: io::Error) -> Self {
        let key = key.to_owned();
        Self::Broke { key, source }
    }
}

/// A cache in a bucket.
pub(super) struct S3Backend {
    bucket: Arc<Bucket>,
    cache: S3Cache,
    before: Table,
    table: SharedTable,
}

impl S3Backend {
    /// Opens a cache for reading: every one of its names that is there.
    ///
    /// # Errors
    /// [`BackendError::Missing`] when none is.
    pub(super) fn open(cache: &S3Cache) -> Result<Self, BackendError> {
        let bucket = Bucket::open(cache)?;
        let mut before: Option<Table> = None;
        for name in &cache.names {
            if let Some(table) = read_table(&bucket, cache, name)? {
                before.get_or_insert_default().merge(table);
            }
        }
        let before = before.ok_or(BackendError::Missing)?;
        Ok(Self::with(bucket, cache, before))
    }

    /// Opens a cache for writing; what is there and can be read is known to it.
    pub(super) fn create(cache: &S3Cache) -> Result<Self, BackendError> {
        let bucket = Bucket::open(cache)?;
        let mut before = Table::default();
        for name in &cache.names {
            match read_table(&bucket, cache, name) {
                Ok(table) => before.merge(table.unwrap_or_default()),
                // Whatever else has the name gives way.
                Err(BackendError::Damaged { .. } | BackendError::Version(_)) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(Self::with(bucket, cache, before))
    }

    fn with(bucket: Bucket, cache: &S3Cache, before: Table) -> Self {
        Self {
            bucket: Arc::new(bucket),
            cache: cache.clone(),
            table: SharedTable::new(before.clone()),
            before,
        }
    }

    fn blob_key(&self, digest: Digest) -> String {
        format!("{}{}{digest}", self.cache.prefix, self.cache.blobs_prefix)
    }

    /// The size of a blob that is there; an old one is made young.
    fn look(&self, digest: Digest) -> Result<Option<u64>, BackendError> {
        let key = self.blob_key(digest);
        let Some(Object { size, modified }) = self.bucket.head(&key)? else {
            return Ok(None);
        };
        let age = modified.map(|modified| Timestamp::now().duration_since(modified));
        let is_old = age.is_some_and(|age| age.as_secs() > self.cache.touch_refresh_seconds);
        if is_old && size <= COPY_LIMIT {
            self.bucket.touch(&key)?;
        }
        Ok(Some(size))
    }

    /// Sends an object in parts, several at a time.
    fn send_parts(&self, key: &str, size: u64, bytes: &mut dyn Read) -> Result<(), BackendError> {
        let upload = self.bucket.begin(key)?;
        let sent = self.parts(key, &upload, size, bytes);
        let completed = sent.and_then(|tags| Ok(self.bucket.complete(key, &upload, &tags)?));
        if completed.is_err() {
            // What is left of it is the bucket's own to remove.
            let _left = self.bucket.abort(key, &upload);
        }
        completed
    }

    fn parts(
        &self,
        key: &str,
        upload: &str,
        size: u64,
        bytes: &mut dyn Read,
    ) -> Result<Vec<String>, BackendError> {
        let part = PART.max(size.div_ceil(PARTS));
        let mut tags = Vec::new();
        loop {
            let mut batch = Vec::new();
            while batch.len() < AT_ONCE {
                let mut chunk = Vec::new();
                let read = bytes.take(part).read_to_end(&mut chunk);
                if read.map_err(BackendError::Pack)? == 0 {
                    break;
                }
                batch.push(chunk);
            }
            if batch.is_empty() {
                return Ok(tags);
            }
            let first = u32::try_from(tags.len() + 1).unwrap_or(u32::MAX);
            let sent = std::thread::scope(|scope| {
                let threads: Vec<_> = (first..)
                    .zip(&batch)
                    .map(|(number, chunk)| {
                        scope.spawn(move || self.bucket.part(key, upload, number, chunk))
                    })
                    .collect();
                let sent = threads.into_iter().map(|thread| match thread.join() {
                    Ok(sent) => sent,
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                sent.collect::<Result<Vec<_>, S3Error>>()
            });
            tags.extend(sent?);
        }
    }
}

fn manifest_key(cache: &S3Cache, name: &str) -> String {
    format!("{}{}{name}", cache.prefix, cache.manifests_prefix)
}

/// The records under a name; nothing when there are none.
fn read_table(bucket: &Bucket, cache: &S3Cache, name: &str) -> Result<Option<Table>, BackendError> {
    let key = manifest_key(cache, name);
    let Some(response) = bucket.get(&key, 0)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let mut body = response.body.take(DOCUMENT_LIMIT + 1);
    body.read_to_end(&mut bytes)
        .map_err(|source| S3Error::broke(&key, source))?;
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(BackendError::damaged(key, "it is too large"));
    }
    Table::parse(&bytes).map(Some)
}

impl Backend for S3Backend {
    fn blob_size(&self, digest: Digest) -> Result<Option<u64>, BackendError> {
        self.look(digest)
    }

    fn read_blob(
        &self,
        _store: &Store,
        digest: Digest,
        size: u64,
    ) -> Result<Box<dyn Read + Send>, BackendError> {
        let key = self.blob_key(digest);
        let reader = ObjectReader::open(&self.bucket, key, size)?;
        Ok(Box::new(reader))
    }

    fn write_blob<'a>(&'a self, store: &'a Store) -> Result<Box<dyn BlobSink + 'a>, BackendError> {
        Ok(Box::new(Spool::begin(store, self)?))
    }

    fn add_blob(&self, blob: &Descriptor, source: &BlobSource<'_>) -> Result<bool, BackendError> {
        if self.look(blob.digest)? == Some(blob.size) {
            return Ok(false);
        }
        let key = self.blob_key(blob.digest);
        let mut bytes = (source.open)().map_err(BackendError::Pack)?;
        if blob.size > PART {
            self.send_parts(&key, blob.size, &mut bytes)?;
            return Ok(true);
        }
        let mut whole = Vec::new();
        let read = bytes.take(PART + 1).read_to_end(&mut whole);
        read.map_err(BackendError::Pack)?;
        self.bucket.put(&key, &whole)?;
        Ok(true)
    }

    fn get_record(&self, key: RecordKey) -> Result<Option<Vec<u8>>, BackendError> {
        Ok(self.table.lock().get(key).map(<[u8]>::to_vec))
    }

    fn put_record(&self, key: RecordKey, bytes: &[u8]) -> Result<(), BackendError> {
        self.table.lock().insert(key, bytes.to_vec());
        Ok(())
    }

    fn finish(&self, named: &Named, before: Before) -> Result<(), BackendError> {
        let table = self.table.lock().exported(named, before, &self.before);
        let bytes = table.to_bytes(true)?;
        // Also where it is the same: it must not grow old.
        for name in &self.cache.names {
            let key = manifest_key(&self.cache, name);
            if bytes.len() as u64 > PART {
                self.send_parts(&key, bytes.len() as u64, &mut &bytes[..])?;
            } else {
                self.bucket.put(&key, &bytes)?;
            }
        }
        Ok(())
    }

    fn layers_at_once(&self) -> usize {
        self.cache.upload_parallelism
    }
}
