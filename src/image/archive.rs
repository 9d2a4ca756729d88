//! Save, load and import: OCI layout and docker archives, both in one tar.

use std::io::{Read, Write};

use super::{Error, Image};
use crate::oci::{ImageConfig, ImageId, Reference};
use crate::store::Store;

/// Writes images to one tar that is at once an OCI layout (`oci-layout`,
/// `index.json`, `blobs/`) and a docker archive (`manifest.json`,
/// `repositories`), as Docker 25 and later write it. Deterministic. `names` are the references
/// asked for; images asked for by ID have none.
pub fn save(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    out: &mut dyn Write,
) -> Result<(), Error> {
    let _ = (store, images, out);
    todo!()
}

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The names that the archive gave it.
    pub names: Vec<Reference>,
}

/// Reads a docker archive or an OCI layout, compressed or not. Blobs are
/// verified and kept as they came. Nothing appears under a name unless its image is complete.
pub fn load(store: &Store, source: &mut (dyn Read + Send)) -> Result<Vec<Loaded>, Error> {
    let _ = (store, source);
    todo!()
}

/// What `import` adds to the tree.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// The configuration to start from (`--change` is applied by the caller).
    pub config: ImageConfig,
    /// The history comment (`--message`).
    pub message: Option<String>,
    /// The name to give.
    pub name: Option<Reference>,
}

/// Makes an image of one layer from a tar of a root file system, compressed or not.
pub fn import(
    store: &Store,
    source: &mut (dyn Read + Send),
    options: ImportOptions,
) -> Result<ImageId, Error> {
    let _ = (store, source, options);
    todo!()
}
