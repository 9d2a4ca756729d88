//! Packing and compressing layers on their way out.

use std::io::{self, Read, Write};
use std::path::Path;

use super::CacheCompression;
use super::backend::BackendError;
use crate::layer::{Codec, PackOptions, Packed, pack_tree};
use crate::oci::media_type;
use crate::snapshot::pipe;

impl CacheCompression {
    /// The codec, if there is one.
    pub(super) fn codec(self) -> Option<Codec> {
        match self {
            Self::None => None,
            Self::Gzip(level) => Some(Codec::Gzip(level)),
            Self::Zstd(level) => Some(Codec::Zstd(level)),
        }
    }

    /// The media type of a layer that is compressed so.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::None => media_type::LAYER,
            Self::Gzip(_) => media_type::LAYER_GZIP,
            Self::Zstd(_) => media_type::LAYER_ZSTD,
        }
    }

    /// Compresses `plain` to its end into `out`. What comes out is what a push of
    /// the same layer makes, so that a registry has it once.
    pub(super) fn compress<W: Write>(self, plain: &mut dyn Read, mut out: W) -> io::Result<W> {
        if let Some(codec) = self.codec() {
            return codec.compress(plain, out);
        }
        io::copy(plain, &mut out)?;
        Ok(out)
    }
}

/// Packs a tree, compressed, into `out`; compressing goes beside packing.
pub(super) fn pack_into<W: Write>(
    dir: &Path,
    compression: CacheCompression,
    out: W,
) -> Result<(Packed, W), BackendError> {
    std::thread::scope(|scope| {
        let (mut writer, mut reader) = pipe();
        let packing = scope.spawn(move || {
            let packed = pack_tree(dir, PackOptions::default(), &mut writer);
            if packed.is_err() {
                writer.fail(io::ErrorKind::InvalidData.into());
            }
            packed
        });
        let compressed = compression.compress(&mut reader, out);
        // Nobody reads any more: the other thread must not wait for that.
        drop(reader);
        let packed = match packing.join() {
            Ok(packed) => packed,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        match (packed, compressed) {
            (Ok(packed), Ok(out)) => Ok((packed, out)),
            (Err(err), _) if err.source.kind() != io::ErrorKind::BrokenPipe => Err(err.into()),
            // The packer sees no more than that its reader has gone.
            (_, Err(err)) => Err(BackendError::Pack(err)),
            (Err(err), Ok(_)) => Err(err.into()),
        }
    })
}
