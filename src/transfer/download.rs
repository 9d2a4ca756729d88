//! Blobs from a registry into the store, several at a time.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::at_once::AT_ONCE;
use super::growing::Growing;
use super::{Error, LayerState, Watch};
use crate::oci::{Descriptor, DiffId, Digest, Reference};
use crate::registry::Client;
use crate::store::{LayerBlobRow, PartialBlob, Store};

/// How much is taken from the network at a time.
const PIECE: usize = 256 << 10;
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// Layers to bring, and how far each is.
pub(super) struct Downloads<'a> {
    pub(super) store: &'a Store,
    pub(super) client: &'a Client,
    pub(super) reference: &'a Reference,
    pub(super) watch: &'a dyn Watch,
    /// Each layer once, bottom first, with the diff ID that it should have.
    pub(super) layers: Vec<(Descriptor, DiffId, Arc<Growing>)>,
    /// The layers that were not there before.
    pub(super) brought: Mutex<Vec<Digest>>,
}

impl Downloads<'_> {
    /// Brings all; the first failure ends the others.
    pub(super) fn run(&self) -> Result<(), Error> {
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(self.layers.len()) {
                scope.spawn(|| {
                    while let Some((layer, diff_id, growing)) =
                        self.layers.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let stop = || failed().is_some() || self.watch.is_canceled();
                        match self.bring(layer, *diff_id, growing, &stop) {
                            Ok(()) => {}
                            Err(err) => {
                                growing.failed(&err.to_string());
                                failed().get_or_insert(err);
                            }
                        }
                    }
                });
            }
        });
        failure
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .map_or(Ok(()), Err)
    }

    /// The layers that were not there before.
    pub(super) fn brought(&self) -> Vec<Digest> {
        self.brought
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn bring(
        &self,
        layer: &Descriptor,
        diff_id: DiffId,
        growing: &Growing,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let store = self.store;
        let whole = || growing.whole(store.blob_path(layer.digest));
        let row = LayerBlobRow {
            digest: layer.digest,
            diff_id: (layer.digest == diff_id.0).then_some(diff_id),
            size: layer.size,
            media_type: layer.media_type.clone(),
        };
        let present = || -> Result<bool, Error> {
            Ok(store.blob_exists(layer.digest) && store.layer_blob_put(&row).is_ok())
        };
        if present()? {
            self.watch.layer(layer.digest, LayerState::Exists);
            whole();
            return Ok(());
        }
        // Whoever else brings this very blob is waited for, and what was left of it
        // when they were killed is gone on with.
        let _turn = store.blob_lock(layer.digest)?;
        if present()? {
            self.watch.layer(layer.digest, LayerState::Exists);
            whole();
            return Ok(());
        }
        let mut partial = store.partial_open(layer.digest, layer.size)?;
        let taken_up = !partial.is_empty();
        let follower = (!taken_up).then_some(growing);
        if let Err(err) = self.receive(layer, &mut partial, follower, stop) {
            if is_full(&err) {
                // Whoever is out of room needs what the beginning takes.
                store.partial_restart(&mut partial)?;
            }
            if partial.len() < layer.size {
                return Err(err);
            }
            // All came and it is something else: nothing of it is worth keeping.
            store.partial_restart(&mut partial)?;
            if !taken_up {
                return Err(err);
            }
            // It may have been the old part alone that was damaged.
            self.receive(layer, &mut partial, Some(growing), stop)?;
        }
        // All that is to be read can be read: the disk need not be waited for.
        growing.whole(partial.path().to_owned());
        store.partial_finish(&partial, layer.digest)?;
        store.layer_blob_put(&row)?;
        self.watch.layer(layer.digest, LayerState::Unpacking);
        self.brought
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(layer.digest);
        whole();
        Ok(())
    }

    /// Takes what is missing from the network and adds it to what is there. The whole is
    /// verified; only then may a part that was there before be read by others.
    fn receive(
        &self,
        layer: &Descriptor,
        partial: &mut PartialBlob,
        follower: Option<&Growing>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let broken = |source| Error::Layer {
            layer: layer.digest,
            source,
        };
        let resumed = match partial.len() {
            0 => None,
            length => Some((length, partial.hasher()?)),
        };
        let mut source = self.client.blob(self.reference, layer, resumed.as_ref())?;
        let mut buffer = vec![0; PIECE];
        let mut told = Instant::now();
        loop {
            if stop() {
                return Err(broken(std::io::Error::other("the transfer was stopped")));
            }
            let count = fill(&mut source, &mut buffer, &mut |bytes| partial.append(bytes))
                .map_err(broken)?;
            if count == 0 {
                return Ok(());
            }
            if let Some(growing) = follower {
                growing
                    .grew(partial.path(), partial.len())
                    .map_err(broken)?;
            }
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let (done, total) = (partial.len(), Some(layer.size));
                self.watch
                    .layer(layer.digest, LayerState::Moving { done, total });
            }
        }
    }
}

fn is_full(err: &Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(err, Error::Layer { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
}

/// Fills the buffer as far as the source goes and gives it to `take`, also when the
/// source fails in the middle: what came is not to be fetched again.
fn fill(
    source: &mut dyn Read,
    buffer: &mut [u8],
    take: &mut dyn FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<usize> {
    let mut filled = 0;
    let mut failure = None;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
            Err(err) => {
                failure = Some(err);
                break;
            }
        }
    }
    take(&buffer[..filled])?;
    failure.map_or(Ok(filled), Err)
}
