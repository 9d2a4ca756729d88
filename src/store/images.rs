//! Images and their names.
//!
//! The manifest and the configuration are small and are kept in the index as
//! raw bytes, so that an image appears in one transaction; layers are blobs
//! (as they came from outside) or snapshots (built here), found by descriptor.

use super::{Error, Store};
use crate::oci::{DiffId, Digest, ImageId, Reference};

/// An image as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRow {
    /// Digest of `config`.
    pub id: ImageId,
    /// Digest of `manifest`.
    pub manifest_digest: Digest,
    /// The manifest's raw bytes; its media type stands inside.
    pub manifest: Vec<u8>,
    /// The configuration's raw bytes.
    pub config: Vec<u8>,
    /// When it came into this store, nanoseconds since 1970.
    pub stored_at: i64,
}

/// A layer blob as it came from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlobRow {
    /// Digest of the blob.
    pub digest: Digest,
    /// Digest of its plain tar, once it was seen.
    pub diff_id: Option<DiffId>,
    /// Length of the blob in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
}

impl Store {
    /// Stores an image; one with the same ID keeps its row, but takes the new manifest.
    pub fn image_put(&self, row: &ImageRow) -> Result<(), Error> {
        let _ = row;
        todo!()
    }

    /// Stores an image and points `names` to it, in one transaction. Returns for
    /// each name the image that had it before.
    pub fn image_put_named(
        &self,
        row: &ImageRow,
        names: &[Reference],
    ) -> Result<Vec<Option<ImageId>>, Error> {
        let _ = (row, names);
        todo!()
    }

    /// The image with this ID.
    pub fn image_get(&self, id: ImageId) -> Result<Option<ImageRow>, Error> {
        let _ = id;
        todo!()
    }

    /// Every image, newest first.
    pub fn image_list(&self) -> Result<Vec<ImageRow>, Error> {
        todo!()
    }

    /// The images whose ID's hexadecimal form starts with `prefix`; two at most,
    /// which is enough to know that it is ambiguous.
    pub fn image_by_prefix(&self, prefix: &str) -> Result<Vec<ImageId>, Error> {
        let _ = prefix;
        todo!()
    }

    /// Removes an image and every name of it. Its layers are left to the collector.
    pub fn image_remove(&self, id: ImageId) -> Result<(), Error> {
        let _ = id;
        todo!()
    }

    /// Points a name to an image; returns the image that had it before.
    pub fn name_set(&self, name: &Reference, id: ImageId) -> Result<Option<ImageId>, Error> {
        let _ = (name, id);
        todo!()
    }

    /// The image that a name points to. A name with a digest finds the image by
    /// its manifest digest.
    pub fn name_get(&self, name: &Reference) -> Result<Option<ImageId>, Error> {
        let _ = name;
        todo!()
    }

    /// Removes a name; whether it was there.
    pub fn name_remove(&self, name: &Reference) -> Result<bool, Error> {
        let _ = name;
        todo!()
    }

    /// Every name with its image, sorted by name.
    pub fn name_list(&self) -> Result<Vec<(Reference, ImageId)>, Error> {
        todo!()
    }

    /// Remembers a layer blob.
    pub fn layer_blob_put(&self, row: &LayerBlobRow) -> Result<(), Error> {
        let _ = row;
        todo!()
    }

    /// The layer blob with this digest.
    pub fn layer_blob_get(&self, digest: Digest) -> Result<Option<LayerBlobRow>, Error> {
        let _ = digest;
        todo!()
    }

    /// A layer blob whose plain tar has this diff ID, if one is there.
    pub fn layer_blob_by_diff(&self, diff_id: DiffId) -> Result<Option<LayerBlobRow>, Error> {
        let _ = diff_id;
        todo!()
    }
}
