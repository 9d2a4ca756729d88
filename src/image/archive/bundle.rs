//! What goes into an archive: images with their names, one or several platforms each.

use std::collections::BTreeMap;

use super::documents::{IMAGE_NAME, REF_NAME};
use crate::image::assemble::to_json;
use crate::image::read::parse;
use crate::image::{Error, Image, MediaTypes};
use crate::oci::{Descriptor, Digest, Index, Platform, Reference, media_type};

/// An image for one platform, or images for several under one index.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// The images.
    pub(super) images: Vec<Image>,
    /// The index over them, where there are several platforms.
    index: Option<(Descriptor, Vec<u8>)>,
    /// The names of the whole.
    pub(super) names: Vec<Reference>,
    /// The platform that the archive's index tells, for a single image.
    platform: Option<Platform>,
    /// Annotations of the whole in the archive's index.
    annotations: BTreeMap<String, String>,
}

/// An image for a platform of an index.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The platform.
    pub platform: Platform,
    /// The image.
    pub image: Image,
    /// Annotations of its descriptor in the index.
    pub annotations: BTreeMap<String, String>,
}

impl Bundle {
    /// One image.
    pub fn one(image: Image, names: Vec<Reference>) -> Self {
        Self {
            images: vec![image],
            index: None,
            names,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }

    /// One image, for a platform that the archive is to tell.
    pub fn variant(variant: Variant, names: Vec<Reference>) -> Self {
        Self {
            platform: Some(variant.platform),
            annotations: variant.annotations,
            ..Self::one(variant.image, names)
        }
    }

    /// Several images under one index, in this order, with the index' own annotations.
    pub fn several(
        variants: Vec<Variant>,
        names: Vec<Reference>,
        annotations: BTreeMap<String, String>,
        docker_types: bool,
    ) -> Result<Self, Error> {
        let manifests = variants.iter().map(|variant| Descriptor {
            platform: Some(variant.platform.clone()),
            annotations: variant.annotations.clone(),
            ..descriptor(&variant.image)
        });
        let kind = if docker_types {
            media_type::DOCKER_INDEX
        } else {
            media_type::INDEX
        };
        let index = Index {
            schema_version: 2,
            media_type: Some(kind.to_owned()),
            manifests: manifests.collect(),
            annotations,
        };
        let bytes = to_json("image index", &index)?;
        let whole = Descriptor::new(kind, Digest::of(&bytes), bytes.len() as u64);
        Ok(Self {
            images: variants.into_iter().map(|variant| variant.image).collect(),
            index: Some((whole, bytes)),
            names,
            platform: None,
            annotations: BTreeMap::new(),
        })
    }

    /// The same with annotations of the whole in the archive's index.
    #[must_use]
    pub fn annotated(mut self, annotations: BTreeMap<String, String>) -> Self {
        self.annotations.extend(annotations);
        self
    }

    /// The same with these images instead of its own: others in form alone, in the
    /// same order. The index over them is written anew where one has changed.
    pub fn with_images(mut self, images: Vec<Image>, types: MediaTypes) -> Result<Self, Error> {
        if let Some((old, bytes)) = &mut self.index {
            let mut index: Index = parse("image index", bytes)?;
            for (place, image) in index.manifests.iter_mut().zip(&images) {
                let new = descriptor(image);
                place.media_type = new.media_type;
                (place.digest, place.size) = (new.digest, new.size);
            }
            let kind = types.of(&old.media_type).to_owned();
            index.media_type = Some(kind.clone());
            *bytes = to_json("image index", &index)?;
            *old = Descriptor::new(&kind, Digest::of(bytes), bytes.len() as u64);
        }
        self.images = images;
        Ok(self)
    }

    /// The images, in the order of their platforms.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// What stands for the whole: its index, or its only manifest.
    pub fn descriptor(&self) -> Option<Descriptor> {
        let plain = match (&self.index, self.images.first()) {
            (Some((index, _)), _) => index.clone(),
            (None, Some(image)) => descriptor(image),
            (None, None) => return None,
        };
        Some(Descriptor {
            platform: self.platform.clone(),
            annotations: self.annotations.clone(),
            ..plain
        })
    }

    /// The document of the index, where there is one.
    pub fn index_document(&self) -> Option<(Digest, &[u8])> {
        let (descriptor, bytes) = self.index.as_ref()?;
        Some((descriptor.digest, bytes))
    }

    /// What the archive's index says: the whole once under each tag.
    pub(super) fn descriptors(&self) -> Vec<Descriptor> {
        let Some(plain) = self.descriptor() else {
            return Vec::new();
        };
        let tagged = self.names.iter().filter_map(|name| {
            let tag = name.tag()?;
            let mut annotations = plain.annotations.clone();
            let full = format!("{}:{tag}", name.repository());
            annotations.insert(IMAGE_NAME.to_owned(), full);
            annotations.insert(REF_NAME.to_owned(), tag.to_owned());
            Some(Descriptor {
                annotations,
                ..plain.clone()
            })
        });
        let tagged: Vec<Descriptor> = tagged.collect();
        if tagged.is_empty() {
            vec![plain]
        } else {
            tagged
        }
    }
}

fn descriptor(image: &Image) -> Descriptor {
    let kind = image.manifest.media_type.as_deref();
    let size = image.manifest_bytes.len() as u64;
    let kind = kind.unwrap_or(media_type::MANIFEST);
    Descriptor::new(kind, image.manifest_digest, size)
}
