//! An immutable view of an image: manifest, configuration, layers.
//!
//! Images are found by name or ID, made from snapshots, carried in and out as
//! archives, and removed. A document that has a digest is kept as its bytes.

mod archive;
mod assemble;
mod error;
mod layers;
mod read;
mod remove;
mod validate;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use archive::{ImportOptions, Loaded, choose_platform, import, load, save};
pub use assemble::{NewImage, assemble};
pub use error::Error;
pub use layers::open_layer;
pub use read::{Image, OpenLayer, find, find_all, put, snapshot_of, unpack};
pub use remove::{Conflict, ImageUse, Removed, remove_reference};
pub use validate::validate;
