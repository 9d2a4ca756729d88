//! From the store by reference or ID.

use std::io::Read;

use super::Error;
use crate::oci::{Digest, ImageConfig, ImageId, Manifest};
use crate::store::{SnapshotId, Store};

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the configuration.
    pub id: ImageId,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// The manifest, parsed.
    pub manifest: Manifest,
    /// The manifest's raw bytes.
    pub manifest_bytes: Vec<u8>,
    /// The configuration, parsed.
    pub config: ImageConfig,
    /// The configuration's raw bytes.
    pub config_bytes: Vec<u8>,
}

/// Finds an image by reference, `sha256:` ID, ID or ID prefix, as Docker does:
/// a name wins over an ID prefix.
pub fn find(store: &Store, text: &str) -> Result<Image, Error> {
    let _ = (store, text);
    todo!()
}

/// Every image with its names as familiar references, newest first.
pub fn find_all(store: &Store) -> Result<Vec<(Image, Vec<String>)>, Error> {
    let _ = store;
    todo!()
}

/// Opens the bytes of layer `index` exactly as the manifest's descriptor
/// promises: the stored blob, or the tar packed again from its snapshot.
pub fn open_layer(
    store: &Store,
    image: &Image,
    index: usize,
) -> Result<Box<dyn Read + Send>, Error> {
    let _ = (store, image, index);
    todo!()
}

/// The snapshot on which the image's whole tree lies, unpacking what is
/// missing; `None` for an image without layers.
pub fn snapshot_of(store: &Store, image: &Image) -> Result<Option<SnapshotId>, Error> {
    let _ = (store, image);
    todo!()
}
