//! The build cache as something that can be carried elsewhere.
//!
//! Out: the layers that steps made, as compressed tars by their digest, and one
//! small record for each step, found by its cache key (`--cache-to`). In: the same
//! on another data root (`--cache-from`): steps whose key is found there do not
//! run, and of their layers only those are fetched that the result or a running
//! step needs.
//!
//! Where it all lies is behind [`Backend`]: blobs by digest, records by key. A
//! record is written after everything that it names, so a killed export leaves
//! nothing but what can be used. Nothing read here is believed: digests, sizes and
//! diff IDs are checked, and what fails a check is as if it were not there.

mod backend;
mod compress;
mod content;
mod export;
mod import;
mod local;
mod record;
mod request;

pub(super) use backend::BackendError;
pub(super) use content::content_key;
pub(super) use export::{ExportResult, ExportStep, Exported, Exporter};
pub(super) use import::{Hit, Imports};
pub(super) use import::causes;
pub use request::{
    CacheCompression, CacheMode, CacheMounts, CachePlace, CacheSource, CacheTarget,
};

use backend::Backend;
use local::LocalCache;

/// Opens the place that a cache is read from.
fn open_source(place: &CachePlace) -> Result<Box<dyn Backend>, BackendError> {
    match place {
        CachePlace::Local(dir) => Ok(Box::new(LocalCache::open(dir)?)),
    }
}

/// Opens the place that a cache is written to; makes it where it is missing.
fn open_target(place: &CachePlace) -> Result<Box<dyn Backend>, BackendError> {
    match place {
        CachePlace::Local(dir) => Ok(Box::new(LocalCache::create(dir)?)),
    }
}
