//! Save, load and import: OCI layout and docker archives, both in one tar.
//!
//! What is saved is a pure function of the images and the names asked for.
//! What is loaded is hostile: it is read once from front to back, its blobs may
//! come in any order, counts and sizes are bounded, and no path of the archive
//! ever becomes a path on disk: names are only compared.

mod bundle;
mod contents;
mod documents;
mod import;
mod index;
mod layout;
mod load;
mod members;
mod save;
mod sink;

#[cfg(test)]
mod tests;

pub use bundle::{Bundle, Variant};
pub use import::{ImportOptions, import};
pub use index::choose_platform;
pub use layout::load_layout;
pub use load::{Loaded, load, load_for};
pub use save::{Layout, pin_layers, save, save_bundles, save_directory};
