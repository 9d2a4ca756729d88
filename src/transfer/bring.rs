//! A pull in two halves: what an image is, and its layers, for whoever may not
//! need those.

use super::pull::{INDEX_DEPTH, Pull};
use super::{Error, PullOptions, Unwatched, Watch};
use crate::image::Image;
use crate::oci::{Platform, Reference};
use crate::registry::{Client, Fetched};
use crate::store::Store;

/// Reads what an image is: manifest and configuration, of the image for `platform`
/// where `named` is an index. `named` is what `reference` led to. Nothing is stored.
pub fn resolve(
    store: &Store,
    client: &Client,
    reference: &Reference,
    named: Fetched,
    platform: &Platform,
) -> Result<Image, Error> {
    let options = PullOptions {
        platform: platform.clone(),
    };
    let pull = Pull {
        store,
        client,
        reference,
        options: &options,
        watch: &Unwatched,
    };
    pull.documents(named, INDEX_DEPTH)
}

/// Downloads and unpacks the layers of an image of the reference's repository, as
/// far as they are not here. The image gets no name.
pub fn bring(
    store: &Store,
    client: &Client,
    reference: &Reference,
    image: &Image,
    watch: &dyn Watch,
) -> Result<(), Error> {
    let pull = Pull {
        store,
        client,
        reference,
        options: &PullOptions::default(),
        watch,
    };
    pull.layers(image)
}
