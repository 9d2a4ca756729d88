//! Cache records: key to result, with the parts of the key.

use super::{Error, SnapshotId, Store};
use crate::oci::{CacheKey, Digest};

/// One named part of a cache key, kept so that a miss can be explained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// What it is: `parent`, `command`, `env PATH`, `file src/main.rs`.
    pub name: String,
    /// Its value, or the digest of it.
    pub value: String,
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// The key.
    pub key: CacheKey,
    /// Which step this is in its Dockerfile, whatever the contents: the same for
    /// two records that differ only in inputs. Used to explain and to reuse.
    pub line: Digest,
    /// The snapshot on which the result lies, or the same as its parent's when
    /// the step changed nothing; `None` for an empty tree.
    pub result: Option<SnapshotId>,
    /// The parts of the key.
    pub parts: Vec<KeyPart>,
}

impl Store {
    /// The result under `key`, if its snapshot is still there; counts as a use.
    pub fn cache_get(&self, key: CacheKey) -> Result<Option<CacheRecord>, Error> {
        let _ = key;
        todo!()
    }

    /// Remembers a result; the first one under a key stays.
    pub fn cache_put(&self, record: &CacheRecord) -> Result<(), Error> {
        let _ = record;
        todo!()
    }

    /// The newest record of the same step with other inputs.
    pub fn cache_nearest(&self, line: Digest) -> Result<Option<CacheRecord>, Error> {
        let _ = line;
        todo!()
    }

    /// Forgets every record (`builder prune -a`); returns how many.
    pub fn cache_clear(&self) -> Result<u64, Error> {
        todo!()
    }
}
