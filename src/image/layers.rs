//! The bytes of layers, wherever they lie.

use std::io::{self, Read};

use super::{Error, Image};
use crate::layer::{PackOptions, decompress, pack_tree};
use crate::oci::{ChainId, DiffId, Digest, Hasher};
use crate::snapshot::{layer_dir, pipe};
use crate::store::{self, Store};

/// Opens the bytes of layer `index` exactly as the manifest's descriptor
/// promises: the stored blob, or the tar packed again from its snapshot.
///
/// A tar that is packed again is checked while it is read: its end is an error
/// when it is not what the descriptor says. A stored blob is not checked.
pub fn open_layer(
    store: &Store,
    image: &Image,
    index: usize,
) -> Result<Box<dyn Read + Send>, Error> {
    open_stored(store, image, index).map(|opened| opened.source)
}

/// The bytes of a layer.
pub(super) struct Opened {
    pub(super) source: Box<dyn Read + Send>,
    /// Whether the reader itself makes sure that they are the right ones.
    pub(super) is_checked: bool,
}

/// The same as [`open_layer`], which also tells whether the bytes are checked.
pub(super) fn open_stored(store: &Store, image: &Image, index: usize) -> Result<Opened, Error> {
    let damaged = |why: String| Error::Damaged { id: image.id, why };
    let pairs = image.manifest.layers.iter();
    let (layer, diff_id) = pairs
        .zip(&image.config.rootfs.diff_ids)
        .nth(index)
        .ok_or_else(|| damaged(format!("it has no layer {index}")))?;
    match store.blob_open(layer.digest) {
        Ok(file) => {
            return Ok(Opened {
                source: Box::new(file),
                is_checked: false,
            });
        }
        Err(store::Error::NoBlob(_)) => {}
        Err(err) => return Err(err.into()),
    }
    if layer.digest != diff_id.0 {
        return Err(damaged(format!("the blob of layer {index} is missing")));
    }
    let source = open_checked(store, &image.config.rootfs.diff_ids[..=index])?
        .ok_or_else(|| damaged(format!("layer {index} is missing")))?;
    Ok(Opened {
        source,
        is_checked: true,
    })
}

/// The plain tar of the top of the stack: from a blob or a snapshot; `None` when
/// it is nowhere. Its end is an error when it is not what the diff ID says.
pub(super) fn open_checked(
    store: &Store,
    stack: &[DiffId],
) -> Result<Option<Box<dyn Read + Send>>, Error> {
    let Some(diff_id) = stack.last().copied() else {
        return Ok(None);
    };
    let checked = |source| {
        Box::new(Checked {
            source,
            hasher: Some(Hasher::new()),
            want: diff_id.0,
        })
    };
    if let Ok(file) = store.blob_open(diff_id.0) {
        return Ok(Some(checked(Box::new(file))));
    }
    if let Some(row) = store.layer_blob_by_diff(diff_id)?
        && let Ok(file) = store.blob_open(row.digest)
        && let Ok((_, plain)) = decompress(file)
    {
        return Ok(Some(checked(plain)));
    }
    let Some(chain) = ChainId::of(stack) else {
        return Ok(None);
    };
    let Some(row) = store.snapshot_by_chain(chain)? else {
        return Ok(None);
    };
    let dir = layer_dir(store, row.id);
    let (mut writer, reader) = pipe();
    std::thread::spawn(
        move || match pack_tree(&dir, PackOptions::default(), &mut writer) {
            Ok(packed) if packed.diff_id == diff_id => {}
            Ok(_) => writer.fail(io::Error::other(format!(
                "the tree of layer `{diff_id}` was changed"
            ))),
            Err(err) => writer.fail(io::Error::other(err)),
        },
    );
    Ok(Some(Box::new(reader)))
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
        if count > 0 || buffer.is_empty() {
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
