//! Images to one tar.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use super::documents::{
    BLOBS, DockerImage, IMAGE_NAME, INDEX_JSON, LayerSource, LayoutHeader, MANIFEST_JSON,
    OCI_LAYOUT, REF_NAME, REPOSITORIES, Repositories,
};
use crate::image::assemble::to_json;
use crate::image::{Error, Image, open_layer};
use crate::oci::{ChainId, Descriptor, Digest, Hasher, Index, Reference, media_type};
use crate::store::Store;

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
    let images = merge(images);
    for (image, _) in &images {
        pin_layers(store, image)?;
    }
    let mut tar = Tar { out };
    tar.directory("blobs/")?;
    tar.directory(BLOBS)?;
    for (digest, blob) in blobs(&images) {
        let name = format!("{BLOBS}{}", digest.hex());
        match blob {
            Blob::Document(bytes) => tar.file(&name, bytes)?,
            Blob::Layer { image, index } => tar.layer(&name, store, image, index)?,
        }
    }
    tar.file(INDEX_JSON, &to_json("image index", &index_of(&images))?)?;
    let docker: Vec<DockerImage> = images.iter().map(docker_image).collect();
    tar.file(MANIFEST_JSON, &to_json("docker manifest", &docker)?)?;
    let layout = LayoutHeader {
        image_layout_version: "1.0.0".to_owned(),
        extra: serde_json::Map::new(),
    };
    tar.file(OCI_LAYOUT, &to_json("layout header", &layout)?)?;
    let repositories = repositories(&images);
    if !repositories.is_empty() {
        tar.file(
            REPOSITORIES,
            &to_json("list of repositories", &repositories)?,
        )?;
    }
    tar.finish()
}

/// An image with every name asked for, each once, in the order asked.
type Named<'a> = (&'a Image, Vec<&'a Reference>);

fn merge(images: &[(Image, Vec<Reference>)]) -> Vec<Named<'_>> {
    let mut merged: Vec<Named<'_>> = Vec::new();
    for (image, names) in images {
        let position = merged.iter().position(|(other, _)| other.id == image.id);
        let position = position.unwrap_or_else(|| {
            merged.push((image, Vec::new()));
            merged.len() - 1
        });
        let known = &mut merged[position].1;
        for name in names {
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }
    merged
}

enum Blob<'a> {
    Document(&'a [u8]),
    Layer { image: &'a Image, index: usize },
}

/// Every blob once, in the order of their names.
fn blobs<'a>(images: &[Named<'a>]) -> BTreeMap<Digest, Blob<'a>> {
    let mut blobs = BTreeMap::new();
    for (image, _) in images {
        blobs.insert(image.manifest_digest, Blob::Document(&image.manifest_bytes));
        blobs.insert(image.id.0, Blob::Document(&image.config_bytes));
        for (index, layer) in image.manifest.layers.iter().enumerate() {
            let blob = Blob::Layer { image, index };
            blobs.entry(layer.digest).or_insert(blob);
        }
    }
    blobs
}

/// Keeps the layers of an image where they are while it is being read.
fn pin_layers(store: &Store, image: &Image) -> Result<(), Error> {
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

fn index_of(images: &[Named<'_>]) -> Index {
    let mut manifests = Vec::new();
    for (image, names) in images {
        let kind = image.manifest.media_type.as_deref();
        let kind = kind.unwrap_or(media_type::MANIFEST);
        let size = image.manifest_bytes.len() as u64;
        let plain = Descriptor::new(kind, image.manifest_digest, size);
        let tagged = names.iter().filter_map(|name| name.tag().zip(Some(name)));
        let before = manifests.len();
        manifests.extend(tagged.map(|(tag, name)| {
            let full = format!("{}:{tag}", name.repository());
            Descriptor {
                annotations: BTreeMap::from([
                    (IMAGE_NAME.to_owned(), full),
                    (REF_NAME.to_owned(), tag.to_owned()),
                ]),
                ..plain.clone()
            }
        }));
        if manifests.len() == before {
            manifests.push(plain);
        }
    }
    Index {
        schema_version: 2,
        media_type: Some(media_type::INDEX.to_owned()),
        manifests,
        annotations: BTreeMap::new(),
    }
}

fn docker_image((image, names): &Named<'_>) -> DockerImage {
    let path = |digest: Digest| format!("{BLOBS}{}", digest.hex());
    let tags: Vec<String> = names
        .iter()
        .filter_map(|name| Some(format!("{}:{}", name.familiar_repository(), name.tag()?)))
        .collect();
    let layers = &image.manifest.layers;
    let sources = image.config.rootfs.diff_ids.iter().zip(layers);
    DockerImage {
        config: path(image.id.0),
        repo_tags: (!tags.is_empty()).then_some(tags),
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
}

fn repositories(images: &[Named<'_>]) -> Repositories {
    let mut repositories = Repositories::new();
    for (image, names) in images {
        let Some(top) = image.manifest.layers.last() else {
            continue;
        };
        for name in names {
            let Some(tag) = name.tag() else { continue };
            repositories
                .entry(name.familiar_repository())
                .or_default()
                .insert(tag.to_owned(), top.digest.hex());
        }
    }
    repositories
}

/// Writes tar entries whose metadata says nothing of this machine or moment.
struct Tar<'a> {
    out: &'a mut dyn Write,
}

const BLOCK: usize = 512;
const COPY_BYTES: usize = 256 << 10;

impl Tar<'_> {
    fn header(&mut self, name: &str, kind: tar::EntryType, size: u64) -> Result<(), Error> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(Error::Write)?;
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn directory(&mut self, name: &str) -> Result<(), Error> {
        self.header(name, tar::EntryType::Directory, 0)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let size = bytes.len() as u64;
        self.header(name, tar::EntryType::Regular, size)?;
        self.write(bytes)?;
        self.pad(size)
    }

    fn layer(
        &mut self,
        name: &str,
        store: &Store,
        image: &Image,
        index: usize,
    ) -> Result<(), Error> {
        let layer = &image.manifest.layers[index];
        let damaged = |why: String| Error::Damaged { id: image.id, why };
        let mut source = open_layer(store, image, index)?.take(layer.size + 1);
        self.header(name, tar::EntryType::Regular, layer.size)?;
        let (mut hasher, mut left) = (Hasher::new(), layer.size);
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            let length = match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => length,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                Err(err) => return Err(damaged(format!("layer {index} cannot be read: {err}"))),
            };
            left = left
                .checked_sub(length as u64)
                .ok_or_else(|| damaged(format!("layer {index} is too long")))?;
            hasher.update(&buffer[..length]);
            self.write(&buffer[..length])?;
        }
        let digest = hasher.finish();
        if left > 0 || digest != layer.digest {
            return Err(damaged(format!("layer {index} hashes to `{digest}`")));
        }
        self.pad(layer.size)
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let used = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if used == 0 {
            return Ok(());
        }
        self.write(&[0; BLOCK][used..])
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(Error::Write)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Write)
    }
}
