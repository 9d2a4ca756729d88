//! Recompute every promise of an image.

use std::io::{self, Read};

use super::{Error, Image, open_layer};
use crate::layer::decompress;
use crate::oci::{DiffId, Digest, Hasher};
use crate::store::Store;

/// Recomputes digests, sizes, diff IDs and order of an image and its layers,
/// and checks that the history agrees with the layers.
///
/// # Errors
/// [`Error::Damaged`] with the first promise that is broken.
pub fn validate(store: &Store, image: &Image) -> Result<(), Error> {
    let check = |good: bool, why: &dyn Fn() -> String| {
        good.then_some(()).ok_or_else(|| Error::Damaged {
            id: image.id,
            why: why(),
        })
    };
    let config = Digest::of(&image.config_bytes);
    check(config == image.id.0, &|| {
        format!("the configuration hashes to `{config}`")
    })?;
    let manifest = Digest::of(&image.manifest_bytes);
    check(manifest == image.manifest_digest, &|| {
        format!("the manifest hashes to `{manifest}`")
    })?;
    let descriptor = &image.manifest.config;
    check(descriptor.digest == config, &|| {
        format!(
            "the manifest names the configuration `{}`",
            descriptor.digest
        )
    })?;
    check(descriptor.size == image.config_bytes.len() as u64, &|| {
        format!(
            "the manifest says {} bytes of configuration",
            descriptor.size
        )
    })?;
    let (layers, diff_ids) = (&image.manifest.layers, &image.config.rootfs.diff_ids);
    check(layers.len() == diff_ids.len(), &|| {
        format!(
            "it has {} layers and {} diff IDs",
            layers.len(),
            diff_ids.len()
        )
    })?;
    let history = &image.config.history;
    let steps = history.iter().filter(|step| !step.empty_layer).count();
    check(history.is_empty() || steps == layers.len(), &|| {
        format!("its history makes {steps} layers, it has {}", layers.len())
    })?;
    for (index, (layer, diff_id)) in layers.iter().zip(diff_ids).enumerate() {
        let seen = hash_layer(store, image, index)?;
        check(seen.digest == layer.digest, &|| {
            format!("layer {index} hashes to `{}`", seen.digest)
        })?;
        check(seen.size == layer.size, &|| {
            format!("layer {index} has {} bytes, not {}", seen.size, layer.size)
        })?;
        check(seen.diff_id == *diff_id, &|| {
            format!("the tar of layer {index} hashes to `{}`", seen.diff_id)
        })?;
    }
    Ok(())
}

struct Seen {
    digest: Digest,
    size: u64,
    diff_id: DiffId,
}

fn hash_layer(store: &Store, image: &Image, index: usize) -> Result<Seen, Error> {
    let mut blob = Counted {
        inner: open_layer(store, image, index)?,
        hasher: Hasher::new(),
        bytes: 0,
    };
    let unreadable = |err: io::Error| Error::Damaged {
        id: image.id,
        why: format!("layer {index} cannot be read: {err}"),
    };
    let mut tar = Hasher::new();
    let (_, mut plain) = decompress(&mut blob).map_err(unreadable)?;
    io::copy(&mut plain, &mut tar).map_err(unreadable)?;
    drop(plain);
    // A decompressor may stop before bytes that belong to the blob all the same.
    io::copy(&mut blob, &mut io::sink()).map_err(unreadable)?;
    Ok(Seen {
        digest: blob.hasher.finish(),
        size: blob.bytes,
        diff_id: DiffId(tar.finish()),
    })
}

/// Hashes and counts what is read through it.
struct Counted {
    inner: Box<dyn Read + Send>,
    hasher: Hasher,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.bytes += length as u64;
        Ok(length)
    }
}
