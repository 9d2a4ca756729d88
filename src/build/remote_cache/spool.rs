//! Blobs on their way to a server: complete on disk first, so that a broken
//! connection can be taken up again and what is there already is not sent.

use std::fs::File;
use std::io::{self, Read, Write};

use super::backend::{Backend, BackendError, BlobSink, BlobSource};
use crate::oci::{Descriptor, Digest, media_type};
use crate::store::{BlobWriter, Store};

/// A blob that is gathered in a temporary file and added when it is complete.
pub(super) struct Spool<'a> {
    backend: &'a dyn Backend,
    writer: BlobWriter,
}

impl<'a> Spool<'a> {
    /// Begins one for `backend`.
    pub(super) fn begin(store: &Store, backend: &'a dyn Backend) -> Result<Self, BackendError> {
        Ok(Self {
            backend,
            writer: store.blob_writer()?,
        })
    }
}

impl Write for Spool<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl BlobSink for Spool<'_> {
    fn commit(mut self: Box<Self>, digest: Digest) -> Result<(), BackendError> {
        self.writer.flush().map_err(BackendError::Pack)?;
        let path = self.writer.path();
        let open = || Ok(Box::new(File::open(path)?) as Box<dyn Read + Send>);
        let source = BlobSource {
            open: &open,
            repository: None,
        };
        let blob = Descriptor::new(media_type::LAYER, digest, self.writer.len());
        self.backend.add_blob(&blob, &source)?;
        Ok(())
    }
}
