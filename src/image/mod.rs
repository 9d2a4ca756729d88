//! An immutable view of an image: manifest, configuration, layers.
//!
//! Images are found by name or ID, made from snapshots, carried in and out as
//! archives, and removed. A document that has a digest is kept as its bytes.

mod archive;
mod assemble;
mod error;
mod form;
mod layers;
mod read;
mod remove;
mod validate;
mod variant;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

pub use archive::{
    Bundle, ImportOptions, Layout, Loaded, Variant, choose_platform, import, load, load_for, load_layout,
    pin_layers, save, save_bundles, save_directory,
};
pub use assemble::{NewImage, assemble, make};
pub use error::Error;
pub use form::{
    Form, Grew, MediaTypes, Planned, Recipe, layer_in_form, open_blob, plan_layer, with_layers,
};
pub use layers::open_layer;
pub use read::{Image, OpenLayer, find, find_all, find_for, put, snapshot_of, unpack, variants};
pub use remove::{Conflict, ImageUse, Removed, remove_reference};
pub use variant::{find_exactly, fits_platform, remove_variant};
pub use validate::validate;
