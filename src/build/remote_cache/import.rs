//! Results that were made elsewhere: found by key, fetched when they are needed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::backend::{Backend, BackendError, Checked};
use super::record::{self, ContentRecord, LayerRecord, StepRecord};
use super::{CachePlace, CacheSource, Doors, keep, mounts, open_source};
use crate::build::key;
use crate::image::{self, Image};
use crate::oci::{CacheKey, ChainId, DiffId, Digest, Reference};
use crate::progress::{Event, Sink};
use crate::snapshot::{ChainError, ensure_chain};
use crate::store::{self, CacheMountKey, CacheRecord, KeyPart, SnapshotId};

/// A step whose result was found elsewhere.
#[derive(Debug)]
pub(in crate::build) struct Hit {
    /// Which source it was found in.
    source: usize,
    record: StepRecord,
}

impl Hit {
    /// The whole tree, bottom first.
    pub(in crate::build) fn layers(&self) -> &[DiffId] {
        &self.record.layers
    }

    /// The notes of the record that are true anywhere: not those with numbers of
    /// another store's snapshots.
    pub(in crate::build) fn notes(&self) -> impl Iterator<Item = KeyPart> {
        let parts = self.record.key_parts().into_iter();
        parts.filter(|part| part.name.starts_with('@') && !key::is_local(&part.name))
    }

    /// The record as the store would keep it, for comparing keys.
    pub(in crate::build) fn as_record(&self, key: CacheKey) -> CacheRecord {
        CacheRecord {
            key,
            line: self.record.line,
            result: None,
            parts: self.record.key_parts(),
            parent: None,
            description: self.record.description.clone(),
        }
    }

    pub(super) fn record(&self) -> &StepRecord {
        &self.record
    }
}

/// A place that a cache is read from; opened when it is first looked into.
struct Source {
    place: CachePlace,
    backend: OnceLock<Option<Box<dyn Backend>>>,
    name: String,
    /// Whether the user was told that something is wrong with it.
    warned: AtomicBool,
}

/// The sources of a build, and what was found in them.
pub(in crate::build) struct Imports<'a> {
    doors: Doors<'a>,
    sink: &'a dyn Sink,
    sources: Arc<[Source]>,
    hits: Mutex<BTreeMap<usize, Arc<Hit>>>,
    /// Whether a hit turned out to be none.
    lost: AtomicBool,
    /// Blobs that were not what they should be.
    damaged: Arc<Mutex<BTreeSet<Digest>>>,
}

/// Why a result cannot be fetched.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum ImportError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl<'a> Imports<'a> {
    /// Nothing is opened until it is looked into: a build that finds everything
    /// here asks nobody.
    pub(in crate::build) fn new(
        doors: Doors<'a>,
        sink: &'a dyn Sink,
        wanted: &[CacheSource],
    ) -> Self {
        let source = |wanted: &CacheSource| Source {
            place: wanted.place.clone(),
            backend: OnceLock::new(),
            name: wanted.place.to_string(),
            warned: AtomicBool::new(false),
        };
        Self {
            doors,
            sink,
            sources: wanted.iter().map(source).collect(),
            hits: Mutex::default(),
            lost: AtomicBool::new(false),
            damaged: Arc::default(),
        }
    }

    /// A source, opened; nothing when it cannot be, which the user is told once.
    fn opened(&self, number: usize) -> Option<&dyn Backend> {
        let source = &self.sources[number];
        let opened = source.backend.get_or_init(|| {
            open_source(&self.doors, &source.place)
                .inspect_err(|err| self.warn(number, err))
                .ok()
        });
        opened.as_deref()
    }

    /// The same sources, with nothing found yet: for another graph.
    pub(in crate::build) fn anew(&self) -> Self {
        Self {
            doors: self.doors,
            sink: self.sink,
            sources: Arc::clone(&self.sources),
            hits: Mutex::default(),
            lost: AtomicBool::new(false),
            damaged: Arc::clone(&self.damaged),
        }
    }

    /// Whether there is nothing to look into.
    pub(in crate::build) fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    fn hits(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Hit>>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was found for the steps of another plan.
    pub(in crate::build) fn forget(&self) {
        self.hits().clear();
    }

    /// Looks for the result of a step by its key and remembers it as that of `vertex`.
    pub(in crate::build) fn look_up(&self, vertex: usize, key: CacheKey) -> bool {
        let found = self.find(|backend| record::get::<StepRecord>(backend, key.0));
        let Some((source, record)) = found else {
            return false;
        };
        let hit = Arc::new(Hit { source, record });
        self.hits().insert(vertex, hit);
        true
    }

    /// The same, by what the step does and the content it does it to.
    pub(in crate::build) fn look_up_content(&self, vertex: usize, content: Digest) -> bool {
        let found = self.find(|backend| {
            let Some(named) = record::get::<ContentRecord>(backend, content)? else {
                return Ok(None);
            };
            record::get::<StepRecord>(backend, named.step.0)
        });
        let Some((source, record)) = found else {
            return false;
        };
        let hit = Arc::new(Hit { source, record });
        self.hits().insert(vertex, hit);
        true
    }

    /// The first answer of a source; what is wrong with the others is warned of once.
    fn find<T>(
        &self,
        ask: impl Fn(&dyn Backend) -> Result<Option<T>, BackendError>,
    ) -> Option<(usize, T)> {
        for number in 0..self.sources.len() {
            let Some(backend) = self.opened(number) else {
                continue;
            };
            match ask(backend) {
                Ok(Some(answer)) => return Some((number, answer)),
                Ok(None) => {}
                Err(err) => self.warn(number, &err),
            }
        }
        None
    }

    /// What was found for a step.
    pub(in crate::build) fn hit(&self, vertex: usize) -> Option<Arc<Hit>> {
        self.hits().get(&vertex).cloned()
    }

    /// Whether anything was found for a step.
    pub(in crate::build) fn has(&self, vertex: usize) -> bool {
        self.hits().contains_key(&vertex)
    }

    /// The name of the place where a hit was found.
    pub(in crate::build) fn place(&self, hit: &Hit) -> &str {
        &self.sources[hit.source].name
    }

    pub(super) fn backend(&self, hit: &Hit) -> &dyn Backend {
        self.opened(hit.source)
            .expect("what was found somewhere was found in an open source")
    }

    /// The repositories among the sources that have a layer in this blob. Those
    /// that nobody looked into are left out.
    pub(super) fn repositories_of(&self, layer: &LayerRecord) -> Vec<&Reference> {
        let opened = self
            .sources
            .iter()
            .filter_map(|source| source.backend.get());
        let has = |backend: &&dyn Backend| {
            let known = record::get::<LayerRecord>(*backend, layer.diff_id.0);
            known.is_ok_and(|known| known.is_some_and(|known| known.blob == layer.blob))
        };
        let having = opened.filter_map(Option::as_deref).filter(has);
        having.filter_map(Backend::repository).collect()
    }

    /// Blobs that are not what they should be, for whoever could write them anew.
    pub(super) fn is_damaged(&self, blob: Digest) -> bool {
        let damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.contains(&blob)
    }

    /// Whether a hit was lost since the last call.
    pub(in crate::build) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }

    /// Makes a tree of what was found for a step: layers that are not here yet are
    /// fetched. `base` is the image that the tree begins with. `None` when that
    /// fails: then the step is as if it had never been found.
    pub(in crate::build) fn fetch(
        &self,
        vertex: usize,
        base: Option<&Image>,
    ) -> Option<SnapshotId> {
        let hit = self.hit(vertex)?;
        match self.materialize(&hit, base) {
            Ok(Some(id)) => Some(id),
            Ok(None) => None,
            Err(err) => {
                self.hits().remove(&vertex);
                self.lost.store(true, Ordering::Relaxed);
                self.warn(hit.source, &err);
                None
            }
        }
    }

    /// Fills a cache mount that is empty with what was exported of it, if anything
    /// was; whether it did. What fails is warned of, and the mount stays empty.
    pub(in crate::build) fn restore_mount(&self, key: &CacheMountKey, target: &Path) -> bool {
        if self.sources.is_empty() || !mounts::is_empty(target) {
            return false;
        }
        let Some((source, record)) = self.find(|backend| mounts::find(backend, key)) else {
            return false;
        };
        let Some(backend) = self.opened(source) else {
            return false;
        };
        let store = self.doors.store;
        let restored = mounts::turn(store, target).and_then(|_turn| {
            if mounts::is_empty(target) {
                mounts::restore(store, backend, &record, target)?;
            }
            Ok(())
        });
        if let Err(err) = &restored {
            self.warn(source, err);
        }
        restored.is_ok()
    }

    fn materialize(
        &self,
        hit: &Hit,
        base: Option<&Image>,
    ) -> Result<Option<SnapshotId>, ImportError> {
        let mut fetched: Vec<LayerRecord> = Vec::new();
        let mut copies: Vec<(LayerRecord, keep::Copy)> = Vec::new();
        let backend = self.backend(hit);
        let layers = hit.layers();
        let opened = &mut fetched;
        let top = ensure_chain(self.doors.store, layers, &mut |index| {
            if let Some(image) = base
                && image.config.rootfs.diff_ids.get(index) == layers.get(index)
            {
                return Ok(image::open_layer(self.doors.store, image, index)?);
            }
            let layer = record::get::<LayerRecord>(backend, layers[index].0)?;
            let layer = layer.ok_or_else(|| {
                BackendError::damaged(format!("layer {}", layers[index]), "it is missing")
            })?;
            let bytes = backend.read_blob(self.doors.store, layer.blob, layer.size)?;
            let checked = Checked::new(bytes, layer.blob, layer.size);
            // It goes out again as it came, if it does.
            let is_kept = self.doors.keeps_blobs && layer.form.is_some();
            let reader: Box<dyn Read + Send> = if is_kept {
                let (reader, copy) = keep::copied(self.doors.store, checked)?;
                copies.push((layer.clone(), copy));
                Box::new(reader)
            } else {
                Box::new(checked)
            };
            opened.push(layer);
            Ok::<_, ImportError>(reader)
        });
        let top = top.inspect_err(|_| {
            // The last one opened is the one that failed.
            let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
            damaged.extend(fetched.last().map(|layer| layer.blob));
        })?;
        for (layer, copy) in copies {
            copy.keep(self.doors.store, &layer);
        }
        self.date(layers, &fetched)?;
        Ok(top)
    }

    /// Gives fetched layers the time at which they were made: an image has its date
    /// from its layers, and shall be the same here as there.
    fn date(&self, layers: &[DiffId], fetched: &[LayerRecord]) -> Result<(), ImportError> {
        let now = jiff::Timestamp::now().as_nanosecond();
        let mut below: Option<ChainId> = None;
        for diff_id in layers {
            let chain = below.map_or_else(|| ChainId::base(*diff_id), |chain| chain.push(*diff_id));
            below = Some(chain);
            let Some(layer) = fetched.iter().find(|layer| layer.diff_id == *diff_id) else {
                continue;
            };
            let is_past = layer.created_at > 0 && i128::from(layer.created_at) <= now;
            if is_past && let Some(row) = self.doors.store.snapshot_by_chain(chain)? {
                self.doors
                    .store
                    .snapshot_set_created(row.id, layer.created_at)?;
            }
        }
        Ok(())
    }

    fn warn(&self, source: usize, err: &dyn std::error::Error) {
        let source = &self.sources[source];
        if !source.warned.swap(true, Ordering::Relaxed) {
            warn(self.sink, &source.name, err);
        }
    }
}

/// Tells of a source that cannot be used, with all causes.
fn warn(sink: &dyn Sink, name: &str, err: &dyn std::error::Error) {
    sink.event(Event::Warning(format!(
        "cannot use the cache of {name}: {}; the build goes on without it",
        causes(err)
    )));
}

/// An error and its causes on one line.
pub(in crate::build) fn causes(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(next) = cause {
        let more = next.to_string();
        // `transparent` errors print their source themselves.
        if !text.ends_with(&more) {
            text.push_str(&format!(": {more}"));
        }
        cause = next.source();
    }
    text
}
