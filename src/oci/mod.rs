//! The words of the OCI specifications: digests, descriptors, manifests,
//! image configurations, platforms and references.
//!
//! Values only: nothing here reads a file. A document that has a digest is kept
//! as its raw bytes; the parsed form beside it is for reading, and a digest is
//! never recomputed from a re-serialised document.
//!
//! Source: OCI image-spec 1.1; Docker image specification 1.3 for the keys that
//! OCI leaves out (`Healthcheck`, `OnBuild`, `Shell`).

mod config;
mod digest;
mod manifest;
pub mod passwd;
mod platform;
mod reference;

pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use digest::{CacheKey, ChainId, DiffId, Digest, Hasher, ImageId, ParseDigestError};
pub use manifest::{Descriptor, Index, Manifest, media_type};
pub use platform::{ParsePlatformError, Platform};
pub use reference::{ParseReferenceError, Reference};
