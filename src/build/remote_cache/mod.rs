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
mod inline;
mod keep;
mod local;
mod mounts;
mod record;
mod registry;
mod request;
mod s3;
mod spool;
mod table;

pub(super) use content::content_key;
pub(super) use export::{ExportResult, ExportStep};
pub(super) use import::{Imports, causes};
pub(super) use inline::{Embedded, embedded};
pub use request::{
    CacheCompression, CacheMode, CacheMounts, CachePlace, CacheSource, CacheTarget, RegistryCache,
    S3Cache,
};
pub use s3::region as s3_region;

use std::sync::Arc;
use std::time::Instant;

use crate::oci::{Platform, Reference};
use crate::progress::{Event, Outcome, Sink, StepId};
use crate::registry::{Access, Client};
use crate::store::{CacheMountKey, Store};
use backend::{Backend, BackendError};
use export::{Exported, Exporter};
use inline::InlineCache;
use local::LocalCache;
use registry::RegistryBackend;
use s3::S3Backend;

/// What leads to the places of caches.
#[derive(Clone, Copy)]
pub(super) struct Doors<'a> {
    /// The store, for what is on its way.
    pub(super) store: &'a Store,
    /// The way to registries.
    pub(super) registries: Option<&'a Access>,
    /// The platforms that are built for.
    pub(super) platforms: &'a [Platform],
    /// The names of the image.
    pub(super) names: &'a [Reference],
    /// Whether blobs that come are kept as they are, for an image that may go on.
    pub(super) keeps_blobs: bool,
}

impl Doors<'_> {
    /// The client for a cache in a registry.
    fn client(&self, place: &RegistryCache) -> Result<Arc<Client>, BackendError> {
        let access = self.registries.ok_or(BackendError::NoRegistries)?;
        Ok(if place.insecure {
            access.unverified(place.reference.host())?
        } else {
            access.client()?
        })
    }
}

/// What an export of the cache needs.
pub(super) struct Export<'a> {
    /// Where the results are, and the ways out.
    pub(super) doors: Doors<'a>,
    /// What was found elsewhere.
    pub(super) imports: &'a Imports<'a>,
    /// Where progress goes.
    pub(super) sink: &'a dyn Sink,
    /// The number of the first export for progress.
    pub(super) first_step: u32,
    /// Whether the build succeeded.
    pub(super) is_whole: bool,
}

impl Export<'_> {
    /// Carries results to every target. What fails is warned of.
    ///
    /// # Errors
    /// Why a target failed whose failure is to fail the build; the others were tried.
    pub(super) fn run(
        &self,
        targets: &[CacheTarget],
        steps: &[ExportStep],
        mounts: &[CacheMountKey],
    ) -> Result<(), String> {
        let mut result = Ok(());
        for (step, target) in (self.first_step..).zip(targets) {
            let step = StepId(step);
            let began = Instant::now();
            self.sink.event(Event::Started {
                step,
                name: format!("exporting cache to {}", target.place),
                inputs: Vec::new(),
                line: None,
            });
            let exported = self.one(target, steps, mounts);
            let outcome = match exported {
                Ok(exported) => {
                    let text = exported.to_string();
                    self.sink.event(Event::Note { step, text });
                    for left in exported.left {
                        let text = format!("not exported: cache mount {left}");
                        self.sink.event(Event::Note { step, text });
                    }
                    Outcome::Done
                }
                Err(err) => {
                    let why = format!("{}: {}", target.place, causes(&err));
                    if target.ignore_error {
                        let text = format!("cannot export the cache to {why}");
                        self.sink.event(Event::Warning(text));
                    } else {
                        result = Err(why.clone());
                    }
                    Outcome::Failed(why)
                }
            };
            self.sink.event(Event::Finished {
                step,
                outcome,
                took: began.elapsed(),
                layer: None,
                usage: None,
            });
        }
        result
    }

    fn one(
        &self,
        target: &CacheTarget,
        steps: &[ExportStep],
        mounts: &[CacheMountKey],
    ) -> Result<Exported, BackendError> {
        let exporter = Exporter::open(&self.doors, self.imports, target)?;
        exporter.export(steps, mounts, self.is_whole)
    }
}

/// Opens the place that a cache is read from.
fn open_source(doors: &Doors<'_>, place: &CachePlace) -> Result<Box<dyn Backend>, BackendError> {
    match place {
        CachePlace::Local(dir) => Ok(Box::new(LocalCache::open(dir)?)),
        CachePlace::Registry(place) => open_named(doors, place),
        CachePlace::S3(cache) => Ok(Box::new(S3Backend::open(cache)?)),
    }
}

/// Opens what has a name: an image here, a cache in a registry, an image there.
fn open_named(doors: &Doors<'_>, place: &RegistryCache) -> Result<Box<dyn Backend>, BackendError> {
    if let Some(image) = InlineCache::of_store(doors.store, &place.reference)? {
        return Ok(Box::new(image));
    }
    let client = doors.client(place)?;
    let fetched = registry::fetch(&client, &place.reference)?.ok_or(BackendError::Missing)?;
    if registry::is_cache(&fetched) || registry::is_buildkits(&fetched) {
        let cache = RegistryBackend::read(client, place, &fetched)?;
        return Ok(Box::new(cache));
    }
    let image = InlineCache::of_registry(doors, &client, &place.reference, fetched)?;
    Ok(Box::new(image))
}

/// Opens the place that a cache is written to; makes it where it is missing.
fn open_target(doors: &Doors<'_>, place: &CachePlace) -> Result<Box<dyn Backend>, BackendError> {
    match place {
        CachePlace::Local(dir) => Ok(Box::new(LocalCache::create(dir)?)),
        CachePlace::Registry(place) => Ok(Box::new(RegistryBackend::create(doors, place)?)),
        CachePlace::S3(cache) => Ok(Box::new(S3Backend::create(cache)?)),
    }
}
