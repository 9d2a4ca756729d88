//! Layers get their digests while later steps still run.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::Receiver;

use crate::layer::{PackOptions, pack_tree};
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

    fn at_least(&self, state: u8) -> bool {
        self.0.load(Ordering::Relaxed) >= state
    }
}

/// Packs the layers that arrive, into nothing, and records their digests.
///
/// What cannot be packed here is tried again with the image, which then tells why.
pub(super) fn pack(store: &Store, layers: &Receiver<SnapshotId>, until: &Until) {
    for id in layers {
        if until.at_least(Until::LAST_STEP_ENDED) {
            return;
        }
        let known = store.snapshot_get(id).ok().flatten();
        if known.is_none_or(|row| row.diff_id.is_some()) {
            continue;
        }
        let sink = Sink { until };
        if let Ok(packed) = pack_tree(&layer_dir(store, id), PackOptions::default(), sink) {
            drop(store.snapshot_set_diff(id, packed.diff_id, packed.size));
        }
    }
}

/// Takes everything until the build fails.
struct Sink<'a> {
    until: &'a Until,
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.until.at_least(Until::FAILED) {
            return Err(io::Error::other("the build failed"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
