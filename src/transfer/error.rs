//! Why an image did not get where it should.

use crate::fs::PathError;
use crate::oci::{Digest, ParseReferenceError, Platform};
use crate::{image, registry, snapshot, store};

/// Why an image did not get where it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The store's images.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file.
    #[error(transparent)]
    File(#[from] PathError),
    /// The name is malformed.
    #[error(transparent)]
    Reference(#[from] ParseReferenceError),
    /// The index has nothing for the platform.
    #[error(
        "no matching manifest for {wanted} in the manifest list entries; {reference} has {there}"
    )]
    NoPlatform {
        /// The image.
        reference: String,
        /// What was looked for.
        wanted: Box<Platform>,
        /// What there is.
        there: String,
    },
    /// It is nothing that can be run.
    #[error("{reference}: {why}")]
    Unsupported {
        /// The image.
        reference: String,
        /// Why not.
        why: String,
    },
    /// A layer did not arrive.
    #[error("cannot download layer `{layer}`")]
    Layer {
        /// Which one.
        layer: Digest,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What the user can do, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Registry(err) => err.hint(),
            _ => None,
        }
    }
}

impl From<snapshot::ChainError> for Error {
    fn from(err: snapshot::ChainError) -> Self {
        Self::Image(err.into())
    }
}
