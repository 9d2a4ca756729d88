//! A cache in a registry: a manifest under a tag that names every blob, so that
//! the registry keeps them, with the records in its configuration.
//!
//! ```text
//! manifest   config: application/vnd.rbuild.cache.config.v1+json, the records;
//!                    while they are small, in the manifest itself too (`data`)
//!            layers: every blob that a record names
//! ```
//!
//! It is sent last: an export that is killed leaves blobs that nothing names, which
//! the registry removes in its own time, and the cache of before under its tag.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::backend::{
    Backend, BackendError, Before, BlobSink, BlobSource, Checked, Named, RecordKey,
};
use super::spool::Spool;
use super::table::{DOCUMENT_LIMIT, SharedTable, Table};
use super::{Doors, RegistryCache};
use crate::oci::{Descriptor, Digest, Reference, media_type};
use crate::registry::{self, Client, Fetched, Target};
use crate::store::Store;

/// The media type of the records.
pub(super) const CONFIG_TYPE: &str = "application/vnd.rbuild.cache.config.v1+json";
/// BuildKit's, whose content is another.
const BUILDKIT_CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// Records of at most this size are in the manifest as well: registries take
/// manifests of 4 MiB, and text of bytes is a third longer than they are.
const INLINE_LIMIT: usize = 1 << 20;
/// A layer for a manifest without any, which not every registry takes.
///
/// Source: OCI image-spec 1.1, "Guidance for an Empty Descriptor".
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");

/// The manifest.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CacheManifest {
    schema_version: u32,
    media_type: String,
    config: Config,
    layers: Vec<Descriptor>,
}

/// The descriptor of the records.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    media_type: String,
    digest: Digest,
    size: u64,
    /// The bytes themselves, in Base64.
    ///
    /// Source: OCI image-spec 1.1, "Descriptors", "Embedded Content".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<String>,
}

/// A cache under a tag.
pub(super) struct RegistryBackend {
    client: Arc<Client>,
    place: RegistryCache,
    /// Digest of the manifest that is there.
    manifest: Option<Digest>,
    /// What that says.
    before: Table,
    /// What is there and what was put.
    table: SharedTable,
    /// Blobs that are there: asked for once.
    seen: Mutex<BTreeSet<Digest>>,
}

impl RegistryBackend {
    /// Opens the cache whose manifest was fetched.
    ///
    /// # Errors
    /// [`BackendError::Other`] when it is something else.
    pub(super) fn read(
        client: Arc<Client>,
        place: &RegistryCache,
        fetched: &Fetched,
    ) -> Result<Self, BackendError> {
        let table = read_table(&client, &place.reference, fetched)?;
        Ok(Self {
            client,
            place: place.clone(),
            manifest: Some(fetched.digest),
            before: table.clone(),
            table: SharedTable::new(table),
            seen: Mutex::default(),
        })
    }

    /// Opens a cache for writing; what is there and can be read is known to it.
    pub(super) fn create(doors: &Doors<'_>, place: &RegistryCache) -> Result<Self, BackendError> {
        let client = doors.client(place)?;
        let there = fetch(&client, &place.reference)?;
        // Whatever else is under the tag gives way.
        let before = there.as_ref().and_then(|fetched| {
            let table = read_table(&client, &place.reference, fetched).ok()?;
            Some((fetched.digest, table))
        });
        let (manifest, before) = before.map_or((None, Table::default()), |(digest, table)| {
            (Some(digest), table)
        });
        Ok(Self {
            client,
            place: place.clone(),
            manifest,
            table: SharedTable::new(before.clone()),
            before,
            seen: Mutex::default(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a small document unless it is there.
    fn send_document(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, BackendError> {
        let blob = Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64);
        let open = || Ok(Box::new(io::Cursor::new(bytes.to_vec())) as Box<dyn Read + Send>);
        let source = BlobSource {
            open: &open,
            repository: None,
        };
        self.add_blob(&blob, &source)?;
        Ok(blob)
    }

    fn media_type<'t>(&self, media_type: &'t str) -> &'t str {
        if self.place.docker_types {
            media_type::to_docker(media_type)
        } else {
            media_type
        }
    }

    fn send(
        upload: registry::Upload,
        blob: &Descriptor,
        source: &BlobSource<'_>,
    ) -> Result<(), BackendError> {
        let mut from = |at: u64| {
            let mut bytes = (source.open)()?;
            io::copy(&mut bytes.by_ref().take(at), &mut io::sink())?;
            Ok((bytes, Some(blob.size - at)))
        };
        Ok(upload.send(&mut from, Some(blob.size), blob.digest, &|_| {})?)
    }
}

/// The manifest under the tag, if there is one.
pub(super) fn fetch(
    client: &Client,
    reference: &Reference,
) -> Result<Option<Fetched>, BackendError> {
    match client.manifest(reference) {
        Ok(fetched) => Ok(Some(fetched)),
        Err(err) if err.is_not_found() => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// Whether a manifest is that of a cache of ours.
pub(super) fn is_cache(fetched: &Fetched) -> bool {
    let manifest = serde_json::from_slice::<CacheManifest>(&fetched.bytes);
    manifest.is_ok_and(|manifest| manifest.config.media_type == CONFIG_TYPE)
}

/// Whether a manifest or index is that of a cache of BuildKit's.
pub(super) fn is_buildkits(fetched: &Fetched) -> bool {
    let text = String::from_utf8_lossy(&fetched.bytes);
    text.contains(BUILDKIT_CONFIG_TYPE)
}

/// The records that a manifest names.
fn read_table(
    client: &Client,
    reference: &Reference,
    fetched: &Fetched,
) -> Result<Table, BackendError> {
    if is_buildkits(fetched) {
        return Err(BackendError::Other(
            "it is a cache that BuildKit made, not one of rbuild",
        ));
    }
    if !is_cache(fetched) {
        return Err(BackendError::Other("it is not a cache of rbuild"));
    }
    let damaged = |err| BackendError::damaged("its manifest", err);
    let manifest: CacheManifest = serde_json::from_slice(&fetched.bytes).map_err(damaged)?;
    let bytes = read_config(client, reference, &manifest.config)?;
    let mut table = Table::parse(&bytes)?;
    let layers = manifest.layers.into_iter();
    table.blobs = layers.map(|blob| (blob.digest, blob)).collect();
    Ok(table)
}

fn read_config(
    client: &Client,
    reference: &Reference,
    config: &Config,
) -> Result<Vec<u8>, BackendError> {
    let what = "the list of its records";
    if config.size > DOCUMENT_LIMIT {
        return Err(BackendError::damaged(what, "it is too large"));
    }
    let inside = config
        .data
        .as_ref()
        .and_then(|data| BASE64_STANDARD.decode(data).ok());
    if let Some(bytes) = inside.filter(|bytes| Digest::of(bytes) == config.digest) {
        return Ok(bytes);
    }
    let blob = Descriptor::new(&config.media_type, config.digest, config.size);
    read_document(client, reference, &blob, what)
}

/// A small blob as a whole, checked.
pub(super) fn read_document(
    client: &Client,
    reference: &Reference,
    blob: &Descriptor,
    what: &str,
) -> Result<Vec<u8>, BackendError> {
    let reader = client.blob(reference, blob, None)?;
    let mut bytes = Vec::new();
    Checked::new(reader, blob.digest, blob.size)
        .read_to_end(&mut bytes)
        .map_err(|err| BackendError::damaged(what, err))?;
    Ok(bytes)
}

impl Backend for RegistryBackend {
    fn blob_size(&self, digest: Digest) -> Result<Option<u64>, BackendError> {
        let known = self.table.lock().blobs.get(&digest).map(|blob| blob.size);
        let Some(size) = known else {
            return Ok(None);
        };
        // A registry that has lost it is found out before it is relied upon.
        if !self.seen().contains(&digest) {
            if !self.client.has_blob(&self.place.reference, digest)? {
                return Ok(None);
            }
            self.seen().insert(digest);
        }
        Ok(Some(size))
    }

    fn read_blob(
        &self,
        _store: &Store,
        digest: Digest,
        size: u64,
    ) -> Result<Box<dyn Read + Send>, BackendError> {
        let blob = Descriptor::new(media_type::LAYER, digest, size);
        Ok(Box::new(self.client.blob(
            &self.place.reference,
            &blob,
            None,
        )?))
    }

    fn write_blob<'a>(&'a self, store: &'a Store) -> Result<Box<dyn BlobSink + 'a>, BackendError> {
        Ok(Box::new(Spool::begin(store, self)?))
    }

    fn add_blob(&self, blob: &Descriptor, source: &BlobSource<'_>) -> Result<bool, BackendError> {
        let reference = &self.place.reference;
        let same = |other: &&Reference| other.host() == reference.host();
        let from = source.repository.filter(same).map(Reference::path);
        let sent = match self
            .client
            .begin_upload(reference, Some(blob.digest), from)?
        {
            Target::There | Target::Mounted(_) => false,
            Target::Send(upload) => {
                Self::send(upload, blob, source)?;
                true
            }
        };
        self.table.lock().blobs.insert(blob.digest, blob.clone());
        self.seen().insert(blob.digest);
        Ok(sent)
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
        let records = table.to_bytes(false)?;
        let digest = Digest::of(&records);
        let data = (records.len() <= INLINE_LIMIT).then(|| BASE64_STANDARD.encode(&records));
        let mut layers: Vec<Descriptor> = table.blobs.into_values().collect();
        for layer in &mut layers {
            layer.media_type = self.media_type(&layer.media_type).to_owned();
        }
        if layers.is_empty() {
            layers.push(self.send_document(EMPTY.0, EMPTY.1)?);
        }
        let manifest = CacheManifest {
            schema_version: 2,
            media_type: self.media_type(media_type::MANIFEST).to_owned(),
            config: Config {
                media_type: CONFIG_TYPE.to_owned(),
                digest,
                size: records.len() as u64,
                data,
            },
            layers,
        };
        let bytes = serde_json::to_vec(&manifest)
            .map_err(|err| BackendError::damaged("its manifest", err))?;
        if self.manifest == Some(Digest::of(&bytes)) {
            return Ok(());
        }
        self.send_document(CONFIG_TYPE, &records)?;
        let kind = &manifest.media_type;
        Ok(self
            .client
            .put_manifest(&self.place.reference, kind, &bytes)?)
    }

    fn repository(&self) -> Option<&Reference> {
        Some(&self.place.reference)
    }
}
