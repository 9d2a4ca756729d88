//! From the store to a registry.

use std::collections::HashMap;

use super::at_once::all;
use super::send::Sender;
use super::{Error, LayerState, Origins, Watch};
use crate::image::{self, Bundle, Form, Image};
use crate::oci::{Descriptor, DiffId, Digest, Reference, media_type};
use crate::registry::Client;
use crate::store::Store;

/// What became of an image that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the manifest, or of the index over several, as the registry has it.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

/// How an image is pushed.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// How it is written down there.
    pub form: Form,
    /// Whether it gets no tag there, and is found by its digest alone.
    pub by_digest: bool,
}

/// Sends what a bundle holds to the repository of `reference`, and gives it the
/// tag there: one image, or those of several platforms and the index over them.
///
/// The images need not be in the store's list of images, but their layers must
/// be in the store. To push under several names call it once for each: what is
/// in the repository is not sent again, and what another repository of the
/// registry has is taken over there. `reference` must not have a digest.
///
/// Layers that were made here are compressed as the form says, once for all pushes,
/// and go while they are being compressed; those that came from elsewhere go as
/// they came. What the registry has already is not sent.
pub fn push(
    store: &Store,
    client: &Client,
    bundle: &Bundle,
    reference: &Reference,
    options: &PushOptions,
    watch: &dyn Watch,
) -> Result<Pushed, Error> {
    push_from(
        store,
        client,
        (bundle, &Origins::STORE),
        reference,
        options,
        watch,
    )
}

/// The same with layers that may not be in the store.
pub fn push_from(
    store: &Store,
    client: &Client,
    (bundle, origins): (&Bundle, &Origins<'_>),
    reference: &Reference,
    options: &PushOptions,
    watch: &dyn Watch,
) -> Result<Pushed, Error> {
    let mut elsewhere = elsewhere(store, reference)?;
    for image in bundle.images() {
        image::pin_layers(store, image)?;
        let origins = origins.repositories.iter();
        for origin in origins.filter(|origin| origin.host() == reference.host()) {
            for layer in &image.manifest.layers {
                elsewhere.insert(layer.digest, origin.path().to_owned());
            }
        }
    }
    let form = &options.form;
    let push = Push {
        images: bundle.images(),
        form,
        watch,
        sender: Sender {
            store,
            client,
            reference,
            watch,
            elsewhere,
            origins: *origins,
        },
    };
    let sent = push.images()?;
    let whole = bundle.clone().with_images(sent, form.types)?;
    let pushed = match (whole.index_document(), whole.images()) {
        (Some((digest, bytes)), images) => {
            // What an index names must be there before it.
            all(images.len(), |at| {
                let (kind, bytes) = manifest(&images[at]);
                Ok(client.put_manifest_by_digest(reference, kind, bytes)?)
            })?;
            let kind = whole.descriptor().map(|whole| whole.media_type);
            let kind = kind.unwrap_or_else(|| media_type::INDEX.to_owned());
            put(client, reference, options, (digest, &kind, bytes))?
        }
        (None, images) => {
            let image = images.first().expect("a bundle has an image");
            let (kind, bytes) = manifest(image);
            let document = (image.manifest_digest, kind, bytes);
            put(client, reference, options, document)?
        }
    };
    remember(store, whole.images(), reference, pushed.digest)?;
    Ok(pushed)
}

/// By its digest the image is known as the registry's from now on.
fn remember(
    store: &Store,
    images: &[Image],
    reference: &Reference,
    digest: Digest,
) -> Result<(), Error> {
    let known = store.name_get(reference)?;
    let named = images.iter().find(|image| Some(image.id) == known);
    if let Some(image) = named {
        store.name_set(&reference.with_digest(digest), image.id)?;
    }
    Ok(())
}

fn manifest(image: &Image) -> (&str, &[u8]) {
    let kind = image.manifest.media_type.as_deref();
    (
        kind.unwrap_or(media_type::MANIFEST),
        &image.manifest_bytes[..],
    )
}

/// Sends the document that stands for the whole, unless the name leads to it already.
fn put(
    client: &Client,
    reference: &Reference,
    options: &PushOptions,
    (digest, kind, bytes): (Digest, &str, &[u8]),
) -> Result<Pushed, Error> {
    if options.by_digest {
        client.put_manifest_by_digest(reference, kind, bytes)?;
    } else {
        client.put_manifest(reference, kind, bytes)?;
    }
    Ok(Pushed {
        digest,
        size: bytes.len() as u64,
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
    images: &'a [Image],
    form: &'a Form,
    watch: &'a dyn Watch,
    sender: Sender<'a>,
}

/// A layer by what it is: images may share it, or have it twice.
type Key = (Digest, DiffId);

impl Push<'_> {
    /// Sends layers and configurations; returns the images as the registry is to have them.
    fn images(&self) -> Result<Vec<Image>, Error> {
        let mut layers: Vec<(Key, &Image, usize)> = Vec::new();
        for image in self.images {
            for (index, key) in keys(image).enumerate() {
                if !layers.iter().any(|(known, ..)| *known == key) {
                    self.watch.layer(key.1.0, LayerState::Waiting);
                    layers.push((key, image, index));
                }
            }
        }
        // The configurations go with the layers: they are the last of the work.
        let count = layers.len();
        let sent = all(count + self.images.len(), |at| {
            if let Some((key, image, index)) = layers.get(at) {
                let layer = self.sender.layer(image, *index, self.form)?;
                return Ok(Some((*key, layer)));
            }
            let image = &self.images[at - count];
            let config = &image.manifest.config;
            self.sender.document(config, &image.config_bytes)?;
            Ok(None)
        })?;
        let sent: HashMap<Key, Descriptor> = sent.into_iter().flatten().collect();
        let in_form = |image: &Image| {
            let layers = keys(image).filter_map(|key| sent.get(&key).cloned());
            Ok(image::with_layers(image, layers.collect(), self.form)?)
        };
        self.images.iter().map(in_form).collect()
    }
}

fn keys(image: &Image) -> impl Iterator<Item = Key> {
    let diff_ids = image.config.rootfs.diff_ids.iter().copied();
    let digests = image.manifest.layers.iter().map(|layer| layer.digest);
    digests.zip(diff_ids)
}
