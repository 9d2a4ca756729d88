//! Images in the form in which registries get them, without any registry.

use super::Error;
use super::at_once::all;
use crate::image::{self, Form, Image};
use crate::store::Store;

/// An image with its layers as a form wants them, made here and sent nowhere:
/// what [`push`](super::push) sends with the same form.
pub fn formed(store: &Store, image: &Image, form: &Form) -> Result<Image, Error> {
    let count = image.manifest.layers.len();
    let layers = all(count, |index| {
        Ok(image::layer_in_form(store, image, index, form)?)
    })?;
    Ok(image::with_layers(image, layers, form)?)
}
