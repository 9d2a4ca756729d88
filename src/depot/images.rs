//! The images of the store, by their names, to be pulled as they are: nothing
//! is copied, and layers that were built here are packed while they are sent.

use std::io::{self, Read};

use super::refusal::{Code, Refusal};
use super::route::{Name, is_repository};
use crate::image::{self, Image};
use crate::oci::{Digest, Reference, media_type};
use crate::store::{HostedManifest, Store};

impl From<image::Error> for Refusal {
    fn from(err: image::Error) -> Self {
        Self::new(Code::Internal, "the image cannot be read").noted(err.to_string())
    }
}

/// The images with a name in a repository.
fn within(store: &Store, repository: &str) -> Result<Vec<(Reference, Image)>, Refusal> {
    // `app` is `docker.io/library/app` here as everywhere.
    let Ok(wanted) = repository.parse::<Reference>() else {
        return Ok(Vec::new());
    };
    let mut images = Vec::new();
    for (name, id) in store.name_list()? {
        if name.host() == wanted.host() && name.path() == wanted.path() {
            match image::find(store, &id.to_string()) {
                Ok(image) => images.push((name, image)),
                // Removed meanwhile.
                Err(image::Error::NotFound(_)) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }
    Ok(images)
}

/// The manifest of an image.
pub(super) fn manifest(
    store: &Store,
    repository: &str,
    name: &Name,
) -> Result<Option<HostedManifest>, Refusal> {
    let images = within(store, repository)?.into_iter();
    let fits = |(own, image): &(Reference, Image)| match name {
        Name::Tag(tag) => own.digest().is_none() && own.tag() == Some(tag),
        Name::Digest(digest) => image.manifest_digest == *digest,
    };
    Ok(images
        .map(|pair| (fits(&pair), pair))
        .find_map(|(fits, (_, image))| {
            let kind = image.manifest.media_type.as_deref();
            fits.then(|| HostedManifest {
                digest: image.manifest_digest,
                media_type: kind.unwrap_or(media_type::MANIFEST).to_owned(),
                bytes: image.manifest_bytes,
                subject: None,
            })
        }))
}

/// Opens a blob, when it is to be sent.
type Open = Box<dyn FnOnce() -> Result<Box<dyn Read + Send>, Refusal>>;

/// A blob of an image of a repository: its size, and how to open it.
pub(super) fn blob(
    store: &std::sync::Arc<Store>,
    repository: &str,
    digest: Digest,
) -> Result<Option<(u64, Open)>, Refusal> {
    for (_, image) in within(store, repository)? {
        if image.id.0 == digest {
            let bytes = image.config_bytes;
            let length = bytes.len() as u64;
            let open: Open = Box::new(|| Ok(Box::new(io::Cursor::new(bytes))));
            return Ok(Some((length, open)));
        }
        let layers = &image.manifest.layers;
        if let Some(index) = layers.iter().position(|layer| layer.digest == digest) {
            let size = layers[index].size;
            let store = std::sync::Arc::clone(store);
            let open: Open = Box::new(move || Ok(image::open_layer(&store, &image, index)?));
            return Ok(Some((size, open)));
        }
    }
    Ok(None)
}

/// The tags of a repository.
pub(super) fn tags(store: &Store, repository: &str) -> Result<Vec<String>, Refusal> {
    let Ok(wanted) = repository.parse::<Reference>() else {
        return Ok(Vec::new());
    };
    let names = store.name_list()?.into_iter().map(|(name, _)| name);
    let own = names.filter(|name| name.host() == wanted.host() && name.path() == wanted.path());
    Ok(own
        .filter(|name| name.digest().is_none())
        .filter_map(|name| name.tag().map(str::to_owned))
        .collect())
}

/// The repositories that images have names in.
pub(super) fn repositories(store: &Store) -> Result<Vec<String>, Refusal> {
    let names = store.name_list()?.into_iter().map(|(name, _)| name);
    // A host with a port is no part of a repository's name.
    Ok(names
        .filter(|name| name.digest().is_none())
        .map(|name| name.familiar_repository())
        .filter(|name| is_repository(name))
        .collect())
}
