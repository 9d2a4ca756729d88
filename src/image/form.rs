//! What an image looks like on its way out: compression, media types, annotations.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::Error;
use super::layers::open_plain;
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
