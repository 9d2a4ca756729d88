//! Blobs of layers that are kept while they are unpacked: an image that goes to a
//! registry afterwards need not be compressed for that again.

use std::io::{self, Read, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::record::LayerRecord;
use crate::store::{self, BlobWriter, LayerBlobRow, Store};

/// A copy on its way; nothing once it cannot be written.
#[derive(Clone)]
pub(super) struct Copy(Arc<Mutex<Option<BlobWriter>>>);

/// A reader whose bytes are copied.
pub(super) struct Copied<R> {
    source: R,
    copy: Copy,
}

/// Copies what is read of `source`.
pub(super) fn copied<R: Read>(store: &Store, source: R) -> Result<(Copied<R>, Copy), store::Error> {
    let copy = Copy(Arc::new(Mutex::new(Some(store.blob_writer()?))));
    let reader = Copied {
        source,
        copy: copy.clone(),
    };
    Ok((reader, copy))
}

impl Copy {
    fn lock(&self) -> MutexGuard<'_, Option<BlobWriter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the copy if it is whole. One that is not is no loss.
    pub(super) fn keep(&self, store: &Store, layer: &LayerRecord) {
        if let (Some(writer), Some(form)) = (self.lock().take(), &layer.form) {
            let _lost = keep(store, writer, layer, form);
        }
    }
}

fn keep(
    store: &Store,
    writer: BlobWriter,
    layer: &LayerRecord,
    form: &str,
) -> Result<(), store::Error> {
    store.blob_finish(writer, Some(layer.blob))?;
    store.layer_blob_put(&LayerBlobRow {
        digest: layer.blob,
        diff_id: Some(layer.diff_id),
        size: layer.size,
        media_type: layer.media_type.clone(),
    })?;
    store.compressed_put(layer.diff_id, form, layer.blob)
}

impl<R: Read> Read for Copied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let mut copy = self.copy.lock();
        if let Some(writer) = &mut *copy
            && writer.write_all(&buffer[..count]).is_err()
        {
            *copy = None;
        }
        Ok(count)
    }
}
