//! What an image looks like on its way out: compression, media types, annotations.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use super::assemble::to_json;
use super::layers::open_checked;
use super::{Error, Image, open_layer};
use crate::fs::Lock;
use crate::layer::Codec;
use crate::oci::{Descriptor, DiffId, Digest, Hasher, media_type};
use crate::store::{BlobWriter, LayerBlobRow, Store};

/// How many more bytes are worth telling.
const TELL_BYTES: u64 = 256 << 10;

/// How an image is written down. The default is OCI's media types and plain
/// layers, those of the base image as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Form {
    /// How new layers are compressed; `None` for not at all.
    pub codec: Option<Codec>,
    /// Whether the base image's layers are compressed anew as well.
    pub force: bool,
    /// Whose media types are written.
    pub types: MediaTypes,
    /// Annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
}

/// Whose media types an image's documents have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MediaTypes {
    /// OCI's.
    #[default]
    Oci,
    /// Docker's.
    Docker,
    /// Those that the image came with; what is new follows its manifest.
    Kept,
}

impl MediaTypes {
    /// Docker's, or else OCI's.
    pub fn docker_if(docker: bool) -> Self {
        if docker { Self::Docker } else { Self::Oci }
    }

    /// What `Kept` means for a manifest with this media type.
    fn settled(self, manifest: Option<&str>) -> Self {
        match self {
            Self::Kept => Self::docker_if(manifest == Some(media_type::DOCKER_MANIFEST)),
            other => other,
        }
    }

    /// The media type that is written for one that stands for the same.
    pub fn of(self, media_type: &str) -> &str {
        match self {
            Self::Oci => media_type::to_oci(media_type),
            Self::Docker => media_type::to_docker(media_type::to_oci(media_type)),
            Self::Kept => media_type,
        }
    }
}

impl Form {
    /// The media type that this form writes for one that stands for the same.
    pub(super) fn media_type<'a>(&self, media_type: &'a str) -> &'a str {
        self.types.of(media_type)
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
    match plan_layer(store, image, index, form)? {
        Planned::There(layer) => Ok(layer),
        Planned::ToMake(recipe) => recipe.make(store, &mut |_, _| Ok(())),
    }
}

/// What it takes to have a layer in a form.
#[derive(Debug)]
pub enum Planned {
    /// Nothing: here it is.
    There(Descriptor),
    /// It must be made first.
    ToMake(Recipe),
}

/// How a layer's blob is made from its plain tar.
#[derive(Debug)]
pub struct Recipe {
    stack: Vec<DiffId>,
    codec: Option<Codec>,
    types: MediaTypes,
}

/// Is told where a blob that is being made lies, and how many of its bytes can
/// be read there. An error ends the making.
pub type Grew<'a> = &'a mut dyn FnMut(&Path, u64) -> io::Result<()>;

/// Says what it takes to have a layer of an image in a form. What is there
/// already is pinned.
pub fn plan_layer(
    store: &Store,
    image: &Image,
    index: usize,
    form: &Form,
) -> Result<Planned, Error> {
    let layer = &image.manifest.layers[index];
    let diff_ids = &image.config.rootfs.diff_ids[..=index];
    let is_plain = diff_ids
        .last()
        .is_some_and(|diff_id| diff_id.0 == layer.digest);
    let stays = match form.codec {
        Some(_) => !is_plain && !form.force,
        None => is_plain || !form.force,
    };
    if stays {
        return Ok(Planned::There(Descriptor {
            media_type: form.media_type(&layer.media_type).to_owned(),
            ..layer.clone()
        }));
    }
    let recipe = Recipe {
        stack: diff_ids.to_vec(),
        codec: form.codec,
        types: form.types.settled(image.manifest.media_type.as_deref()),
    };
    Ok(match recipe.find(store)? {
        Some(layer) => Planned::There(layer),
        None => Planned::ToMake(recipe),
    })
}

impl Recipe {
    /// The layer on top of `stack`, bottom first, compressed for OCI's media types.
    ///
    /// # Panics
    /// When the stack is empty.
    pub fn compressed(stack: Vec<DiffId>, codec: Codec) -> Self {
        assert!(!stack.is_empty(), "a stack has a top");
        Self {
            stack,
            codec: Some(codec),
            types: MediaTypes::Oci,
        }
    }

    /// The diff ID of the layer.
    pub fn diff_id(&self) -> DiffId {
        *self.stack.last().expect("a stack has a top")
    }

    /// What results are remembered under.
    fn form(&self) -> String {
        self.codec
            .map_or_else(|| "plain".to_owned(), |codec| codec.to_string())
    }

    fn descriptor(&self, digest: Digest, size: u64) -> Descriptor {
        let media_type = self.types.of(match self.codec {
            None => media_type::LAYER,
            Some(Codec::Gzip(_)) => media_type::LAYER_GZIP,
            Some(Codec::Zstd(_)) => media_type::LAYER_ZSTD,
        });
        Descriptor::new(media_type, digest, size)
    }

    fn find(&self, store: &Store) -> Result<Option<Descriptor>, Error> {
        let row = store.compressed_get(self.diff_id(), &self.form())?;
        Ok(row.map(|row| self.descriptor(row.digest, row.size)))
    }

    /// Makes the blob: once, however many processes want it, and found again.
    pub fn make(&self, store: &Store, grew: Grew<'_>) -> Result<Descriptor, Error> {
        let diff_id = self.diff_id();
        let mut name = Hasher::new();
        name.part(diff_id.0.raw());
        name.part(self.form().as_bytes());
        let lock = format!("compress-{}", name.finish().hex());
        let _turn = Lock::transient(&store.paths().locks().join(lock))?;
        if let Some(layer) = self.find(store)? {
            return Ok(layer);
        }
        let mut plain = open_checked(store, &self.stack)?.ok_or(Error::LayerMissing(diff_id))?;
        let mut writer = Growing {
            blob: store.blob_writer()?,
            told: 0,
            grew,
        };
        let copied = match self.codec {
            Some(codec) => codec.compress(&mut plain, &mut writer).map(drop),
            None => io::copy(&mut plain, &mut writer).map(drop),
        };
        let blob = copied
            .and_then(|()| writer.end())
            .map_err(Error::Compress)?;
        let (digest, size) = store.blob_finish(blob, None)?;
        let made = self.descriptor(digest, size);
        store.layer_blob_put(&LayerBlobRow {
            digest,
            diff_id: Some(diff_id),
            size,
            media_type: media_type::to_oci(&made.media_type).to_owned(),
        })?;
        store.compressed_put(diff_id, &self.form(), digest)?;
        Ok(made)
    }
}

/// A blob that tells how far it is.
struct Growing<'a> {
    blob: BlobWriter,
    told: u64,
    grew: Grew<'a>,
}

impl Growing<'_> {
    fn tell(&mut self) -> io::Result<()> {
        self.blob.flush()?;
        self.told = self.blob.len();
        (self.grew)(self.blob.path(), self.told)
    }

    fn end(mut self) -> io::Result<BlobWriter> {
        self.tell()?;
        Ok(self.blob)
    }
}

impl Write for Growing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.blob.write(bytes)?;
        if self.blob.len() - self.told >= TELL_BYTES {
            self.tell()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.blob.flush()
    }
}

/// The image with these layers in its manifest; the same bytes when nothing changes.
pub fn with_layers(image: &Image, layers: Vec<Descriptor>, form: &Form) -> Result<Image, Error> {
    let mut sent = image.clone();
    sent.manifest.layers = layers;
    let kind = image.manifest.media_type.as_deref();
    let kind = form.media_type(kind.unwrap_or(media_type::MANIFEST));
    let kind = kind.to_owned();
    let config = form
        .media_type(&image.manifest.config.media_type)
        .to_owned();
    if sent.manifest.layers == image.manifest.layers
        && config == image.manifest.config.media_type
        && image
            .manifest
            .media_type
            .as_ref()
            .is_none_or(|own| *own == kind)
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
    let recipe = Recipe::compressed(stack.to_vec(), codec);
    match recipe.find(store)? {
        Some(layer) => Ok(layer),
        None => recipe.make(store, &mut |_, _| Ok(())),
    }
}
