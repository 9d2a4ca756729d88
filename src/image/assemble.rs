//! Snapshots and a configuration to an image.

use super::{Error, Image};
use crate::oci::{ImageConfig, Reference};
use crate::store::{SnapshotId, Store};

/// An image to be made.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The whole tree; `None` for no layers.
    pub top: Option<SnapshotId>,
    /// The image it was built from, whose layer descriptors are kept for the layers that it shares.
    pub base: Option<Image>,
    /// The configuration; its `rootfs` is filled in here.
    pub config: ImageConfig,
    /// The names to give it.
    pub names: Vec<Reference>,
}

/// Makes the image: packs layers whose diff ID is not known yet (hash only, no
/// tar is stored; independent layers in parallel), writes configuration and manifest, and sets the names, all in
/// one transaction. The manifest describes locally built layers as uncompressed tars.
/// Returns the image and, for each name, whether it moved from another image.
pub fn assemble(store: &Store, new: NewImage) -> Result<Image, Error> {
    let _ = (store, new);
    todo!()
}
