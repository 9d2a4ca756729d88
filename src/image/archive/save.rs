//! Images to one tar, or to a directory.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use super::bundle::Bundle;
use super::documents::{
    BLOBS, DockerImage, IMAGE_NAME, INDEX_JSON, LayerSource, LayoutHeader, MANIFEST_JSON,
    OCI_LAYOUT, REPOSITORIES, Repositories,
};
use super::sink::{Directory, Sink, Tar};
use crate::image::assemble::to_json;
use crate::image::layers::open_stored;
use crate::image::read::parse;
use crate::image::{Error, Image};
use crate::oci::{ChainId, Descriptor, Digest, Hasher, Index, Platform, Reference, media_type};
use crate::store::Store;

/// Largest index of a layout that something is added to, in bytes.
const INDEX_LIMIT: u64 = 4 << 20;

/// Writes images to one tar that is at once an OCI layout (`oci-layout`,
/// `index.json`, `blobs/`) and a docker archive (`manifest.json`,
/// `repositories`), as Docker 25 and later write it. Deterministic. `names` are the references
/// asked for; images asked for by ID have none.
///
/// Layers are streamed and checked on the way: memory does not grow with them.
///
/// # Errors
/// [`Error::Damaged`] when a blob is not what its descriptor says; what was
/// written until then is no archive. [`Error::Write`] when `out` refuses.
pub fn save(
    store: &Store,
    images: &[(Image, Vec<Reference>)],
    out: &mut dyn Write,
) -> Result<(), Error> {
    let one = |(image, names): &(Image, Vec<Reference>)| Bundle::one(image.clone(), names.clone());
    let bundles: Vec<Bundle> = images.iter().map(one).collect();
    save_bundles(store, &bundles, Layout::Docker, out)
}

/// Which readers an archive serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// An OCI layout that is a docker archive as well.
    Docker,
    /// An OCI layout alone.
    Oci,
}

/// Writes bundles to one tar, as [`save`] does.
pub fn save_bundles(
    store: &Store,
    bundles: &[Bundle],
    layout: Layout,
    out: &mut dyn Write,
) -> Result<(), Error> {
    write(store, bundles, layout, &[], &mut Tar { out })
}

/// Writes bundles into a directory, which is made where it is missing. What a
/// layout there holds under other names stays.
pub fn save_directory(
    store: &Store,
    bundles: &[Bundle],
    layout: Layout,
    path: &Path,
) -> Result<(), Error> {
    let mut sink = Directory::open(path)?;
    let kept = kept_descriptors(path, bundles)?;
    write(store, bundles, layout, &kept, &mut sink)
}

fn write(
    store: &Store,
    bundles: &[Bundle],
    layout: Layout,
    kept: &[Descriptor],
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let bundles = merge(bundles);
    for image in bundles.iter().flat_map(|bundle| &bundle.images) {
        pin_layers(store, image)?;
    }
    sink.directory("blobs/")?;
    sink.directory(BLOBS)?;
    for (digest, blob) in blobs(&bundles) {
        let name = format!("{BLOBS}{}", digest.hex());
        match blob {
            Blob::Document(bytes) => sink.file(&name, bytes)?,
            Blob::Layer { image, index } => layer(sink, &name, store, image, index)?,
        }
    }
    let index = Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.to_owned()),
        manifests: kept
            .iter()
            .cloned()
            .chain(bundles.iter().flat_map(Bundle::descriptors))
            .collect(),
        annotations: BTreeMap::new(),
    };
    let header = LayoutHeader {
        image_layout_version: "1.0.0".to_owned(),
        extra: serde_json::Map::new(),
    };
    let header = to_json("layout header", &header)?;
    sink.file(INDEX_JSON, &to_json("image index", &index)?)?;
    if layout == Layout::Docker {
        let docker = bundles.iter().flat_map(docker_images);
        let docker: Vec<DockerImage> = docker.collect();
        sink.file(MANIFEST_JSON, &to_json("docker manifest", &docker)?)?;
    }
    sink.file(OCI_LAYOUT, &header)?;
    let repositories = repositories(&bundles);
    if layout == Layout::Docker && !repositories.is_empty() {
        sink.file(
            REPOSITORIES,
            &to_json("list of repositories", &repositories)?,
        )?;
    }
    sink.finish()
}

/// What the index of a layout at `path` says of other names than these.
fn kept_descriptors(path: &Path, bundles: &[Bundle]) -> Result<Vec<Descriptor>, Error> {
    let mut bytes = Vec::new();
    let Ok(file) = std::fs::File::open(path.join(INDEX_JSON)) else {
        return Ok(Vec::new());
    };
    file.take(INDEX_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(Error::Write)?;
    let there: Index = parse("image index", &bytes)?;
    let new: Vec<Descriptor> = bundles.iter().flat_map(Bundle::descriptors).collect();
    let name = |one: &Descriptor| one.annotations.get(IMAGE_NAME).cloned();
    let is_replaced = |old: &Descriptor| {
        new.iter().any(|new| match name(old) {
            Some(text) => name(new) == Some(text),
            None => new.digest == old.digest,
        })
    };
    let mut kept = there.manifests;
    kept.retain(|old| !is_replaced(old));
    Ok(kept)
}

/// Every image with every name asked for, each once, in the order asked.
fn merge(bundles: &[Bundle]) -> Vec<Bundle> {
    let mut merged: Vec<Bundle> = Vec::new();
    let digest = |bundle: &Bundle| bundle.descriptor().map(|descriptor| descriptor.digest);
    for bundle in bundles {
        let known = merged
            .iter_mut()
            .find(|other| digest(other) == digest(bundle));
        let Some(known) = known else {
            merged.push(bundle.clone());
            continue;
        };
        known.names.extend(bundle.names.iter().cloned());
    }
    for bundle in &mut merged {
        let mut seen = Vec::new();
        bundle.names.retain(|name| {
            let new = !seen.contains(name);
            seen.push(name.clone());
            new
        });
    }
    merged
}

enum Blob<'a> {
    Document(&'a [u8]),
    Layer { image: &'a Image, index: usize },
}

/// Every blob once, in the order of their names.
fn blobs(bundles: &[Bundle]) -> BTreeMap<Digest, Blob<'_>> {
    let mut blobs = BTreeMap::new();
    for bundle in bundles {
        if let Some((digest, bytes)) = bundle.index_document() {
            blobs.insert(digest, Blob::Document(bytes));
        }
        for image in &bundle.images {
            blobs.insert(image.manifest_digest, Blob::Document(&image.manifest_bytes));
            blobs.insert(image.id.0, Blob::Document(&image.config_bytes));
            for (index, layer) in image.manifest.layers.iter().enumerate() {
                let blob = Blob::Layer { image, index };
                blobs.entry(layer.digest).or_insert(blob);
            }
        }
    }
    blobs
}

/// Keeps the layers of an image where they are while it is being read.
pub fn pin_layers(store: &Store, image: &Image) -> Result<(), Error> {
    for layer in &image.manifest.layers {
        store.pin_layer_blob(layer.digest)?;
    }
    // The top needs everything beneath it.
    if let Some(chain) = ChainId::of(&image.config.rootfs.diff_ids)
        && let Some(row) = store.snapshot_by_chain(chain)?
    {
        store.pin(row.id)?;
    }
    Ok(())
}

/// What `manifest.json` says; it knows one image a name, so of several platforms
/// it names this machine's, or else the first.
fn docker_images(bundle: &Bundle) -> Vec<DockerImage> {
    let path = |digest: Digest| format!("{BLOBS}{}", digest.hex());
    let tags: Vec<String> = bundle
        .names
        .iter()
        .filter_map(|name| Some(format!("{}:{}", name.familiar_repository(), name.tag()?)))
        .collect();
    let host = Platform::host();
    let is_here = |image: &Image| {
        (&image.config.os, &image.config.architecture) == (&host.os, &host.architecture)
    };
    let named = bundle.images.iter().position(is_here).unwrap_or(0);
    let images = bundle.images.iter().enumerate().map(|(place, image)| {
        let layers = &image.manifest.layers;
        let sources = image.config.rootfs.diff_ids.iter().zip(layers);
        DockerImage {
            config: path(image.id.0),
            repo_tags: (!tags.is_empty() && place == named).then(|| tags.clone()),
            layers: Some(layers.iter().map(|layer| path(layer.digest)).collect()),
            layer_sources: Some(
                sources
                    .map(|(diff_id, layer)| {
                        let source = LayerSource {
                            media_type: layer.media_type.clone(),
                            size: layer.size,
                            digest: layer.digest.to_string(),
                        };
                        (diff_id.to_string(), source)
                    })
                    .collect(),
            ),
        }
    });
    images.collect()
}

fn repositories(bundles: &[Bundle]) -> Repositories {
    let mut repositories = Repositories::new();
    for bundle in bundles {
        let first = bundle.images.first();
        let Some(top) = first.and_then(|image| image.manifest.layers.last()) else {
            continue;
        };
        for name in &bundle.names {
            let Some(tag) = name.tag() else { continue };
            repositories
                .entry(name.familiar_repository())
                .or_default()
                .insert(tag.to_owned(), top.digest.hex());
        }
    }
    repositories
}

fn layer(
    sink: &mut dyn Sink,
    name: &str,
    store: &Store,
    image: &Image,
    index: usize,
) -> Result<(), Error> {
    let descriptor = &image.manifest.layers[index];
    let opened = open_stored(store, image, index)?;
    let mut checked = Checked {
        hasher: (!opened.is_checked).then(Hasher::new),
        source: opened.source,
        left: descriptor.size,
        want: descriptor.digest,
        failed: None,
    };
    let written = sink.stream(name, descriptor.size, &mut checked);
    match checked.failed {
        Some(why) => Err(Error::Damaged {
            id: image.id,
            why: format!("layer {index} {why}"),
        }),
        None => written,
    }
}

/// A layer's bytes, which must be as many and such as its descriptor says.
struct Checked {
    source: Box<dyn Read + Send>,
    /// Nothing where the source checks itself.
    hasher: Option<Hasher>,
    left: u64,
    want: Digest,
    /// What is wrong with the layer, once that is known.
    failed: Option<String>,
}

impl Checked {
    fn fail(&mut self, why: String) -> io::Result<usize> {
        self.failed = Some(why);
        Err(io::ErrorKind::InvalidData.into())
    }
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.source.read(buffer) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => return Err(err),
            Err(err) => return self.fail(format!("cannot be read: {err}")),
            Ok(count) => count,
        };
        if count == 0 {
            let got = self.hasher.take().map(Hasher::finish);
            return match got {
                Some(got) if got != self.want => self.fail(format!("hashes to `{got}`")),
                _ if self.left > 0 => self.fail("ends too early".to_owned()),
                _ => Ok(0),
            };
        }
        let Some(left) = self.left.checked_sub(count as u64) else {
            return self.fail("is too long".to_owned());
        };
        self.left = left;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        Ok(count)
    }
}
