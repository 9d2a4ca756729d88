//! Results to a place where other builds find them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::backend::{
    Backend, BackendError, Before, BlobSink, BlobSource, Checked, Named, RecordKey,
};
use super::compress::pack_into;
use super::import::{Hit, Imports, causes};
use super::record::{self, ContentRecord, LayerRecord, Record, StepRecord, VERSION};
use super::{CacheMode, CacheTarget, Doors, mounts, open_target};
use crate::build::key;
use crate::layer::decompress;
use crate::oci::{CacheKey, DiffId, Digest, Hasher, Reference};
use crate::snapshot::layer_dir;
use crate::store::{BlobWriter, CacheMountKey, CacheRecord, SnapshotId, SnapshotRow, Store};

/// A step that has a result.
pub(in crate::build) struct ExportStep {
    /// Its key.
    pub(in crate::build) key: CacheKey,
    /// Its other name, where that is known.
    pub(in crate::build) content: Option<Digest>,
    /// Its tree.
    pub(in crate::build) result: ExportResult,
    /// How many of the tree's layers are the base image's.
    pub(in crate::build) base: usize,
    /// Whether the image has its layer.
    pub(in crate::build) in_image: bool,
    /// Whether it was made anew although there may be an older result.
    pub(in crate::build) renewed: bool,
}

/// Where the tree of a step is.
pub(in crate::build) enum ExportResult {
    /// Here.
    Snapshot(SnapshotId),
    /// Where it was found.
    Hit(Arc<Hit>),
}

/// What an export wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::build) struct Exported {
    /// Steps.
    pub(in crate::build) steps: usize,
    /// Layers that were written.
    pub(in crate::build) layers: usize,
    /// Their bytes, compressed.
    pub(in crate::build) bytes: u64,
    /// Layers that were there already.
    pub(in crate::build) known: usize,
    /// Cache mounts.
    pub(in crate::build) mounts: usize,
    /// Cache mounts that stayed behind, and why.
    pub(in crate::build) left: Vec<String>,
}

impl fmt::Display for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            steps,
            layers,
            bytes,
            known,
            mounts,
            ..
        } = self;
        write!(
            f,
            "{steps} steps, {layers} layers written ({bytes} bytes), {known} there already"
        )?;
        match mounts {
            0 => Ok(()),
            mounts => write!(f, ", {mounts} cache mounts"),
        }
    }
}

/// Writes results to one place.
pub(in crate::build) struct Exporter<'a> {
    store: &'a Store,
    imports: &'a Imports<'a>,
    target: &'a CacheTarget,
    backend: Box<dyn Backend>,
    /// The names of the image, which may be where the cache goes.
    names: &'a [Reference],
}

/// A layer to be written: where its bytes come from.
enum LayerSource<'a> {
    Snapshot(SnapshotRow),
    Hit(&'a Hit, DiffId),
}

impl<'a> Exporter<'a> {
    /// Opens the place.
    pub(in crate::build) fn open(
        doors: &Doors<'a>,
        imports: &'a Imports<'a>,
        target: &'a CacheTarget,
    ) -> Result<Self, BackendError> {
        Ok(Self {
            store: doors.store,
            imports,
            target,
            backend: open_target(doors, &target.place)?,
            names: doors.names,
        })
    }

    /// Writes what the target's mode asks for: layers first, then what names them.
    /// `is_whole` says that nothing of the build is missing.
    pub(in crate::build) fn export(
        &self,
        steps: &[ExportStep],
        mounts: &[CacheMountKey],
        is_whole: bool,
    ) -> Result<Exported, BackendError> {
        let mode = self.target.mode;
        let wanted: Vec<&ExportStep> = steps
            .iter()
            .filter(|step| mode == CacheMode::Max || step.in_image)
            .collect();
        let mut sources: BTreeMap<LayerName, LayerSource<'_>> = BTreeMap::new();
        let mut stacks = Vec::new();
        for step in &wanted {
            stacks.push(self.stack(step, &mut sources)?);
        }
        let written = self.write_layers(sources)?;
        let mut exported = Exported::default();
        let mut named = Named::default();
        for layer in written.values() {
            if layer.is_sent {
                exported.layers += 1;
                exported.bytes += layer.record.size;
            } else {
                exported.known += 1;
            }
            let blob = layer.record.descriptor();
            named.blobs.insert(blob.digest, blob);
            let key = self.put(layer.record.diff_id.0, &layer.record, layer.is_new)?;
            named.records.insert(key);
        }
        for (step, stack) in wanted.iter().zip(stacks) {
            let diff_id = |name: &LayerName| match name {
                LayerName::Known(diff_id) => Some(*diff_id),
                LayerName::Unknown(_) => written.get(name).map(|layer| layer.record.diff_id),
            };
            // Layers of the base image are where the image is.
            let is_there = |name: &LayerName| written.contains_key(name);
            if !stack.iter().skip(step.base).all(is_there) {
                continue;
            }
            let layers: Option<Vec<DiffId>> = stack.iter().map(diff_id).collect();
            if let Some(layers) = layers
                && let Some(record) = self.record(step, layers)?
            {
                named.records.extend(self.put_step(step, &record)?);
                exported.steps += 1;
            }
        }
        let carried = mounts::export(self.store, &*self.backend, self.target, mounts)?;
        for (key, blob) in carried.records {
            exported.mounts += 1;
            named.records.insert(key);
            named.blobs.insert(blob.digest, blob);
        }
        exported.left = carried.left;
        let before = match (self.target.reset, is_whole) {
            (true, _) => Before::Goes,
            (false, true) => Before::AsUsual,
            (false, false) => Before::Stays,
        };
        self.backend.finish(&named, before)?;
        Ok(exported)
    }

    /// The names of a tree's layers, bottom first; those that are to be written are
    /// added to `sources`.
    fn stack<'h>(
        &self,
        step: &'h ExportStep,
        sources: &mut BTreeMap<LayerName, LayerSource<'h>>,
    ) -> Result<Vec<LayerName>, BackendError> {
        let mut names = Vec::new();
        match &step.result {
            ExportResult::Snapshot(id) => {
                let mut rows = self.store.snapshot_stack(*id)?;
                rows.reverse();
                for (index, row) in rows.into_iter().enumerate() {
                    let name = row
                        .diff_id
                        .map_or(LayerName::Unknown(row.id), LayerName::Known);
                    names.push(name);
                    if index >= step.base {
                        sources.entry(name).or_insert(LayerSource::Snapshot(row));
                    }
                }
            }
            ExportResult::Hit(hit) => {
                for (index, diff_id) in hit.layers().iter().enumerate() {
                    let name = LayerName::Known(*diff_id);
                    names.push(name);
                    if index >= step.base {
                        let source = LayerSource::Hit(hit, *diff_id);
                        sources.entry(name).or_insert(source);
                    }
                }
            }
        }
        Ok(names)
    }

    /// Writes the layers that are not there, several at a time.
    fn write_layers(
        &self,
        sources: BTreeMap<LayerName, LayerSource<'_>>,
    ) -> Result<BTreeMap<LayerName, Layer>, BackendError> {
        let threads = self.backend.layers_at_once().min(sources.len()).max(1);
        let queue = Mutex::new(sources.into_iter());
        let results = Mutex::new(Vec::new());
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some((name, source)) = next() {
                        let layer = self.write_layer(source);
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        results.push((name, layer));
                    }
                });
            }
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut layers = BTreeMap::new();
        for (name, layer) in results {
            if let Some(layer) = layer? {
                layers.insert(name, layer);
            }
        }
        Ok(layers)
    }

    /// Writes a layer unless it is there; `None` for one that cannot be had any more.
    fn write_layer(&self, source: LayerSource<'_>) -> Result<Option<Layer>, BackendError> {
        let diff_id = match &source {
            LayerSource::Snapshot(row) => row.diff_id,
            LayerSource::Hit(_, diff_id) => Some(*diff_id),
        };
        if let Some(diff_id) = diff_id
            && let Some(record) = self.known(diff_id)?
        {
            return Ok(Some(Layer {
                record,
                is_new: false,
                is_sent: false,
            }));
        }
        let written = match source {
            LayerSource::Snapshot(row) => self.pack(&row),
            LayerSource::Hit(hit, diff_id) => self.copy(hit, diff_id),
        };
        match (written, diff_id) {
            (Ok((record, is_sent)), _) => Ok(Some(Layer {
                record,
                is_new: true,
                is_sent,
            })),
            // The next build makes it again.
            (Err(BackendError::Damaged { .. }), Some(_)) => Ok(None),
            (Err(err), _) => Err(err),
        }
    }

    /// The record of a layer that is there already, whole as far as can be seen.
    fn known(&self, diff_id: DiffId) -> Result<Option<LayerRecord>, BackendError> {
        // A damaged record is one that has to be written.
        let Ok(Some(record)) = record::get::<LayerRecord>(&*self.backend, diff_id.0) else {
            return Ok(None);
        };
        if self.has_other_form(&record) || self.imports.is_damaged(record.blob) {
            return Ok(None);
        }
        let size = self.backend.blob_size(record.blob)?;
        Ok((size == Some(record.size)).then_some(record))
    }

    /// Whether a layer must be compressed anew.
    fn has_other_form(&self, record: &LayerRecord) -> bool {
        let target = self.target;
        target.force_compression && record.media_type != target.compression.media_type()
    }

    /// Packs a layer of this store; whether its bytes had to be sent.
    fn pack(&self, row: &SnapshotRow) -> Result<(LayerRecord, bool), BackendError> {
        let compression = self.target.compression;
        let record = |diff_id, blob, size, tar_size| LayerRecord {
            version: VERSION,
            diff_id,
            blob,
            size,
            media_type: compression.media_type().to_owned(),
            tar_size,
            created_at: row.created_at,
            form: compression.codec().map(|codec| codec.to_string()),
        };
        if let (Some(codec), Some(diff_id)) = (compression.codec(), row.diff_id)
            && let Some(blob) = self.store.compressed_get(diff_id, &codec.to_string())?
        {
            // A push has made it: the registry may have it under the image's name.
            let record = record(diff_id, blob.digest, blob.size, row.tar_size.unwrap_or(0));
            let open = || match self.store.blob_open(blob.digest) {
                Ok(file) => Ok(Box::new(file) as Box<dyn Read + Send>),
                Err(err) => Err(io::Error::other(err)),
            };
            let source = BlobSource {
                open: &open,
                repository: self.elsewhere(&record),
            };
            let sent = self.backend.add_blob(&record.descriptor(), &source)?;
            return Ok((record, sent));
        }
        let dir = layer_dir(self.store, row.id);
        let sink = HashingSink::new(self.backend.write_blob(self.store)?);
        let (packed, sink) = pack_into(&dir, compression, sink)?;
        match row.diff_id {
            Some(want) if want != packed.diff_id => {
                let why = format!("its tree packs to {}", packed.diff_id);
                return Err(BackendError::damaged(format!("layer {want}"), why));
            }
            Some(_) => {}
            None => {
                let (diff_id, size) = (packed.diff_id, packed.size);
                self.store.snapshot_set_diff(row.id, diff_id, size)?;
            }
        }
        let (blob, size) = sink.commit()?;
        Ok((record(packed.diff_id, blob, size, packed.size), true))
    }

    /// Another repository of the target's registry that has a blob, or may have it.
    fn elsewhere(&self, record: &LayerRecord) -> Option<&Reference> {
        let host = self.backend.repository()?.host();
        let mut names = self.names.iter();
        self.imports
            .repositories_of(record)
            .into_iter()
            .find(|place| place.host() == host)
            .or_else(|| names.find(|name| name.host() == host))
    }

    /// Copies a layer from where it was found; whether its bytes had to be sent.
    fn copy(&self, hit: &Hit, diff_id: DiffId) -> Result<(LayerRecord, bool), BackendError> {
        let source = self.imports.backend(hit);
        let missing = || BackendError::damaged(format!("layer {diff_id}"), "it is missing");
        let record = record::get::<LayerRecord>(source, diff_id.0)?.ok_or_else(missing)?;
        if self.has_other_form(&record) {
            return Ok((self.compress_again(source, &record)?, true));
        }
        // It comes only if it has to go on, and once, whatever becomes of its sending.
        let bytes: OnceLock<Result<BlobWriter, BackendError>> = OnceLock::new();
        let open = || match bytes.get_or_init(|| self.take(source, &record)) {
            Ok(spool) => Ok(Box::new(File::open(spool.path())?) as Box<dyn Read + Send>),
            Err(err) => Err(io::Error::other(err.to_string())),
        };
        let blob = BlobSource {
            open: &open,
            repository: source.repository(),
        };
        let sent = self.backend.add_blob(&record.descriptor(), &blob);
        if let Some(Err(err)) = bytes.into_inner() {
            return Err(BackendError::damaged(
                format!("layer {diff_id}"),
                causes(&err),
            ));
        }
        Ok((record, sent?))
    }

    /// The bytes of a layer in a temporary file, checked.
    fn take(&self, source: &dyn Backend, record: &LayerRecord) -> Result<BlobWriter, BackendError> {
        let bytes = source.read_blob(self.store, record.blob, record.size)?;
        let mut bytes = Checked::new(bytes, record.blob, record.size);
        let mut spool = self.store.blob_writer()?;
        io::copy(&mut bytes, &mut spool)
            .and_then(|_| spool.flush())
            .map_err(BackendError::Pack)?;
        Ok(spool)
    }

    /// Copies a layer in another form than it is found in.
    fn compress_again(
        &self,
        source: &dyn Backend,
        record: &LayerRecord,
    ) -> Result<LayerRecord, BackendError> {
        let damaged =
            |err: io::Error| BackendError::damaged(format!("layer {}", record.diff_id), err);
        let bytes = source.read_blob(self.store, record.blob, record.size)?;
        let bytes = Checked::new(bytes, record.blob, record.size);
        let (_, mut plain) = decompress(bytes).map_err(damaged)?;
        let sink = HashingSink::new(self.backend.write_blob(self.store)?);
        let compression = self.target.compression;
        let sink = compression.compress(&mut plain, sink).map_err(damaged)?;
        let (blob, size) = sink.commit()?;
        Ok(LayerRecord {
            blob,
            size,
            media_type: compression.media_type().to_owned(),
            form: compression.codec().map(|codec| codec.to_string()),
            ..record.clone()
        })
    }

    /// The record of a step, if the store still has it.
    fn record(
        &self,
        step: &ExportStep,
        layers: Vec<DiffId>,
    ) -> Result<Option<StepRecord>, BackendError> {
        if let ExportResult::Hit(hit) = &step.result {
            let mut record = hit.record().clone();
            record.key = step.key;
            return Ok(Some(record));
        }
        let record = self.store.cache_peek(step.key)?;
        Ok(record.map(|record| portable(record, layers, step.content)))
    }

    /// Writes the record of a step, and its other name.
    fn put_step(
        &self,
        step: &ExportStep,
        record: &StepRecord,
    ) -> Result<Vec<RecordKey>, BackendError> {
        let replace = step.renewed || !self.stands(step, record)?;
        let mut named = vec![self.put(step.key.0, record, replace)?];
        if let Some(content) = record.content {
            let alias = ContentRecord {
                version: VERSION,
                step: step.key,
            };
            named.push(self.put(content, &alias, replace)?);
        }
        Ok(named)
    }

    /// Whether the record that is there already leads to layers that are there too.
    fn stands(&self, step: &ExportStep, record: &StepRecord) -> Result<bool, BackendError> {
        let Ok(Some(there)) = record::get::<StepRecord>(&*self.backend, step.key.0) else {
            return Ok(false);
        };
        if there.layers == record.layers {
            return Ok(true);
        }
        for layer in there.layers.iter().skip(step.base) {
            if self.known(*layer)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes a record unless a good one is there already and may stay.
    fn put<T: Record>(
        &self,
        id: Digest,
        record: &T,
        replace: bool,
    ) -> Result<RecordKey, BackendError> {
        let is_there = matches!(record::get::<T>(&*self.backend, id), Ok(Some(_)));
        if is_there && !replace {
            return Ok(RecordKey { kind: T::KIND, id });
        }
        record::put(&*self.backend, id, record)
    }
}

/// A cache record without what only this store knows.
pub(super) fn portable(
    record: CacheRecord,
    layers: Vec<DiffId>,
    content: Option<Digest>,
) -> StepRecord {
    StepRecord {
        version: VERSION,
        key: record.key,
        line: record.line,
        description: record.description,
        layers,
        parts: record
            .parts
            .into_iter()
            .filter(|part| !key::is_local(&part.name))
            .map(|part| (part.name, part.value))
            .collect(),
        content,
    }
}

/// Names a layer before its diff ID is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LayerName {
    Known(DiffId),
    Unknown(SnapshotId),
}

struct Layer {
    record: LayerRecord,
    /// Whether its record is to be written.
    is_new: bool,
    /// Whether its bytes went.
    is_sent: bool,
}

/// A blob that is hashed while it is written.
pub(super) struct HashingSink<'a> {
    sink: Box<dyn BlobSink + 'a>,
    hasher: Hasher,
    size: u64,
}

impl<'a> HashingSink<'a> {
    /// Hashes what goes into `sink`.
    pub(super) fn new(sink: Box<dyn BlobSink + 'a>) -> Self {
        Self {
            sink,
            hasher: Hasher::new(),
            size: 0,
        }
    }

    /// Ends the blob; returns its digest and size.
    pub(super) fn commit(self) -> Result<(Digest, u64), BackendError> {
        let digest = self.hasher.finish();
        self.sink.commit(digest)?;
        Ok((digest, self.size))
    }
}

impl Write for HashingSink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.sink.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}
