//! Images made of what was built, and kept in the store.

use std::collections::BTreeMap;

use super::{Built, Place, config, push, squash};
use crate::build::bases;
use crate::build::output::{Annotated, OutputForm};
use crate::build::{BuildRequest, BuildResult, Error, ImageOutput};
use crate::image::{self, Bundle, Form, Image, MediaTypes, NewImage, Variant};
use crate::oci::{Descriptor, Platform, Reference};
use crate::store::Store;
use crate::transfer;

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
            .map(|base| bases::image_of(self.store, base))
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
        let variants = self.images(form)?;
        Self::whole(variants, form, names)
    }

    /// Images under these names, together.
    pub(super) fn whole(
        mut variants: Vec<Variant>,
        form: &OutputForm,
        names: Vec<Reference>,
    ) -> Result<Bundle, Error> {
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

/// Makes the images, keeps them under their names and sends them to registries,
/// as far as the output asks for it.
pub(super) fn put(
    documents: &mut Documents<'_>,
    output: &ImageOutput,
    place: &Place<'_>,
    result: &mut BuildResult,
) -> Result<(), Error> {
    let store = documents.store;
    if output.store || output.push.is_none() || output.form.force_compression {
        place.exporting.bring(documents.built, place.step)?;
    }
    let built = documents.built;
    let Some(push) = output.push else {
        let bundle = documents.bundle(&output.form, output.names.clone())?;
        let descriptor = bundle.descriptor();
        return keep(built, (store, output), &bundle, descriptor, result);
    };
    // Layers are compressed while they are sent, except where the store is to have
    // the image: it has it even if a registry does not take it.
    let plain = OutputForm {
        codec: None,
        force_compression: false,
        ..output.form.clone()
    };
    let mut variants = documents.images(&plain)?;
    if output.store {
        let form = form(&output.form);
        for variant in &mut variants {
            let formed = transfer::formed(store, &variant.image, &form);
            variant.image = formed.map_err(|err| Error::transfer("cannot compress", &err))?;
        }
    }
    let bundle = Documents::whole(variants, &output.form, output.names.clone())?;
    if output.store {
        let descriptor = bundle.descriptor();
        keep(built, (store, output), &bundle, descriptor, result)?;
    }
    let sent = push::send(built, output, push, &bundle, place)?;
    if output.store {
        return Ok(());
    }
    keep(built, (store, output), &bundle, Some(sent), result)
}

/// How layers are written down.
pub(super) fn form(form: &OutputForm) -> Form {
    Form {
        codec: form.codec,
        force: form.force_compression,
        types: MediaTypes::docker_if(form.docker_types),
        // The manifests have theirs by then.
        annotations: BTreeMap::new(),
    }
}

/// Gives the images their names, in the store where they are to be there.
fn keep(
    built: &[Built],
    (store, output): (&Store, &ImageOutput),
    bundle: &Bundle,
    descriptor: Option<Descriptor>,
    result: &mut BuildResult,
) -> Result<(), Error> {
    let images: Vec<(Platform, &Image)> = bundle_images(built, bundle);
    let image = images[preferred(&images)].1;
    let names = names(output, descriptor.as_ref())?;
    if output.store {
        let mut names = names.clone();
        if let (Some(_), Some(descriptor)) = (output.push, &descriptor) {
            // By these names the registries know it.
            let pushed = output.names.iter();
            names.extend(pushed.map(|name| name.with_digest(descriptor.digest)));
        }
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
    let one = output.store || images.len() == 1;
    tell(result, one.then_some(image), names, descriptor);
    Ok(())
}

/// The names of an image, those by its digest included.
fn names(output: &ImageOutput, descriptor: Option<&Descriptor>) -> Result<Vec<Reference>, Error> {
    let mut names = output.names.clone();
    let Some(descriptor) = descriptor else {
        return Ok(names);
    };
    if output.push.is_some_and(|push| push.by_digest) {
        let digest = descriptor.digest;
        names = names.iter().map(|name| name.with_digest(digest)).collect();
        names.dedup();
    }
    if names.is_empty()
        && let Some(prefix) = &output.dangling_prefix
    {
        let name = format!("{prefix}@{}", descriptor.digest);
        names.push(name.parse().map_err(image::Error::from)?);
    }
    if output.canonical {
        let canonical = output.names.iter();
        names.extend(canonical.map(|name| name.with_digest(descriptor.digest)));
    }
    Ok(names)
}

/// The images of a bundle with their platforms.
pub(super) fn bundle_images<'b>(built: &[Built], bundle: &'b Bundle) -> Vec<(Platform, &'b Image)> {
    let platforms = built.iter().map(|built| built.platform.clone());
    platforms.zip(bundle.images()).collect()
}

/// Tells of the first image among the outputs.
pub(super) fn tell(
    result: &mut BuildResult,
    image: Option<&Image>,
    names: Vec<Reference>,
    descriptor: Option<Descriptor>,
) {
    if result.descriptor.is_none() {
        result.image = image.map(|image| image.id);
        result.descriptor = descriptor;
    }
    for name in names {
        if !result.names.contains(&name) {
            result.names.push(name);
        }
    }
}
