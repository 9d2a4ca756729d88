//! Images that were just made to registries. The store need not know them by any name.

use std::collections::HashMap;
use std::io::Read;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::push::{all, elsewhere};
use super::{Error, LayerState, Watch};
use crate::image::{self, Form, Image};
use crate::oci::{Descriptor, Digest, Reference, media_type};
use crate::registry::{Client, Target};
use crate::store::Store;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Sends images, together with the index over them where there are several.
pub struct Publisher<'a> {
    /// Where the layers are.
    pub store: &'a Store,
    /// How registries are reached.
    pub client: &'a Client,
    /// How layers are compressed and documents written.
    pub form: &'a Form,
    /// Who is told, of layers by the digest that they have on the registry.
    pub watch: &'a dyn Watch,
    /// Repositories that are known to have layers of the images.
    pub sources: Vec<Reference>,
    /// Brings the layers here that are missing, of the image with this number.
    pub bring: &'a (dyn Fn(usize) -> Result<(), Error> + Sync),
}

impl std::fmt::Debug for Publisher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("form", self.form)
            .finish_non_exhaustive()
    }
}

impl Publisher<'_> {
    /// Sends the layers of images to a repository, several at a time; each is
    /// compressed while others are on their way. Returns the images as they are
    /// to be there.
    ///
    /// What the repository has already is not sent, and what another repository
    /// of the registry has is taken over from there.
    pub fn layers(&self, images: &[Image], to: &Reference) -> Result<Vec<Image>, Error> {
        for image in images {
            image::pin_layers(self.store, image)?;
        }
        let mut known = elsewhere(self.store, to)?;
        let sources = self.sources.iter();
        for source in sources.filter(|source| source.host() == to.host()) {
            for layer in images.iter().flat_map(|image| &image.manifest.layers) {
                known.insert(layer.digest, source.path().to_owned());
            }
        }
        let mut parts = Vec::new();
        for (number, image) in images.iter().enumerate() {
            for index in 0..image.manifest.layers.len() {
                parts.push((number, index));
            }
        }
        let mut sent = all(parts.len(), |at| {
            let (number, index) = parts[at];
            self.layer(&images[number], number, index, to, &known)
        })?
        .into_iter();
        let sent = images.iter().map(|image| {
            let layers = sent.by_ref().take(image.manifest.layers.len()).collect();
            Ok(image::with_layers(image, layers, self.form)?)
        });
        sent.collect()
    }

    fn layer(
        &self,
        image: &Image,
        number: usize,
        index: usize,
        to: &Reference,
        known: &HashMap<Digest, String>,
    ) -> Result<Descriptor, Error> {
        if self.watch.is_canceled() {
            return Err(stopped(image.manifest.layers[index].digest));
        }
        let layer = image::layer_in_form(self.store, image, index, self.form)?;
        let from = known.get(&layer.digest).map(String::as_str);
        let upload = match self.client.begin_upload(to, Some(layer.digest), from)? {
            Target::There => {
                self.watch.layer(layer.digest, LayerState::Exists);
                return Ok(layer);
            }
            Target::Mounted(from) => {
                self.watch.layer(layer.digest, LayerState::Mounted(from));
                return Ok(layer);
            }
            Target::Send(upload) => upload,
        };
        let diff_id = image.config.rootfs.diff_ids[index];
        if layer.digest != diff_id.0 && !self.store.blob_exists(layer.digest) {
            (self.bring)(number)?;
        }
        let told = Mutex::new(None::<Instant>);
        let tell = |done: u64| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) || done == layer.size {
                *told = Some(Instant::now());
                let total = Some(layer.size);
                let state = LayerState::Moving { done, total };
                self.watch.layer(layer.digest, state);
            }
        };
        let mut open = |at: u64| {
            let mut source = image::open_blob(self.store, image, index, &layer)
                .map_err(std::io::Error::other)?;
            std::io::copy(&mut source.by_ref().take(at), &mut std::io::sink())?;
            Ok((source, Some(layer.size - at)))
        };
        upload.send(&mut open, Some(layer.size), layer.digest, &tell)?;
        self.watch.layer(layer.digest, LayerState::Done);
        Ok(layer)
    }

    /// Sends the documents of images whose layers are there, all to one
    /// repository: each under its digest, and the whole, an index or the only
    /// manifest, under the tag of each of `names`; with `by_digest` under none.
    pub fn documents(
        &self,
        images: &[Image],
        index: Option<(&str, &[u8])>,
        names: &[Reference],
        by_digest: bool,
    ) -> Result<(), Error> {
        let Some(repository) = names.first() else {
            return Ok(());
        };
        for image in images {
            self.config(image, repository)?;
        }
        let (kind, bytes) = match (index, images) {
            (Some((whole, bytes)), _) => {
                for image in images {
                    self.client.put_manifest_by_digest(
                        repository,
                        &kind(image),
                        &image.manifest_bytes,
                    )?;
                }
                (whole.to_owned(), bytes)
            }
            (None, [image]) => (kind(image), image.manifest_bytes.as_slice()),
            (None, _) => return Ok(()),
        };
        if by_digest {
            return Ok(self
                .client
                .put_manifest_by_digest(repository, &kind, bytes)?);
        }
        for name in names {
            self.client.put_manifest(name, &kind, bytes)?;
        }
        Ok(())
    }

    fn config(&self, image: &Image, to: &Reference) -> Result<(), Error> {
        let (descriptor, bytes) = (&image.manifest.config, &image.config_bytes);
        let target = self
            .client
            .begin_upload(to, Some(descriptor.digest), None)?;
        let Target::Send(upload) = target else {
            return Ok(());
        };
        let mut open = |at: u64| {
            let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            let rest: Box<dyn Read + Send> = Box::new(std::io::Cursor::new(bytes[from..].to_vec()));
            Ok((rest, Some((bytes.len() - from) as u64)))
        };
        let length = Some(bytes.len() as u64);
        upload.send(&mut open, length, descriptor.digest, &|_| {})?;
        Ok(())
    }
}

fn kind(image: &Image) -> String {
    let kind = image.manifest.media_type.clone();
    kind.unwrap_or_else(|| media_type::MANIFEST.to_owned())
}

fn stopped(layer: Digest) -> Error {
    Error::Layer {
        layer,
        source: std::io::Error::other("the transfer was stopped"),
    }
}

/// An image with its layers as a form wants them, made here and sent nowhere.
pub fn formed(store: &Store, image: &Image, form: &Form) -> Result<Image, Error> {
    let count = image.manifest.layers.len();
    let layers = all(count, |index| {
        Ok(image::layer_in_form(store, image, index, form)?)
    })?;
    Ok(image::with_layers(image, layers, form)?)
}
