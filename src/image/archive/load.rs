//! One tar to images.

use std::collections::HashMap;
use std::io::Read;

use super::contents::{Contents, Stored, blob_name};
use super::documents::{DockerImage, INDEX_JSON, MANIFEST_JSON};
use super::index::{IMAGE_LIMIT, by_names, choose, choose_platform, is_attestation};
use super::members::damaged;
use crate::image::assemble::to_json;
use crate::image::read::parse;
use crate::image::{Error, Image, fits_platform};
use crate::layer::{Compression, decompress};
use crate::oci::{
    Descriptor, DiffId, Digest, ImageConfig, ImageId, Index, Manifest, Platform, Reference,
    media_type,
};
use crate::store::{LayerBlobRow, Store};

/// Most indexes within indexes.
const INDEX_DEPTH: usize = 4;
/// Bytes read after the archive's end, so that whoever writes it can finish.
const TAIL_BYTES: u64 = 16 << 20;

/// An image that was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The image.
    pub id: ImageId,
    /// The names that the archive gave it.
    pub names: Vec<Reference>,
    /// For each name the other image that had it before, if one had it.
    pub replaced: Vec<Option<ImageId>>,
}

/// Reads a docker archive or an OCI layout, compressed or not. Blobs are
/// verified and kept as they came. Nothing appears under a name unless its image is complete.
///
/// The diff ID of an uncompressed layer is verified here, that of a compressed
/// one when it is unpacked.
///
/// # Errors
/// [`Error::Archive`], [`Error::WrongDigest`] and [`Error::Document`] for an
/// archive that is none or is damaged; images before the damage stay.
pub fn load(store: &Store, source: &mut (dyn Read + Send)) -> Result<Vec<Loaded>, Error> {
    load_for(store, source, None)
}

/// The same; with `platform` the images for it alone.
///
/// # Errors
/// Those of [`load`], and [`Error::Archive`] where nothing is for the platform.
pub fn load_for(
    store: &Store,
    source: &mut (dyn Read + Send),
    platform: Option<&Platform>,
) -> Result<Vec<Loaded>, Error> {
    let mut contents = Contents::new(store);
    let loaded = fill(&mut contents, source).and_then(|()| {
        let mut load = Load {
            store,
            contents: &mut contents,
            platform,
            loaded: Vec::new(),
        };
        load.images()?;
        Ok(load.loaded)
    });
    let cleaned = contents.clean();
    let loaded = loaded?;
    cleaned?;
    Ok(loaded)
}

fn fill(contents: &mut Contents<'_>, source: &mut (dyn Read + Send)) -> Result<(), Error> {
    let (_, mut plain) = decompress(source).map_err(|err| damaged(&err))?;
    contents.fill(&mut plain)?;
    std::io::copy(&mut plain.take(TAIL_BYTES), &mut std::io::sink())
        .map(drop)
        .map_err(|err| damaged(&err))
}

/// An image whose every layer is in the store, though no record says so yet.
struct Whole {
    image: Image,
    layers: Vec<LayerBlobRow>,
}

struct Load<'a, 'b> {
    store: &'a Store,
    contents: &'b mut Contents<'a>,
    /// The only platform that is wanted.
    platform: Option<&'b Platform>,
    loaded: Vec<Loaded>,
}

impl Load<'_, '_> {
    fn images(&mut self) -> Result<(), Error> {
        if self.contents.has(INDEX_JSON) {
            self.load_index()?;
        } else if self.contents.has(MANIFEST_JSON) {
            for image in self.docker_images()? {
                self.load_docker(image)?;
            }
        } else {
            let what = "not an image archive: it has neither `index.json` nor `manifest.json`";
            return Err(Error::Archive(what.into()));
        }
        if let (true, Some(platform)) = (self.loaded.is_empty(), self.platform) {
            return Err(Error::Archive(format!("it has no image for {platform}")));
        }
        if self.loaded.is_empty() {
            return Err(Error::Archive("it has no image".into()));
        }
        Ok(())
    }

    fn load_index(&mut self) -> Result<(), Error> {
        let index: Index = parse("image index", &self.contents.document(INDEX_JSON)?)?;
        let docker_names = self.docker_names()?;
        for (names, descriptors) in by_names(index.manifests) {
            let mut manifests = Vec::new();
            self.manifests(&descriptors, INDEX_DEPTH, &mut 0, &mut manifests)?;
            let chosen = match self.platform {
                // A lone image need not say what it is for.
                Some(wanted) => {
                    choose_platform(&manifests, wanted).or(match manifests.as_slice() {
                        [only] if only.platform.is_none() => Some(only),
                        _ => None,
                    })
                }
                None => choose(&manifests),
            };
            let Some(chosen) = chosen.cloned() else {
                continue;
            };
            let whole = self.read_manifest(&chosen)?;
            let Some(whole) = whole.filter(|whole| self.wants(&whole.image.config)) else {
                continue;
            };
            let names = match (names.is_empty(), docker_names.get(&whole.image.id)) {
                (true, Some(docker)) => docker.clone(),
                _ => names,
            };
            // Only a name can stand for several images.
            let others = if names.is_empty() || self.platform.is_some() {
                Vec::new()
            } else {
                self.other_platforms(&chosen, &manifests)?
            };
            self.put(&whole, &others, names)?;
        }
        Ok(())
    }

    /// Whether an image is for the platform that is wanted, if only one is.
    fn wants(&self, config: &ImageConfig) -> bool {
        self.platform
            .is_none_or(|wanted| fits_platform(config, wanted))
    }

    /// The manifests that descriptors lead to, through indexes within indexes;
    /// `looked` counts what was looked at.
    fn manifests(
        &self,
        descriptors: &[Descriptor],
        depth: usize,
        looked: &mut usize,
        found: &mut Vec<Descriptor>,
    ) -> Result<(), Error> {
        for descriptor in descriptors.iter().filter(|one| !is_attestation(one)) {
            *looked += 1;
            if *looked > IMAGE_LIMIT {
                let what = format!("it has more than {IMAGE_LIMIT} images under one name");
                return Err(Error::Archive(what));
            }
            match media_type::to_oci(&descriptor.media_type) {
                media_type::MANIFEST => found.push(descriptor.clone()),
                media_type::INDEX if depth > 0 => {
                    let index: Index = parse("image index", &self.blob(descriptor)?)?;
                    self.manifests(&index.manifests, depth - 1, looked, found)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The images for other platforms than the chosen one's, as far as the archive
    /// has them whole: Docker saves indexes of which it has one platform.
    fn other_platforms(
        &mut self,
        chosen: &Descriptor,
        manifests: &[Descriptor],
    ) -> Result<Vec<(Platform, Whole)>, Error> {
        let mut others: Vec<(Platform, Whole)> = Vec::new();
        if manifests.len() < 2 {
            return Ok(others);
        }
        for descriptor in manifests {
            let is_chosen = descriptor.digest == chosen.digest;
            let Some(platform) = descriptor.platform.as_ref().map(normal) else {
                continue;
            };
            let known = others.iter().any(|(other, _)| *other == platform);
            if known || !(is_chosen || self.is_complete(descriptor)?) {
                continue;
            }
            if let Some(whole) = self.read_manifest(descriptor)? {
                others.push((platform, whole));
            }
        }
        Ok(others)
    }

    /// Whether everything that a manifest names is there.
    fn is_complete(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        let there = |digest: Digest| {
            self.contents.has(&blob_name(digest)) || self.store.blob_exists(digest)
        };
        if !self.contents.has(&blob_name(descriptor.digest)) {
            return Ok(false);
        }
        let manifest: Manifest = parse("image manifest", &self.blob(descriptor)?)?;
        Ok(self.contents.has(&blob_name(manifest.config.digest))
            && manifest.layers.iter().all(|layer| there(layer.digest)))
    }

    fn docker_images(&self) -> Result<Vec<DockerImage>, Error> {
        let bytes = self.contents.document(MANIFEST_JSON)?;
        let images: Vec<DockerImage> = parse("docker manifest", &bytes)?;
        if images.len() > IMAGE_LIMIT {
            let what = format!("it has more than {IMAGE_LIMIT} images");
            return Err(Error::Archive(what));
        }
        Ok(images)
    }

    /// The names in `manifest.json`, where there is one.
    fn docker_names(&self) -> Result<HashMap<ImageId, Vec<Reference>>, Error> {
        let mut names: HashMap<ImageId, Vec<Reference>> = HashMap::new();
        if !self.contents.has(MANIFEST_JSON) {
            return Ok(names);
        }
        for image in self.docker_images()? {
            if self.contents.has(&image.config) {
                let id = ImageId(Digest::of(&self.contents.document(&image.config)?));
                names.entry(id).or_default().extend(tags_of(&image)?);
            }
        }
        Ok(names)
    }

    /// The image behind a manifest's descriptor; `None` when it is something else.
    fn read_manifest(&mut self, descriptor: &Descriptor) -> Result<Option<Whole>, Error> {
        let manifest_bytes = self.blob(descriptor)?;
        let manifest: Manifest = parse("image manifest", &manifest_bytes)?;
        if media_type::to_oci(&manifest.config.media_type) != media_type::CONFIG {
            return Ok(None);
        }
        let config_bytes = self.blob(&manifest.config)?;
        let config: ImageConfig = parse("image configuration", &config_bytes)?;
        check_count(manifest.layers.len(), &config)?;
        let mut layers = Vec::with_capacity(manifest.layers.len());
        for (layer, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            let stored = self.contents.stored_blob(layer.digest)?;
            check_size(layer, stored.size)?;
            layers.push(layer_row(stored, *diff_id, &layer.media_type)?);
        }
        let image = Image {
            id: ImageId(manifest.config.digest),
            manifest_digest: descriptor.digest,
            manifest,
            manifest_bytes,
            config,
            config_bytes,
        };
        Ok(Some(Whole { image, layers }))
    }

    /// The document behind a descriptor, as long as it says.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let name = blob_name(descriptor.digest);
        if !self.contents.has(&name) {
            let digest = descriptor.digest;
            return Err(Error::Archive(format!("blob `{digest}` is missing")));
        }
        let bytes = self.contents.document(&name)?;
        check_size(descriptor, bytes.len() as u64)?;
        // Its name was checked when it was read; a link may have led elsewhere.
        let (want, got) = (descriptor.digest, Digest::of(&bytes));
        (want == got)
            .then_some(bytes)
            .ok_or(Error::WrongDigest { want, got })
    }

    /// An image of a docker archive: it has no manifest, so one is made.
    fn load_docker(&mut self, image: DockerImage) -> Result<(), Error> {
        let names = tags_of(&image)?;
        let config_bytes = self.contents.document(&image.config)?;
        let config: ImageConfig = parse("image configuration", &config_bytes)?;
        if !self.wants(&config) {
            return Ok(());
        }
        let paths = image.layers.unwrap_or_default();
        check_count(paths.len(), &config)?;
        let (mut layers, mut descriptors) = (Vec::new(), Vec::new());
        for (path, diff_id) in paths.iter().zip(&config.rootfs.diff_ids) {
            let mut stored = self.contents.stored(path)?;
            let media_type = match stored.compression {
                Compression::None => media_type::LAYER,
                Compression::Gzip => media_type::LAYER_GZIP,
                Compression::Zstd => media_type::LAYER_ZSTD,
                // OCI has no name for these.
                Compression::Bzip2 | Compression::Xz => {
                    stored = self.contents.plain(stored)?;
                    media_type::LAYER
                }
            };
            layers.push(layer_row(stored, *diff_id, media_type)?);
            descriptors.push(Descriptor::new(media_type, stored.digest, stored.size));
        }
        let id = ImageId(Digest::of(&config_bytes));
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::MANIFEST.to_owned()),
            config: Descriptor::new(media_type::CONFIG, id.0, config_bytes.len() as u64),
            layers: descriptors,
            annotations: std::collections::BTreeMap::new(),
        };
        let manifest_bytes = to_json("image manifest", &manifest)?;
        let image = Image {
            id,
            manifest_digest: Digest::of(&manifest_bytes),
            manifest,
            manifest_bytes,
            config,
            config_bytes,
        };
        self.put(&Whole { image, layers }, &[], names)
    }

    /// Keeps an image under its names, with those of all platforms where there are several.
    fn put(
        &mut self,
        whole: &Whole,
        platforms: &[(Platform, Whole)],
        names: Vec<Reference>,
    ) -> Result<(), Error> {
        let Whole { image, layers } = whole;
        // From here on the blobs are kept as long as this process or an image needs them.
        let others = platforms.iter().flat_map(|(_, other)| &other.layers);
        for layer in layers.iter().chain(others) {
            self.store.layer_blob_put(layer)?;
        }
        let before = if platforms.len() < 2 {
            self.store.image_put_named(&image.to_row(), &names)?
        } else {
            let rows = platforms
                .iter()
                .map(|(platform, other)| (platform.clone(), other.image.to_row()));
            let rows: Vec<_> = rows.collect();
            self.store.image_put_platforms(&rows, image.id, &names)?
        };
        let replaced = before.into_iter().map(|id| id.filter(|id| *id != image.id));
        let position = self.loaded.iter().position(|one| one.id == image.id);
        let position = position.unwrap_or_else(|| {
            self.loaded.push(Loaded {
                id: image.id,
                names: Vec::new(),
                replaced: Vec::new(),
            });
            self.loaded.len() - 1
        });
        let loaded = &mut self.loaded[position];
        for (name, replaced) in names.into_iter().zip(replaced) {
            if !loaded.names.contains(&name) {
                loaded.names.push(name);
                loaded.replaced.push(replaced);
            }
        }
        Ok(())
    }
}

/// A layer's blob as the store remembers it, after what can be checked without
/// decompressing it was checked.
fn layer_row(stored: Stored, diff_id: DiffId, media_type: &str) -> Result<LayerBlobRow, Error> {
    let plain = stored.compression == Compression::None;
    if plain && stored.digest != diff_id.0 {
        let (want, got) = (diff_id.0, stored.digest);
        return Err(Error::WrongDigest { want, got });
    }
    Ok(LayerBlobRow {
        digest: stored.digest,
        diff_id: plain.then_some(diff_id),
        size: stored.size,
        media_type: media_type.to_owned(),
    })
}

/// A platform in its usual spelling.
fn normal(platform: &Platform) -> Platform {
    Platform::normalised(
        &platform.os,
        &platform.architecture,
        platform.variant.as_deref(),
    )
}

fn check_count(layers: usize, config: &ImageConfig) -> Result<(), Error> {
    let diff_ids = config.rootfs.diff_ids.len();
    (layers == diff_ids).then_some(()).ok_or_else(|| {
        Error::Archive(format!(
            "an image has {layers} layers and {diff_ids} diff IDs"
        ))
    })
}

fn check_size(descriptor: &Descriptor, got: u64) -> Result<(), Error> {
    let Descriptor { digest, size, .. } = descriptor;
    (*size == got)
        .then_some(())
        .ok_or_else(|| Error::Archive(format!("blob `{digest}` has {got} bytes, not {size}")))
}

/// The tagged names of an image in `manifest.json`.
fn tags_of(image: &DockerImage) -> Result<Vec<Reference>, Error> {
    let tags = image.repo_tags.iter().flatten();
    tags.map(|tag| Ok(tag.parse()?)).collect()
}
