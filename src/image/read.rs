//! From the store by reference or ID.

use std::collections::HashMap;
use std::io::Read;

use super::{Error, open_layer};
use crate::oci::{Digest, ImageConfig, ImageId, Manifest, Platform, Reference};
use crate::snapshot::ensure_chain;
use crate::store::{ImageRow, LayerBlobRow, SnapshotId, Store};

/// Fewest digits that may stand for an ID.
const PREFIX_LENGTH: usize = 2;

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the configuration.
    pub id: ImageId,
    /// Digest of the manifest.
    pub manifest_digest: Digest,
    /// The manifest, parsed.
    pub manifest: Manifest,
    /// The manifest's raw bytes.
    pub manifest_bytes: Vec<u8>,
    /// The configuration, parsed.
    pub config: ImageConfig,
    /// The configuration's raw bytes.
    pub config_bytes: Vec<u8>,
}

impl Image {
    /// Reads the documents of a stored image.
    pub(super) fn from_row(row: ImageRow) -> Result<Self, Error> {
        let manifest: Manifest = parse("image manifest", &row.manifest)?;
        let config: ImageConfig = parse("image configuration", &row.config)?;
        if manifest.layers.len() != config.rootfs.diff_ids.len() {
            return Err(Error::Damaged {
                id: row.id,
                why: format!(
                    "the manifest has {} layers and the configuration {}",
                    manifest.layers.len(),
                    config.rootfs.diff_ids.len()
                ),
            });
        }
        Ok(Self {
            id: row.id,
            manifest_digest: row.manifest_digest,
            manifest,
            manifest_bytes: row.manifest,
            config,
            config_bytes: row.config,
        })
    }

    /// The row that holds this image, stored now.
    pub fn to_row(&self) -> ImageRow {
        let now = jiff::Timestamp::now().as_nanosecond();
        ImageRow {
            id: self.id,
            manifest_digest: self.manifest_digest,
            manifest: self.manifest_bytes.clone(),
            config: self.config_bytes.clone(),
            stored_at: i64::try_from(now).unwrap_or(i64::MAX),
        }
    }
}

/// Finds an image by reference, `sha256:` ID, ID or ID prefix, as Docker does:
/// a name wins over an ID prefix.
pub fn find(store: &Store, text: &str) -> Result<Image, Error> {
    let missing = |shown: String| Error::NotFound(shown);
    let id = match text.parse::<Reference>() {
        Ok(reference) => match store.name_get(&reference)? {
            Some(id) => id,
            None => find_id(store, text)?.ok_or_else(|| missing(reference.familiar()))?,
        },
        Err(err) => match find_id(store, text)? {
            Some(id) => id,
            None if full_id(text).is_some() => return Err(missing(shown_id(text))),
            None => return Err(err.into()),
        },
    };
    get(store, id)?.ok_or_else(|| missing(id.to_string()))
}

/// Finds an image as [`find`] does: where the name stands for several, the one
/// for `platform`.
pub fn find_for(store: &Store, text: &str, platform: &Platform) -> Result<Image, Error> {
    let image = find(store, text)?;
    let Ok(name) = text.parse::<Reference>() else {
        return Ok(image);
    };
    let variants = store.name_platforms(&name)?;
    let fits = |exactly: bool| {
        variants.iter().find(|(own, _)| {
            own.os == platform.os
                && own.architecture == platform.architecture
                && (!exactly || own.variant == platform.variant)
        })
    };
    match fits(true).or_else(|| fits(false)) {
        Some((_, id)) => get(store, *id)?.ok_or_else(|| Error::NotFound(id.to_string())),
        None => Ok(image),
    }
}

/// The images that a name stands for, each with its platform, in their order;
/// empty for a name of one image.
pub fn variants(store: &Store, name: &Reference) -> Result<Vec<(Platform, Image)>, Error> {
    let mut variants = Vec::new();
    for (platform, id) in store.name_platforms(name)? {
        if let Some(image) = get(store, id)? {
            variants.push((platform, image));
        }
    }
    Ok(variants)
}

/// Whether `text`, with which [`find`] found the image `id`, is its ID or the
/// beginning of it rather than a name.
pub(super) fn is_id_of(id: ImageId, text: &str) -> bool {
    id.to_string().starts_with(text) || id.0.hex().starts_with(text)
}

fn find_id(store: &Store, text: &str) -> Result<Option<ImageId>, Error> {
    if let Some(digest) = full_id(text) {
        return Ok(store.image_get(ImageId(digest))?.map(|row| row.id));
    }
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let digits = prefix
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !digits || !(PREFIX_LENGTH..64).contains(&prefix.len()) {
        return Ok(None);
    }
    match store.image_by_prefix(prefix)?.as_slice() {
        [] => Ok(None),
        [id] => Ok(Some(*id)),
        _ => Err(Error::Ambiguous(text.to_owned())),
    }
}

fn full_id(text: &str) -> Option<Digest> {
    Digest::from_hex(text.strip_prefix("sha256:").unwrap_or(text)).ok()
}

fn shown_id(text: &str) -> String {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    format!("sha256:{hex}")
}

fn get(store: &Store, id: ImageId) -> Result<Option<Image>, Error> {
    store.image_get(id)?.map(Image::from_row).transpose()
}

/// Every image with its names as familiar references, newest first.
pub fn find_all(store: &Store) -> Result<Vec<(Image, Vec<String>)>, Error> {
    let mut names: HashMap<ImageId, Vec<String>> = HashMap::new();
    for (name, id) in store.name_list()? {
        names.entry(id).or_default().push(name.familiar());
    }
    for (name, id) in store.platform_list()? {
        let known = names.entry(id).or_default();
        let name = name.familiar();
        if !known.contains(&name) {
            known.push(name);
        }
    }
    let rows = store.image_list()?.into_iter();
    rows.map(|row| {
        let names = names.remove(&row.id).unwrap_or_default();
        Ok((Image::from_row(row)?, names))
    })
    .collect()
}

/// Opens the bytes of a layer by its index, compressed or not.
pub type OpenLayer<'a> = &'a mut dyn FnMut(usize) -> Result<Box<dyn Read + Send>, Error>;

/// Stores an image whose layers are in the store, under `names`.
pub fn put(store: &Store, image: &Image, names: &[Reference]) -> Result<(), Error> {
    store.image_put_named(&image.to_row(), names)?;
    Ok(())
}

/// The snapshot on which the image's whole tree lies, unpacking what is
/// missing; `None` for an image without layers. The snapshot is pinned.
pub fn snapshot_of(store: &Store, image: &Image) -> Result<Option<SnapshotId>, Error> {
    unpack(store, image, &mut |index| open_layer(store, image, index))
}

/// The same with layers that `open` gives, compressed or not: those of an image that is on its way.
pub fn unpack(
    store: &Store,
    image: &Image,
    open: OpenLayer<'_>,
) -> Result<Option<SnapshotId>, Error> {
    let diff_ids = &image.config.rootfs.diff_ids;
    let mut unpacked = Vec::new();
    let top = ensure_chain(store, diff_ids, &mut |index| {
        unpacked.push(index);
        open(index)
    })?;
    // What came compressed is known by its plain tar from now on.
    for index in unpacked {
        let layer = &image.manifest.layers[index];
        if layer.digest != diff_ids[index].0 && store.blob_exists(layer.digest) {
            store.layer_blob_put(&LayerBlobRow {
                digest: layer.digest,
                diff_id: Some(diff_ids[index]),
                size: layer.size,
                media_type: layer.media_type.clone(),
            })?;
        }
    }
    Ok(top)
}

/// Reads a JSON document.
pub(super) fn parse<T: serde::de::DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Document { what, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_told_apart() {
        let id = ImageId(Digest::of(b"x"));
        let hex = id.0.hex();
        assert!(is_id_of(id, &hex));
        assert!(is_id_of(id, &hex[..12]));
        assert!(is_id_of(id, &format!("sha256:{}", &hex[..4])));
        assert!(!is_id_of(id, "busybox"));
        assert_eq!(shown_id(&hex), id.to_string());
    }
}
