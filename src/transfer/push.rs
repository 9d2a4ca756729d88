//! From the store to a registry.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Error, LayerState, Watch};
use crate::image::{self, Form, Image};
use crate::oci::{Descriptor, Digest, Reference, media_type};
use crate::registry::{Client, Target};
use crate::store::Store;

/// Most blobs that go at once.
const AT_ONCE: usize = 4;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What became of an image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest as the registry has it.
    pub digest: Digest,
    /// The size of the manifest in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// Sends an image to the repository of `reference`, and gives it the tag there.
///
/// Layers that were made here are compressed as `form` says, once for all pushes;
/// those that came from elsewhere go as they came. What the registry has
/// already is not sent.
pub fn push(
    store: &Store,
    client: &Client,
    image: &Image,
    reference: &Reference,
    form: &Form,
    watch: &dyn Watch,
) -> Result<Pushed, Error> {
    image::pin_layers(store, image)?;
    let push = Push {
        store,
        client,
        reference,
        watch,
        elsewhere: elsewhere(store, reference)?,
    };
    let diff_ids = &image.config.rootfs.diff_ids;
    for diff_id in diff_ids {
        watch.layer(diff_id.0, LayerState::Waiting);
    }
    let layers = all(diff_ids.len(), |index| push.layer(image, index, form))?;
    let sent = image::with_layers(image, layers, form)?;
    push.document(&sent.manifest.config, &sent.config_bytes)?;
    let kind = sent
        .manifest
        .media_type
        .as_deref()
        .unwrap_or(media_type::MANIFEST);
    client.put_manifest(reference, kind, &sent.manifest_bytes)?;
    // By this name the image is known as the registry's from now on.
    store.name_set(&reference.with_digest(sent.manifest_digest), image.id)?;
    Ok(Pushed {
        digest: sent.manifest_digest,
        size: sent.manifest_bytes.len() as u64,
        media_type: kind.to_owned(),
    })
}

/// For each blob that is known to be in another repository of the registry, its path.
fn elsewhere(store: &Store, reference: &Reference) -> Result<HashMap<Digest, String>, Error> {
    let mut known = HashMap::new();
    for (name, id) in store.name_list()? {
        if name.host() != reference.host() || name.path() == reference.path() {
            continue;
        }
        let Ok(image) = image::find(store, &id.to_string()) else {
            continue;
        };
        for layer in &image.manifest.layers {
            known
                .entry(layer.digest)
                .or_insert_with(|| name.path().to_owned());
        }
        for diff_id in &image.config.rootfs.diff_ids {
            if let Some(row) = store.layer_blob_by_diff(*diff_id)? {
                known
                    .entry(row.digest)
                    .or_insert_with(|| name.path().to_owned());
            }
        }
    }
    Ok(known)
}

struct Push<'a> {
    store: &'a Store,
    client: &'a Client,
    reference: &'a Reference,
    watch: &'a dyn Watch,
    elsewhere: HashMap<Digest, String>,
}

impl Push<'_> {
    /// Sends one layer; returns its descriptor as the registry has it.
    fn layer(&self, image: &Image, index: usize, form: &Form) -> Result<Descriptor, Error> {
        let shown = image.config.rootfs.diff_ids[index].0;
        let layer = image::layer_in_form(self.store, image, index, form)?;
        let from = self.elsewhere.get(&layer.digest).map(String::as_str);
        match self
            .client
            .begin_upload(self.reference, Some(layer.digest), from)?
        {
            Target::There => self.watch.layer(shown, LayerState::Exists),
            Target::Mounted(from) => self.watch.layer(shown, LayerState::Mounted(from)),
            Target::Send(upload) => {
                let told = Mutex::new(Instant::now());
                let tell = |done: u64| {
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    if told.elapsed() >= TELL_EVERY {
                        *told = Instant::now();
                        let total = Some(layer.size);
                        self.watch.layer(shown, LayerState::Moving { done, total });
                    }
                };
                upload.send(
                    &mut |at| {
                        let mut source = image::open_blob(self.store, image, index, &layer)
                            .map_err(std::io::Error::other)?;
                        std::io::copy(&mut source.by_ref().take(at), &mut std::io::sink())?;
                        Ok((source, Some(layer.size - at)))
                    },
                    Some(layer.size),
                    layer.digest,
                    &tell,
                )?;
                self.watch.layer(shown, LayerState::Done);
            }
        }
        Ok(layer)
    }

    fn document(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
        match self
            .client
            .begin_upload(self.reference, Some(descriptor.digest), None)?
        {
            Target::There | Target::Mounted(_) => Ok(()),
            Target::Send(upload) => {
                let bytes = bytes.to_vec();
                let length = bytes.len() as u64;
                upload.send(
                    &mut |at| {
                        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                        Ok((
                            Box::new(std::io::Cursor::new(bytes[from..].to_vec())),
                            Some(length - at),
                        ))
                    },
                    Some(length),
                    descriptor.digest,
                    &|_| {},
                )?;
                Ok(())
            }
        }
    }
}

/// Does `work` for each number below `count`, several at once; the first
/// failure ends it.
pub(super) fn all<T: Send>(
    count: usize,
    work: impl Fn(usize) -> Result<T, Error> + Sync,
) -> Result<Vec<T>, Error> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, T)>> = Mutex::default();
    let failure: Mutex<Option<Error>> = Mutex::default();
    let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(count) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || failed().is_some() {
                        return;
                    }
                    match work(index) {
                        Ok(result) => done
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push((index, result)),
                        Err(err) => drop(failed().get_or_insert(err)),
                    }
                }
            });
        }
    });
    if let Some(err) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(err);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
