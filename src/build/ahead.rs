//! Layers get their digests, and their compressed form where an output wants one,
//! while later steps still run.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Receiver;

use crate::image::Recipe;
use crate::layer::{Codec, PackOptions, pack_tree};
use crate::oci::DiffId;
use crate::snapshot::layer_dir;
use crate::store::{SnapshotId, Store};

/// How long packing ahead makes sense.
#[derive(Debug, Default)]
pub(super) struct Until(AtomicU8);

impl Until {
    const LAST_STEP_ENDED: u8 = 1;
    const FAILED: u8 = 2;

    /// No step is left to pack beside: what waits is packed with the image, by
    /// several threads. What is being packed is finished.
    pub(super) fn steps_ended(&self) {
        self.0.fetch_max(Self::LAST_STEP_ENDED, Ordering::Relaxed);
    }

    /// There will be no image: nothing more is worth a read.
    pub(super) fn failed(&self) {
        self.0.store(Self::FAILED, Ordering::Relaxed);
    }

    /// An error once the build has failed.
    fn refuse(&self) -> io::Result<()> {
        if self.at_least(Self::FAILED) {
            return Err(io::Error::other("the build failed"));
        }
        Ok(())
    }

    fn at_least(&self, state: u8) -> bool {
        self.0.load(Ordering::Relaxed) >= state
    }
}

/// Packs the layers that arrive, into nothing, and records their digests. Where an
/// output wants them compressed, that is done as well.
///
/// What cannot be done here is tried again with the image, which then tells why.
pub(super) fn pack(
    store: &Store,
    layers: &Receiver<SnapshotId>,
    codec: Option<Codec>,
    until: &Until,
) {
    for id in layers {
        if until.at_least(Until::LAST_STEP_ENDED) {
            return;
        }
        let Ok(Some(row)) = store.snapshot_get(id) else {
            continue;
        };
        if row.diff_id.is_none() {
            let sink = Sink { until };
            if let Ok(packed) = pack_tree(&layer_dir(store, id), PackOptions::default(), sink) {
                drop(store.snapshot_set_diff(id, packed.diff_id, packed.size));
            }
        }
        // With no step left it is done while it is sent.
        if let Some(codec) = codec.filter(|_| !until.at_least(Until::LAST_STEP_ENDED)) {
            compress(store, id, codec, until);
        }
    }
}

fn compress(store: &Store, id: SnapshotId, codec: Codec, until: &Until) {
    let Ok(mut stack) = store.snapshot_stack(id) else {
        return;
    };
    stack.reverse();
    let stack: Option<Vec<DiffId>> = stack.iter().map(|row| row.diff_id).collect();
    if let Some(stack) = stack.filter(|stack| !stack.is_empty()) {
        let recipe = Recipe::compressed(stack, codec);
        drop(recipe.make(store, &mut |_, _| until.refuse()));
    }
}

/// Takes everything until the build fails.
struct Sink<'a> {
    until: &'a Until,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until.refuse()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::snapshot::Active;
    use crate::store::Paths;

    fn prepared(until: &Until) -> bool {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("data"), dir.path().join("run"));
        let store = Store::open(paths).unwrap();
        let active = Active::begin(&store, None).unwrap();
        std::fs::write(active.fs().join("f"), "content").unwrap();
        let id = active.commit(7, None, None).unwrap().id;
        let (layers, queue) = channel();
        layers.send(id).unwrap();
        drop(layers);
        pack(&store, &queue, Some(Codec::GZIP), until);
        let diff_id = store.snapshot_get(id).unwrap().unwrap().diff_id;
        diff_id.is_some_and(|diff_id| {
            let form = Codec::GZIP.to_string();
            store.compressed_get(diff_id, &form).unwrap().is_some()
        })
    }

    #[test]
    fn a_layer_is_compressed_unless_nobody_wants_it_any_more() {
        assert!(prepared(&Until::default()));
        let until = Until::default();
        until.failed();
        assert!(!prepared(&until));
    }
}
