//! An immutable view of an image: manifest, configuration, layers.

mod archive;
mod assemble;
mod error;
mod read;
mod validate;

pub use archive::{ImportOptions, Loaded, import, load, save};
pub use assemble::{NewImage, assemble};
pub use error::Error;
pub use read::{Image, find, find_all, open_layer, snapshot_of};
pub use validate::validate;
