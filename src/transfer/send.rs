//! Blobs from the store to a registry, those that must be made first among them.

use std::collections::HashMap;
use std::io::{self, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::growing::{Growing, GrowingReader};
use super::{Error, LayerState, Origins, Watch};
use crate::image::{self, Form, Image, Planned, Recipe};
use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::{Client, Target, Upload};
use crate::store::Store;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// A blob that is at least so long before it is whole begins to go: a shorter one is
/// asked for first, by its digest.
const EAGER: u64 = 4 << 20;

/// Sends blobs to the repository of a reference.
pub(super) struct Sender<'a> {
    pub(super) store: &'a Store,
    pub(super) client: &'a Client,
    pub(super) reference: &'a Reference,
    pub(super) watch: &'a dyn Watch,
    /// For each blob that may be in another repository, that one's path.
    pub(super) elsewhere: HashMap<Digest, String>,
    /// Where layers come from that are not in the store.
    pub(super) origins: Origins<'a>,
}

impl Sender<'_> {
    /// Sends one layer; returns its descriptor as the registry has it.
    pub(super) fn layer(
        &self,
        image: &Image,
        index: usize,
        form: &Form,
    ) -> Result<Descriptor, Error> {
        let shown = image.config.rootfs.diff_ids[index].0;
        match image::plan_layer(self.store, image, index, form)? {
            Planned::There(layer) if is_foreign(&layer) => {
                self.watch.layer(shown, LayerState::Skipped);
                Ok(layer)
            }
            Planned::There(layer) => {
                self.blob(shown, &layer, &mut |at| {
                    if layer.digest != shown && !self.store.blob_exists(layer.digest) {
                        (self.origins.bring)(image).map_err(io::Error::other)?;
                    }
                    let layer = image::open_blob(self.store, image, index, &layer);
                    from(layer.map_err(io::Error::other)?, at)
                })?;
                Ok(layer)
            }
            Planned::ToMake(recipe) => self.made(shown, &recipe),
        }
    }

    /// Sends a blob that is there, unless the registry has it.
    fn blob(
        &self,
        shown: Digest,
        layer: &Descriptor,
        open: &mut dyn FnMut(u64) -> io::Result<Box<dyn Read + Send>>,
    ) -> Result<(), Error> {
        let from = self.elsewhere.get(&layer.digest).map(String::as_str);
        match self
            .client
            .begin_upload(self.reference, Some(layer.digest), from)?
        {
            Target::There => self.watch.layer(shown, LayerState::Exists),
            Target::Mounted(from) => self.watch.layer(shown, LayerState::Mounted(from)),
            Target::Send(upload) => {
                upload.send(
                    &mut |at| Ok((open(at)?, Some(layer.size - at))),
                    Some(layer.size),
                    layer.digest,
                    &self.teller(shown, Some(layer.size)),
                )?;
                self.watch.layer(shown, LayerState::Done);
            }
        }
        Ok(())
    }

    /// Makes a layer's blob and sends it meanwhile. Its digest is known at the end only;
    /// a small one waits for it, since the registry may have it.
    fn made(&self, shown: Digest, recipe: &Recipe) -> Result<Descriptor, Error> {
        let growing = Arc::new(Growing::default());
        let (made, sent, refused) = std::thread::scope(|scope| {
            let making = scope.spawn(|| {
                let made = recipe.make(self.store, &mut |path, length| growing.grew(path, length));
                match &made {
                    Ok(layer) => growing.whole(self.store.blob_path(layer.digest)),
                    Err(err) => growing.failed(&err.to_string()),
                }
                made
            });
            let sent = self.follow(shown, &growing);
            // When the blob could not be made, that is why it could not be sent.
            let refused = sent.is_err() && growing.abandon();
            let made = making.join().expect("a compression does not panic");
            (made, sent, refused)
        });
        let (layer, upload) = match (made, sent) {
            (_, Err(err)) if refused => return Err(err),
            (made, sent) => (made?, sent?),
        };
        if let Some(upload) = upload
            && upload.finish(layer.digest)?
        {
            self.watch.layer(shown, LayerState::Done);
            return Ok(layer);
        }
        let open = || self.store.blob_open(layer.digest).map_err(io::Error::other);
        self.blob(shown, &layer, &mut |at| from(Box::new(open()?), at))?;
        Ok(layer)
    }

    /// Sends what grows, once it is large; `None` when it is whole before.
    fn follow(&self, shown: Digest, growing: &Arc<Growing>) -> Result<Option<Upload>, Error> {
        if growing.is_whole_before(EAGER) {
            return Ok(None);
        }
        let Target::Send(mut upload) = self.client.begin_upload(self.reference, None, None)? else {
            return Ok(None);
        };
        let open = |at: u64| -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
            let reader = GrowingReader::new(Arc::clone(growing), at);
            Ok((Box::new(reader), None))
        };
        upload.append(&mut { open }, &self.teller(shown, None))?;
        Ok(Some(upload))
    }

    /// Sends a document unless it is there.
    pub(super) fn document(&self, descriptor: &Descriptor, bytes: &[u8]) -> Result<(), Error> {
        let target = self
            .client
            .begin_upload(self.reference, Some(descriptor.digest), None)?;
        let Target::Send(upload) = target else {
            return Ok(());
        };
        let length = bytes.len() as u64;
        let open = |at: u64| -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
            let reader = from(Box::new(Cursor::new(bytes.to_vec())), at)?;
            Ok((reader, Some(length - at)))
        };
        Ok(upload.send(&mut { open }, Some(length), descriptor.digest, &|_| {})?)
    }

    /// Tells how far a layer is, not too often.
    fn teller(&self, shown: Digest, total: Option<u64>) -> impl Fn(u64) + Sync {
        let told = Mutex::new(Instant::now());
        move |done| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= TELL_EVERY {
                *told = Instant::now();
                self.watch.layer(shown, LayerState::Moving { done, total });
            }
        }
    }
}

/// Whether a layer is one that registries do not carry.
pub(super) fn is_foreign(layer: &Descriptor) -> bool {
    layer.media_type.contains("foreign") || layer.media_type.contains("nondistributable")
}

/// The rest of `source` after `at` bytes.
fn from(mut source: Box<dyn Read + Send>, at: u64) -> io::Result<Box<dyn Read + Send>> {
    io::copy(&mut source.by_ref().take(at), &mut io::sink())?;
    Ok(source)
}
