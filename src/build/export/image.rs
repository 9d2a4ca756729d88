//! Images made of what was built, and kept in the store.

use super::{Built, config, squash};
use crate::build::output::{Annotated, OutputForm};
use crate::build::{BuildRequest, BuildResult, Error, ImageOutput};
use crate::image::{self, Bundle, Form, Image, MediaTypes, NewImage, Variant};
use crate::oci::{Platform, Reference};
use crate::store::Store;

/// Makes the documents of images, the common part once for all outputs.
pub(in crate::build) struct Documents<'a> {
    pub(super) store: &'a Store,
    request: &'a BuildRequest,
    built: &'a [Built],
    parts: Vec<NewImage>,
}

impl<'a> Documents<'a> {
    pub(in crate::build) fn new(
        store: &'a Store,
        request: &'a BuildRequest,
        built: &'a [Built],
    ) -> Self {
        Self {
            store,
            request,
            built,
            parts: Vec::new(),
        }
    }

    /// What was built.
    pub(super) fn built(&self) -> &'a [Built] {
        self.built
    }

    /// Trees, configurations and histories, one a platform.
    fn parts(&mut self) -> Result<&[NewImage], Error> {
        if self.parts.is_empty() {
            for built in self.built {
                self.parts.push(self.part(built)?);
            }
        }
        Ok(&self.parts)
    }

    fn part(&self, built: &Built) -> Result<NewImage, Error> {
        let Built { graph, solved, .. } = built;
        let base = graph
            .base
            .as_ref()
            .map(|base| image::find(self.store, &base.id.to_string()))
            .transpose()?;
        let labels = &self.request.labels;
        let config = config::config(self.store, graph, solved, labels, built.epoch)?;
        let new = NewImage {
            top: graph.target.and_then(|id| solved.result(id)),
            base,
            config,
            names: Vec::new(),
        };
        if self.request.squash {
            return squash::squash(self.store, new, built.epoch);
        }
        Ok(new)
    }

    /// The images in one form, one a platform.
    pub(in crate::build) fn images(&mut self, form: &OutputForm) -> Result<Vec<Variant>, Error> {
        let (store, built) = (self.store, self.built);
        self.parts()?
            .iter()
            .zip(built)
            .map(|(part, built)| {
                let platform = built.platform.clone();
                let how = Form {
                    codec: form.codec,
                    force: form.force_compression,
                    types: MediaTypes::docker_if(form.docker_types),
                    annotations: form.annotations(Annotated::Manifest, &platform),
                };
                Ok(Variant {
                    image: image::make(store, part, &how)?,
                    annotations: form.annotations(Annotated::ManifestDescriptor, &platform),
                    platform,
                })
            })
            .collect()
    }

    /// The images in one form under these names, together.
    pub(super) fn bundle(
        &mut self,
        form: &OutputForm,
        names: Vec<Reference>,
    ) -> Result<Bundle, Error> {
        let mut variants = self.images(form)?;
        if variants.len() == 1
            && let Some(only) = variants.pop()
        {
            if form.needs_index() {
                let message = "index annotations not supported for single platform export";
                return Err(Error::Unsupported(message.to_owned()));
            }
            return Ok(Bundle::variant(only, names));
        }
        let everywhere = Platform::host();
        let index = form.annotations(Annotated::Index, &everywhere);
        let whole = form.annotations(Annotated::IndexDescriptor, &everywhere);
        Ok(Bundle::several(variants, names, index, form.docker_types)?.annotated(whole))
    }
}

/// Which image a name stands for where nobody asks for a platform: this
/// machine's, or else the first.
pub(super) fn preferred(images: &[(Platform, &Image)]) -> usize {
    let host = Platform::host();
    images
        .iter()
        .position(|(platform, _)| *platform == host)
        .unwrap_or(0)
}

/// Keeps the images and gives them their names.
pub(super) fn put(
    documents: &mut Documents<'_>,
    output: &ImageOutput,
    result: &mut BuildResult,
) -> Result<(), Error> {
    let store = documents.store;
    let bundle = documents.bundle(&output.form, output.names.clone())?;
    let images: Vec<(Platform, &Image)> = bundle_images(documents.built, &bundle);
    let place = preferred(&images);
    let image = images[place].1;
    let descriptor = bundle.descriptor();
    let mut names = output.names.clone();
    if let Some(descriptor) = &descriptor {
        let by_digest =
            |repository: &str| format!("{repository}@{}", descriptor.digest).parse::<Reference>();
        let mut more = Vec::new();
        if names.is_empty()
            && let Some(prefix) = &output.dangling_prefix
        {
            more.push(by_digest(prefix).map_err(image::Error::from)?);
        }
        if output.canonical {
            for name in &names {
                more.push(by_digest(&name.repository()).map_err(image::Error::from)?);
            }
        }
        names.extend(more);
    }
    if output.store {
        if images.len() == 1 {
            store.image_put_named(&image.to_row(), &names)?;
        } else {
            let rows = images
                .iter()
                .map(|(platform, image)| (platform.clone(), image.to_row()));
            let rows: Vec<_> = rows.collect();
            store.image_put_platforms(&rows, image.id, &names)?;
        }
    }
    tell(result, image, names, descriptor);
    Ok(())
}

/// The images of a bundle with their platforms.
pub(super) fn bundle_images<'b>(built: &[Built], bundle: &'b Bundle) -> Vec<(Platform, &'b Image)> {
    let platforms = built.iter().map(|built| built.platform.clone());
    platforms.zip(bundle.images()).collect()
}

/// Tells of the first image among the outputs.
pub(super) fn tell(
    result: &mut BuildResult,
    image: &Image,
    names: Vec<Reference>,
    descriptor: Option<crate::oci::Descriptor>,
) {
    if result.image.is_none() {
        result.image = Some(image.id);
        result.descriptor = descriptor;
    }
    for name in names {
        if !result.names.contains(&name) {
            result.names.push(name);
        }
    }
}
