//! Snapshots and a configuration to an image.

use std::io;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::PoisonError;

use super::form::{Form, compressed_layer};
use super::{Error, Image};
use crate::fs::PathError;
use crate::layer::{PackOptions, Packed, pack_tree};
use crate::oci::{
    Descriptor, DiffId, Digest, ImageConfig, ImageId, Manifest, Reference, media_type,
};
use crate::snapshot::layer_dir;
use crate::store::{self, SnapshotId, SnapshotRow, Store};

/// Most layers packed or compressed at once: each is one stream from the disk.
const THREADS: usize = 4;

/// An image to be made.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The whole tree; `None` for no layers.
    pub top: Option<SnapshotId>,
    /// The image it was built from, whose layer descriptors are kept for the layers that it shares.
    pub base: Option<Image>,
    /// The configuration; its `rootfs` is filled in here.
    pub config: ImageConfig,
    /// The names to give it.
    pub names: Vec<Reference>,
}

/// Makes the image as [`make`] does in its plain form, and sets the names, all in
/// one transaction.
pub fn assemble(store: &Store, new: &NewImage) -> Result<Image, Error> {
    let image = make(store, new, &Form::default())?;
    store.image_put_named(&image.to_row(), &new.names)?;
    Ok(image)
}

/// Makes an image without storing it: packs layers whose diff ID is not known yet
/// (hash only, no tar is stored; independent layers in parallel), compresses what
/// `form` asks for, and writes configuration and manifest. What it is made of is
/// pinned.
pub fn make(store: &Store, new: &NewImage, form: &Form) -> Result<Image, Error> {
    let layers = match new.top {
        Some(top) => {
            // Until the image names its layers.
            if !store.pin(top)? {
                return Err(store::Error::NoSnapshot(top).into());
            }
            packed_stack(store, top)?
        }
        None => Vec::new(),
    };
    let diff_ids: Vec<DiffId> = layers.iter().map(|(diff_id, _)| *diff_id).collect();
    let base = new.base.as_ref();
    let shared = base.map_or(0, |base| common_prefix(base, &diff_ids));
    let indexes: Vec<usize> = (0..layers.len()).collect();
    let descriptors = in_parallel(&indexes, |index| -> Result<Descriptor, Error> {
        let (diff_id, size) = layers[*index];
        match (base.filter(|_| *index < shared), form.codec) {
            (Some(base), _) if !form.force => Ok(base.manifest.layers[*index].clone()),
            (_, None) => Ok(Descriptor::new(media_type::LAYER, diff_id.0, size)),
            (_, Some(codec)) => compressed_layer(store, &diff_ids[..=*index], codec),
        }
    });
    let descriptors = descriptors.into_iter().map(|layer| {
        let layer = layer?;
        let media_type = form.media_type(&layer.media_type).to_owned();
        Ok::<_, Error>(Descriptor {
            media_type,
            ..layer
        })
    });
    let descriptors = descriptors.collect::<Result<Vec<_>, _>>()?;

    let mut config = new.config.clone();
    "layers".clone_into(&mut config.rootfs.kind);
    config.rootfs.diff_ids = diff_ids;
    let config_bytes = to_json("image configuration", &config)?;
    let id = ImageId(Digest::of(&config_bytes));
    let kind = form.media_type(media_type::CONFIG);
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(form.media_type(media_type::MANIFEST).to_owned()),
        config: Descriptor::new(kind, id.0, config_bytes.len() as u64),
        layers: descriptors,
        annotations: form.annotations.clone(),
    };
    let manifest_bytes = to_json("image manifest", &manifest)?;
    Ok(Image {
        id,
        manifest_digest: Digest::of(&manifest_bytes),
        manifest,
        manifest_bytes,
        config,
        config_bytes,
    })
}

/// The diff ID and tar size of every layer, bottom first.
fn packed_stack(store: &Store, top: SnapshotId) -> Result<Vec<(DiffId, u64)>, Error> {
    let mut stack = store.snapshot_stack(top)?;
    stack.reverse();
    let unknown = |row: &&SnapshotRow| row.diff_id.zip(row.tar_size).is_none();
    let missing: Vec<SnapshotId> = stack.iter().filter(unknown).map(|row| row.id).collect();
    // From the bottom up, so that each finds its parent's chain ID.
    for (id, packed) in missing.iter().zip(pack_all(store, &missing)?) {
        store.snapshot_set_diff(*id, packed.diff_id, packed.size)?;
        if let Some(row) = stack.iter_mut().find(|row| row.id == *id) {
            row.diff_id = Some(packed.diff_id);
            row.tar_size = Some(packed.size);
        }
    }
    Ok(stack
        .iter()
        .filter_map(|row| row.diff_id.zip(row.tar_size))
        .collect())
}

/// Packs layers into nothing, for their digests, several at a time.
fn pack_all(store: &Store, ids: &[SnapshotId]) -> Result<Vec<Packed>, PathError> {
    let packed = in_parallel(ids, |id| {
        let dir = layer_dir(store, *id);
        pack_tree(&dir, PackOptions::default(), io::sink())
    });
    packed.into_iter().collect()
}

/// Does `work` for each item, several at a time; the results in their order.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(THREADS).min(items.len());
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let queue = Mutex::new(items.iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let results = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((index, item)) = next() {
                    let result = work(item);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn common_prefix(base: &Image, diff_ids: &[DiffId]) -> usize {
    let pairs = base.config.rootfs.diff_ids.iter().zip(diff_ids);
    pairs.take_while(|(base, ours)| base == ours).count()
}

/// A document as bytes: members in the order of their declaration, no spaces.
pub(super) fn to_json(
    what: &'static str,
    document: &impl serde::Serialize,
) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(document).map_err(|source| Error::Document { what, source })
}
