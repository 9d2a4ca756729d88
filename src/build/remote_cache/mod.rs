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
mod mounts;
mod record;
mod request;

pub(super) use content::content_key;
pub(super) use export::{ExportResult, ExportStep};
pub(super) use import::{Imports, causes};
pub use request::{CacheCompression, CacheMode, CacheMounts, CachePlace, CacheSource, CacheTarget};

use std::time::Instant;

use crate::progress::{Event, Outcome, Sink, StepId};
use crate::store::{CacheMountKey, Store};
use backend::{Backend, BackendError};
use export::{Exported, Exporter};
use local::LocalCache;

/// What an export of the cache needs.
pub(super) struct Export<'a> {
    /// Where the results are.
    pub(super) store: &'a Store,
    /// What was found elsewhere.
    pub(super) imports: &'a Imports<'a>,
    /// Where progress goes.
    pub(super) sink: &'a dyn Sink,
    /// The number of the first export for progress.
    pub(super) first_step: u32,
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
        Exporter::open(self.store, self.imports, target)?.export(steps, mounts)
    }
}

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
