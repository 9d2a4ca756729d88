//! A cache in the configuration of an image: its layers are the blobs.
//!
//! The configuration gets one more member, which everybody else passes over. Which
//! blobs the layers are is left out of it: that is settled when the image is pushed,
//! so it is read from the manifest.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use serde_json::Value;

use super::Doors;
use super::backend::{
    Backend, BackendError, Before, BlobSink, BlobSource, Named, RecordKey, RecordKind,
};
use super::export::{ExportResult, ExportStep, portable};
use super::record::{ContentRecord, LayerRecord, Record, VERSION};
use super::registry::read_document;
use super::table::{DOCUMENT_LIMIT, Table};
use crate::image::{self, Image};
use crate::layer::{PackOptions, pack_tree};
use crate::oci::media_type;
use crate::oci::{Descriptor, DiffId, Digest, ImageConfig, Index, Manifest, Platform, Reference};
use crate::registry::{Client, Fetched};
use crate::snapshot::layer_dir;
use crate::store::{SnapshotId, SnapshotRow, Store};

/// The member of an image's configuration.
const MEMBER: &str = "rbuild.cache.v1";
/// BuildKit's, whose content is another.
const BUILDKIT_MEMBER: &str = "moby.buildkit.cache.v0";
/// Most images of an index that are looked into.
const IMAGES: usize = 16;

/// What an image takes with it.
#[derive(Debug, Clone, Default)]
pub(in crate::build) struct Embedded(Option<Value>);

impl Embedded {
    /// Puts it into a configuration, in place of what the base image has.
    pub(in crate::build) fn put(&self, config: &mut ImageConfig) {
        for member in [MEMBER, BUILDKIT_MEMBER] {
            config.extra.shift_remove(member);
        }
        if let Some(value) = &self.0 {
            config.extra.insert(MEMBER.to_owned(), value.clone());
        }
    }
}

/// The records of the steps whose layers an image has, for its configuration.
pub(in crate::build) fn embedded(
    store: &Store,
    steps: &[ExportStep],
) -> Result<Embedded, BackendError> {
    let mut table = Table::default();
    for step in steps.iter().filter(|step| step.in_image) {
        let record = match &step.result {
            ExportResult::Snapshot(id) => {
                let layers = layers_of(store, *id)?;
                let own = layers.iter().skip(step.base);
                for layer in own {
                    put(&mut table, layer.diff_id.0, layer)?;
                }
                let diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
                let record = store.cache_peek(step.key)?;
                record.map(|record| portable(record, diff_ids, step.content))
            }
            // It has layers that the image has not.
            ExportResult::Hit(_) => None,
        };
        let Some(record) = record else {
            continue;
        };
        put(&mut table, step.key.0, &record)?;
        if let Some(content) = step.content {
            let alias = ContentRecord {
                version: VERSION,
                step: step.key,
            };
            put(&mut table, content, &alias)?;
        }
    }
    let damaged = |err| BackendError::damaged("the cache in the image", err);
    let value = serde_json::from_slice(&table.to_bytes(false)?).map_err(damaged)?;
    Ok(Embedded(Some(value)))
}

fn put<T: Record>(table: &mut Table, id: Digest, record: &T) -> Result<(), BackendError> {
    let key = RecordKey { kind: T::KIND, id };
    let bytes = serde_json::to_vec(record).map_err(|err| BackendError::damaged(key, err))?;
    table.insert(key, bytes);
    Ok(())
}

/// The layers of a tree, bottom first, each as if it were a blob uncompressed.
fn layers_of(store: &Store, id: SnapshotId) -> Result<Vec<LayerRecord>, BackendError> {
    let mut rows = store.snapshot_stack(id)?;
    rows.reverse();
    // From the bottom up, so that each finds its parent's chain ID.
    rows.iter().map(|row| layer_of(store, row)).collect()
}

fn layer_of(store: &Store, row: &SnapshotRow) -> Result<LayerRecord, BackendError> {
    let (diff_id, size) = if let Some(known) = row.diff_id.zip(row.tar_size) {
        known
    } else {
        let dir = layer_dir(store, row.id);
        let packed = pack_tree(&dir, PackOptions::default(), io::sink())?;
        store.snapshot_set_diff(row.id, packed.diff_id, packed.size)?;
        (packed.diff_id, packed.size)
    };
    Ok(LayerRecord {
        version: VERSION,
        diff_id,
        blob: diff_id.0,
        size,
        media_type: media_type::LAYER.to_owned(),
        tar_size: size,
        created_at: row.created_at,
        form: None,
    })
}

/// An image that is read from.
pub(super) struct InlineCache {
    table: Table,
    /// The blob of each layer.
    layers: BTreeMap<DiffId, Descriptor>,
    bytes: Bytes,
}

/// Where the layers are.
enum Bytes {
    Store(Box<Image>),
    Registry(Arc<Client>, Reference),
}

impl InlineCache {
    /// The cache in an image of the store; nothing without the image or a cache in it.
    pub(super) fn of_store(store: &Store, name: &Reference) -> Result<Option<Self>, BackendError> {
        let Some(id) = store.name_get(name)? else {
            return Ok(None);
        };
        let image = image::find(store, &id.to_string())?;
        let mut cache = Self {
            table: Table::default(),
            layers: BTreeMap::new(),
            bytes: Bytes::Store(Box::new(image.clone())),
        };
        cache.add(&image.manifest, &image.config)?;
        Ok((!cache.table.is_empty()).then_some(cache))
    }

    /// The cache in an image of a registry, whose manifest or index was fetched.
    ///
    /// # Errors
    /// [`BackendError::Other`] when there is none in it.
    pub(super) fn of_registry(
        doors: &Doors<'_>,
        client: &Arc<Client>,
        reference: &Reference,
        fetched: Fetched,
    ) -> Result<Self, BackendError> {
        let mut cache = Self {
            table: Table::default(),
            layers: BTreeMap::new(),
            bytes: Bytes::Registry(Arc::clone(client), reference.clone()),
        };
        let mut is_buildkits = false;
        for fetched in manifests(client, reference, fetched, doors.platforms)? {
            let manifest: Manifest = serde_json::from_slice(&fetched.bytes)
                .map_err(|_| BackendError::Other("it is neither a cache nor an image"))?;
            let what = "the image's configuration";
            if manifest.config.size > DOCUMENT_LIMIT {
                return Err(BackendError::damaged(what, "it is too large"));
            }
            let bytes = read_document(client, reference, &manifest.config, what)?;
            let config: ImageConfig = serde_json::from_slice(&bytes)
                .map_err(|_| BackendError::Other("it is neither a cache nor an image"))?;
            is_buildkits |= config.extra.contains_key(BUILDKIT_MEMBER);
            cache.add(&manifest, &config)?;
        }
        match (cache.table.is_empty(), is_buildkits) {
            (false, _) => Ok(cache),
            (true, true) => Err(BackendError::Other(
                "the image has a cache that BuildKit made, not one of rbuild",
            )),
            (true, false) => Err(BackendError::Other(
                "the image has no cache in it, as `--cache-to type=inline` puts one there",
            )),
        }
    }

    /// Adds what an image has.
    fn add(&mut self, manifest: &Manifest, config: &ImageConfig) -> Result<(), BackendError> {
        let Some(value) = config.extra.get(MEMBER) else {
            return Ok(());
        };
        let damaged = |err| BackendError::damaged("the cache in the image", err);
        let bytes = serde_json::to_vec(value).map_err(damaged)?;
        self.table.merge(Table::parse(&bytes)?);
        let layers = config.rootfs.diff_ids.iter().zip(&manifest.layers);
        self.layers
            .extend(layers.map(|(diff_id, blob)| (*diff_id, blob.clone())));
        Ok(())
    }
}

/// The manifests for the platforms: of an index those that fit.
fn manifests(
    client: &Client,
    reference: &Reference,
    fetched: Fetched,
    platforms: &[Platform],
) -> Result<Vec<Fetched>, BackendError> {
    let kind = media_type::to_oci(&fetched.media_type);
    if kind != media_type::INDEX {
        return Ok(vec![fetched]);
    }
    let index: Index = serde_json::from_slice(&fetched.bytes)
        .map_err(|err| BackendError::damaged("the index", err))?;
    let fits = |blob: &&Descriptor| {
        let Some(own) = &blob.platform else {
            return false;
        };
        let mut wanted = platforms.iter();
        wanted.any(|wanted| (&own.os, &own.architecture) == (&wanted.os, &wanted.architecture))
    };
    let fitting = index.manifests.iter().filter(fits).take(IMAGES);
    fitting
        .map(|blob| Ok(client.manifest_by_digest(reference, blob.digest)?))
        .collect()
}

impl Backend for InlineCache {
    fn blob_size(&self, digest: Digest) -> Result<Option<u64>, BackendError> {
        let blob = self.layers.values().find(|blob| blob.digest == digest);
        Ok(blob.map(|blob| blob.size))
    }

    fn read_blob(
        &self,
        store: &Store,
        digest: Digest,
        size: u64,
    ) -> Result<Box<dyn Read + Send>, BackendError> {
        match &self.bytes {
            Bytes::Registry(client, reference) => {
                let blob = Descriptor::new(media_type::LAYER, digest, size);
                Ok(Box::new(client.blob(reference, &blob, None)?))
            }
            Bytes::Store(image) => {
                let mut layers = image.manifest.layers.iter();
                let index = layers.position(|layer| layer.digest == digest);
                let missing = || {
                    BackendError::damaged(format!("blob {digest}"), "the image has no such layer")
                };
                Ok(image::open_layer(store, image, index.ok_or_else(missing)?)?)
            }
        }
    }

    fn write_blob<'a>(&'a self, _store: &'a Store) -> Result<Box<dyn BlobSink + 'a>, BackendError> {
        Err(BackendError::ReadOnly)
    }

    fn add_blob(&self, _blob: &Descriptor, _source: &BlobSource<'_>) -> Result<bool, BackendError> {
        Err(BackendError::ReadOnly)
    }

    fn get_record(&self, key: RecordKey) -> Result<Option<Vec<u8>>, BackendError> {
        let Some(bytes) = self.table.get(key) else {
            return Ok(None);
        };
        if key.kind != RecordKind::Layer {
            return Ok(Some(bytes.to_vec()));
        }
        let damaged = |err| BackendError::damaged(key, err);
        let mut record: LayerRecord = serde_json::from_slice(bytes).map_err(damaged)?;
        let Some(blob) = self.layers.get(&record.diff_id) else {
            return Ok(None);
        };
        record.blob = blob.digest;
        record.size = blob.size;
        record.media_type.clone_from(&blob.media_type);
        serde_json::to_vec(&record).map(Some).map_err(damaged)
    }

    fn put_record(&self, _key: RecordKey, _bytes: &[u8]) -> Result<(), BackendError> {
        Err(BackendError::ReadOnly)
    }

    fn finish(&self, _named: &Named, _before: Before) -> Result<(), BackendError> {
        Err(BackendError::ReadOnly)
    }

    fn repository(&self) -> Option<&Reference> {
        match &self.bytes {
            Bytes::Registry(_, reference) => Some(reference),
            Bytes::Store(..) => None,
        }
    }
}
