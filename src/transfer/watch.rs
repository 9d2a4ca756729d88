//! What happens to each layer of a transfer, for whoever shows it.

use crate::oci::Digest;

/// Where a layer is on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerState {
    /// It is known that it will be moved.
    Waiting,
    /// So many bytes of so many were moved.
    Moving {
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where that is known.
        total: Option<u64>,
    },
    /// All bytes came; they are being unpacked.
    Unpacking,
    /// It is where it should be now.
    Done,
    /// It was there already.
    Exists,
    /// Registries do not carry it.
    Skipped,
    /// The registry took it over from this repository.
    Mounted(String),
}

/// Takes what happens; called from many threads.
pub trait Watch: Sync {
    /// A layer's state. `layer` is the digest by which users know it: that of its
    /// blob when it is pulled, its diff ID when it is pushed.
    fn layer(&self, layer: Digest, state: LayerState);

    /// What a registry, or a mirror that was passed over, has to say to the user.
    fn warning(&self, _text: &str) {}

    /// Whether the transfer is to end: nobody wants it any more.
    fn is_canceled(&self) -> bool {
        false
    }
}

/// Shows nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn layer(&self, _layer: Digest, _state: LayerState) {}
}
