//! From a registry into the store.

use std::io::Read;
use std::sync::{Arc, Mutex};

use super::download::Downloads;
use super::growing::{Growing, GrowingReader};
use super::send::is_foreign;
use super::{Error, LayerState, Watch};
use crate::fs::At;
use crate::image::{self, Image};
use crate::oci::{
    Descriptor, Digest, ImageConfig, ImageId, Index, Manifest, Platform, Reference, media_type,
};
use crate::registry::{Client, Fetched};
use crate::store::{LayerBlobRow, Store};

/// Largest configuration that is read, in bytes.
const CONFIG_LIMIT: u64 = 8 << 20;
/// Most layers of an image that is pulled: overlayfs takes 500.
const LAYER_LIMIT: usize = 500;
/// Most indexes within indexes.
pub(super) const INDEX_DEPTH: usize = 4;

/// What is pulled of an image.
#[derive(Debug, Clone)]
pub struct PullOptions {
    /// The platform; this machine's by default.
    pub platform: Platform,
}

impl Default for PullOptions {
    fn default() -> Self {
        Self {
            platform: Platform::host(),
        }
    }
}

/// An image that is in the store now.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The image.
    pub id: ImageId,
    /// The digest of what the reference names: a manifest or an index.
    pub digest: Digest,
    /// Whether the name led to this image before.
    pub was_current: bool,
}

/// Pulls the image that `reference` names: downloads what is missing, unpacks it
/// on the way, and gives it its name when everything is there.
pub fn pull(
    store: &Store,
    client: &Client,
    reference: &Reference,
    options: &PullOptions,
    watch: &dyn Watch,
) -> Result<Pulled, Error> {
    let pull = Pull {
        store,
        client,
        reference,
        options,
        watch,
    };
    let named = client.manifest(reference)?;
    let image = pull.documents(named.clone(), INDEX_DEPTH)?;
    let before = store.name_get(reference)?;
    pull.layers(&image)?;
    let mut names = vec![reference.clone()];
    if reference.digest().is_none() {
        names.push(reference.with_digest(named.digest));
    }
    image::put(store, &image, &names)?;
    Ok(Pulled {
        id: image.id,
        digest: named.digest,
        was_current: before == Some(image.id),
    })
}

pub(super) struct Pull<'a> {
    pub(super) store: &'a Store,
    pub(super) client: &'a Client,
    pub(super) reference: &'a Reference,
    pub(super) options: &'a PullOptions,
    pub(super) watch: &'a dyn Watch,
}

impl Pull<'_> {
    /// Manifest and configuration of the image for the platform.
    pub(super) fn documents(&self, fetched: Fetched, depth: usize) -> Result<Image, Error> {
        match media_type::to_oci(&fetched.media_type) {
            media_type::MANIFEST => self.image(fetched),
            media_type::INDEX if depth > 0 => {
                let index: Index = self.parse("index", &fetched.bytes)?;
                let chosen = self.choose(&index)?;
                let next = self.client.manifest_by_digest(self.reference, chosen.digest)?;
                self.documents(next, depth - 1)
            }
            "application/vnd.docker.distribution.manifest.v1+prettyjws"
            | "application/vnd.docker.distribution.manifest.v1+json" => Err(self.unsupported(
                "the registry has it in Docker's schema 1 only, which nobody writes since 2017; push it again with a current Docker"
                    .to_owned(),
            )),
            other => Err(self.unsupported(format!("its media type `{other}` is no image"))),
        }
    }

    fn choose<'i>(&self, index: &'i Index) -> Result<&'i Descriptor, Error> {
        let wanted = &self.options.platform;
        image::choose_platform(&index.manifests, wanted).ok_or_else(|| {
            let there = index
                .manifests
                .iter()
                .filter_map(|one| one.platform.as_ref());
            let mut there: Vec<String> = there
                .map(ToString::to_string)
                .filter(|text| text != "unknown/unknown")
                .collect();
            there.sort();
            there.dedup();
            Error::NoPlatform {
                reference: self.reference.familiar(),
                wanted: Box::new(wanted.clone()),
                there: if there.is_empty() {
                    "nothing".to_owned()
                } else {
                    there.join(", ")
                },
            }
        })
    }

    fn image(&self, fetched: Fetched) -> Result<Image, Error> {
        let manifest: Manifest = self.parse("manifest", &fetched.bytes)?;
        if media_type::to_oci(&manifest.config.media_type) != media_type::CONFIG {
            let kind = &manifest.config.media_type;
            return Err(
                self.unsupported(format!("it is an artifact of type `{kind}` and no image"))
            );
        }
        if let Some(layer) = manifest.layers.iter().find(|layer| is_foreign(layer)) {
            return Err(self.unsupported(format!(
                "layer `{}` is a foreign layer (Windows base images have them), which registries do not carry",
                layer.digest
            )));
        }
        if manifest.layers.len() > LAYER_LIMIT {
            return Err(self.unsupported(format!("it has more than {LAYER_LIMIT} layers")));
        }
        if manifest.config.size > CONFIG_LIMIT {
            return Err(self.unsupported(format!(
                "its configuration is larger than {CONFIG_LIMIT} bytes"
            )));
        }
        self.make_sure_of_room(&manifest)?;
        let mut config_bytes = Vec::new();
        self.client
            .blob(self.reference, &manifest.config, None)?
            .read_to_end(&mut config_bytes)
            .map_err(|source| Error::Layer {
                layer: manifest.config.digest,
                source,
            })?;
        let config: ImageConfig = self.parse("configuration", &config_bytes)?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            return Err(self.unsupported(
                "its manifest and its configuration disagree about the number of layers".to_owned(),
            ));
        }
        Ok(Image {
            id: ImageId(manifest.config.digest),
            manifest_digest: fetched.digest,
            manifest,
            manifest_bytes: fetched.bytes,
            config,
            config_bytes,
        })
    }

    /// Refuses layers that the disk has no room for, before a byte of them comes: what
    /// a manifest says of its sizes may be a lie.
    fn make_sure_of_room(&self, manifest: &Manifest) -> Result<(), Error> {
        let root = self.store.paths().blobs();
        let disk = rustix::fs::statvfs(&root).at("look at the file system of", &root)?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let missing = |layer: &&Descriptor| !self.store.blob_exists(layer.digest);
        let layers = manifest.layers.iter().filter(missing);
        let wanted = layers.fold(0_u64, |sum, layer| sum.saturating_add(layer.size));
        if wanted > free {
            return Err(self.unsupported(format!(
                "its layers are said to have {wanted} bytes, and the disk has room for {free}"
            )));
        }
        Ok(())
    }

    /// Downloads and unpacks what is missing.
    pub(super) fn layers(&self, image: &Image) -> Result<(), Error> {
        let diff_ids = &image.config.rootfs.diff_ids;
        let mut layers: Vec<(Descriptor, _, Arc<Growing>)> = Vec::new();
        let mut place = Vec::new();
        for (layer, diff_id) in image.manifest.layers.iter().zip(diff_ids) {
            let known = layers
                .iter()
                .position(|(other, _, _)| other.digest == layer.digest);
            place.push(known.unwrap_or(layers.len()));
            if known.is_none() {
                self.watch.layer(layer.digest, LayerState::Waiting);
                layers.push((layer.clone(), *diff_id, Arc::default()));
            }
        }
        let growing: Vec<Arc<Growing>> =
            place.iter().map(|at| Arc::clone(&layers[*at].2)).collect();
        let downloads = Downloads {
            store: self.store,
            client: self.client,
            reference: self.reference,
            watch: self.watch,
            layers,
            brought: Mutex::default(),
        };
        let mut opened = Vec::new();
        let (downloaded, unpacked) = std::thread::scope(|scope| {
            let downloading = scope.spawn(|| downloads.run());
            let unpacked = image::unpack(self.store, image, &mut |index| {
                opened.push(index);
                let reader = GrowingReader::new(Arc::clone(&growing[index]), 0);
                let blob = self.store.blob_path(image.manifest.layers[index].digest);
                Ok(Box::new(reader.named(blob)))
            });
            if unpacked.is_err() {
                for one in &growing {
                    one.abandon();
                }
            }
            let downloaded = downloading.join().expect("a download does not panic");
            (downloaded, unpacked)
        });
        // Why a layer did not come says more than that it could not be unpacked,
        // unless it was not wanted any more because of that.
        match (downloaded, unpacked) {
            (Err(_), Err(err)) if growing.iter().any(|one| one.is_abandoned()) => Err(err)?,
            (downloaded, unpacked) => {
                downloaded?;
                unpacked?;
            }
        }
        // A layer may be unpacked before its blob has its name: what its plain tar
        // is can be told now.
        for index in opened {
            let layer = &image.manifest.layers[index];
            self.store.layer_blob_put(&LayerBlobRow {
                digest: layer.digest,
                diff_id: Some(diff_ids[index]),
                size: layer.size,
                media_type: layer.media_type.clone(),
            })?;
        }
        for layer in downloads.brought() {
            self.watch.layer(layer, LayerState::Done);
        }
        Ok(())
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, what: &str, bytes: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(bytes)
            .map_err(|err| self.unsupported(format!("its {what} cannot be read: {err}")))
    }

    fn unsupported(&self, why: String) -> Error {
        Error::Unsupported {
            reference: self.reference.familiar(),
            why,
        }
    }
}
