//! What an image looks like on its way out: compression, media types, annotations.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::assemble::to_json;
use super::layers::open_plain;
use super::{Error, Image, open_layer};
use crate::fs::Lock;
use crate::layer::Codec;
use crate::oci::{Descriptor, DiffId, Digest, Hasher, media_type};
use crate::store::{LayerBlobRow, Store};

/// How an image is written down. The default is OCI's media types and plain
/// layers, those of the base image as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// How new layers are compressed; `None` for not at all.
    pub codec: Option<Codec>,
    /// Whether the base image's layers are compressed anew as well.
    pub force: bool,
    /// Whether Docker's media types are written instead of OCI's.
    pub docker_types: bool,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

impl Form {
    /// The media type that this form writes for one that stands for the same.
    pub(super) fn media_type<'a>(&self, media_type: &'a str) -> &'a str {
        let oci = media_type::to_oci(media_type);
        if self.docker_types {
            media_type::to_docker(oci)
        } else {
            oci
        }
    }
}

/// A layer of an image as `form` wants it: what was made here is compressed, what
/// came from elsewhere stays as it came unless the form forces.
pub fn layer_in_form(
    store: &Store,
    image: &Image,
    index: usize,
    form: &Form,
) -> Result<Descriptor, Error> {
    let layer = &image.manifest.layers[index];
    let diff_ids = &image.config.rootfs.diff_ids[..=index];
    let is_plain = diff_ids
        .last()
        .is_some_and(|diff_id| diff_id.0 == layer.digest);
    let layer = match form.codec {
        Some(codec) if is_plain || form.force => compressed_layer(store, diff_ids, codec)?,
        _ => layer.clone(),
    };
    Ok(Descriptor {
        media_type: form.media_type(&layer.media_type).to_owned(),
        ..layer
    })
}

/// The image with these layers in its manifest; the same bytes when nothing changes.
pub fn with_layers(image: &Image, layers: Vec<Descriptor>, form: &Form) -> Result<Image, Error> {
    let mut sent = image.clone();
    sent.manifest.layers = layers;
    let kind = image.manifest.media_type.as_deref();
    let kind = form
        .media_type(kind.unwrap_or(media_type::MANIFEST))
        .to_owned();
    let config = form
        .media_type(&image.manifest.config.media_type)
        .to_owned();
    if sent.manifest.layers == image.manifest.layers
        && config == image.manifest.config.media_type
        && form.annotations.is_empty()
    {
        return Ok(sent);
    }
    sent.manifest.media_type = Some(kind);
    sent.manifest.config.media_type = config;
    let annotations = form.annotations.iter();
    sent.manifest
        .annotations
        .extend(annotations.map(|(name, value)| (name.clone(), value.clone())));
    sent.manifest_bytes = to_json("image manifest", &sent.manifest)?;
    sent.manifest_digest = Digest::of(&sent.manifest_bytes);
    Ok(sent)
}

/// Opens the bytes of a layer in the form that [`layer_in_form`] gave it.
pub fn open_blob(
    store: &Store,
    image: &Image,
    index: usize,
    layer: &Descriptor,
) -> Result<Box<dyn Read + Send>, Error> {
    if layer.digest == image.manifest.layers[index].digest {
        return open_layer(store, image, index);
    }
    Ok(Box::new(store.blob_open(layer.digest)?))
}

/// The compressed blob of the layer on top of `stack`: made once, and found again.
pub(super) fn compressed_layer(
    store: &Store,
    stack: &[DiffId],
    codec: Codec,
) -> Result<Descriptor, Error> {
    let diff_id = *stack.last().expect("a stack has a top");
    let form = codec.to_string();
    let media_type = match codec {
        Codec::Gzip(_) => media_type::LAYER_GZIP,
        Codec::Zstd(_) => media_type::LAYER_ZSTD,
    };
    let mut name = Hasher::new();
    name.part(diff_id.0.raw());
    name.part(form.as_bytes());
    let lock = format!("compress-{}", name.finish().hex());
    let _turn = Lock::transient(&store.paths().locks().join(lock))?;
    if let Some(row) = store.compressed_get(diff_id, &form)? {
        return Ok(Descriptor::new(media_type, row.digest, row.size));
    }
    let missing = || Error::LayerMissing(diff_id);
    let mut plain = Checked {
        source: open_plain(store, stack)?.ok_or_else(missing)?,
        hasher: Some(Hasher::new()),
        want: diff_id.0,
    };
    let writer = codec
        .compress(&mut plain, store.blob_writer()?)
        .map_err(Error::Compress)?;
    let (digest, size) = store.blob_finish(writer, None)?;
    store.layer_blob_put(&LayerBlobRow {
        digest,
        diff_id: Some(diff_id),
        size,
        media_type: media_type.to_owned(),
    })?;
    store.compressed_put(diff_id, &form, digest)?;
    Ok(Descriptor::new(media_type, digest, size))
}

/// A reader whose end is an error unless its bytes have the digest that they should.
struct Checked {
    source: Box<dyn Read + Send>,
    hasher: Option<Hasher>,
    want: Digest,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&buffer[..count]);
            }
            return Ok(count);
        }
        match self.hasher.take().map(Hasher::finish) {
            Some(got) if got != self.want => Err(io::Error::other(format!(
                "layer `{}` hashes to `{got}`",
                self.want
            ))),
            _ => Ok(0),
        }
    }
}
