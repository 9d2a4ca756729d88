//! Recompute every promise of an image.

use super::{Error, Image};
use crate::store::Store;

/// Recomputes digests, sizes, diff IDs and order of an image and its layers,
/// and checks that the history agrees with the layers.
///
/// # Errors
/// [`Error::Damaged`] with the first promise that is broken.
pub fn validate(store: &Store, image: &Image) -> Result<(), Error> {
    let _ = (store, image);
    todo!()
}
