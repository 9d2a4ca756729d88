//! What can go wrong with images.

use super::Conflict;
use crate::fs::PathError;
use crate::layer::UnpackError;
use crate::oci::{DiffId, Digest, ImageId, ParseReferenceError};
use crate::{snapshot, store};

/// What can go wrong with images.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image has this name or ID.
    #[error("No such image: {0}")]
    NotFound(String),
    /// An ID prefix fits several images.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The name is there, but stands for no image of the wanted platform.
    #[error(
        "image with reference {reference} was found but its platform ({found}) does not match the specified platform ({wanted})"
    )]
    WrongPlatform {
        /// The name, as written.
        reference: String,
        /// The platforms that there are.
        found: String,
        /// The platform that was asked for.
        wanted: String,
    },
    /// The name is malformed.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// A stored image breaks a promise.
    #[error("image `{id}` is damaged: {why}")]
    Damaged {
        /// Which image.
        id: ImageId,
        /// What is wrong.
        why: String,
    },
    /// An archive is no image archive, or a damaged one.
    #[error("cannot load the archive: {0}")]
    Archive(String),
    /// An archive's blob has other bytes than its digest says.
    #[error("cannot load the archive: blob `{want}` hashes to `{got}`")]
    WrongDigest {
        /// What the archive says.
        want: Digest,
        /// What it is.
        got: Digest,
    },
    /// The archive cannot be written where it should go.
    #[error("cannot write the archive")]
    Write(#[source] std::io::Error),
    /// A layer cannot be compressed.
    #[error("cannot compress a layer")]
    Compress(#[source] std::io::Error),
    /// The bytes of a layer are nowhere.
    #[error("layer `{0}` is missing")]
    LayerMissing(DiffId),
    /// The last name of an image may not go while a container needs it.
    #[error(
        "conflict: unable to remove repository reference \"{reference}\" (must force) - container {container} is using its referenced image {image}"
    )]
    NameInUse {
        /// The name, as written.
        reference: String,
        /// The container, short.
        container: String,
        /// The image, short.
        image: String,
    },
    /// The image may not be removed.
    #[error("conflict: unable to delete {image} ({}) - {why}", if why.can_be_forced() { "must be forced" } else { "cannot be forced" })]
    InUse {
        /// The image, short.
        image: String,
        /// What needs it.
        why: Conflict,
    },
    /// A document is no JSON of the right shape.
    #[error("cannot read the {what}")]
    Document {
        /// Which document.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A layer cannot be unpacked or does not match.
    #[error(transparent)]
    Chain(#[from] snapshot::ChainError),
    /// A layer's archive is refused.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    /// A snapshot refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}
