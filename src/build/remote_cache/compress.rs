//! Compressing layers on their way out.

use std::io::{self, Write};

use super::CacheCompression;
use crate::oci::media_type;

/// A writer that compresses.
pub(super) enum Compressor<W: Write> {
    Plain(W),
    Gzip(flate2::write::GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
}

impl<W: Write> Compressor<W> {
    /// Compresses into `out`.
    pub(super) fn new(compression: CacheCompression, out: W) -> io::Result<Self> {
        Ok(match compression {
            CacheCompression::None => Self::Plain(out),
            CacheCompression::Gzip(level) => {
                let level = flate2::Compression::new(level.min(9));
                Self::Gzip(flate2::write::GzEncoder::new(out, level))
            }
            CacheCompression::Zstd(level) => Self::Zstd(zstd::Encoder::new(out, level)?),
        })
    }

    /// Ends the stream and gives back the writer.
    pub(super) fn finish(self) -> io::Result<W> {
        match self {
            Self::Plain(out) => Ok(out),
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

impl<W: Write> Write for Compressor<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // A flush in the middle would cost size; the end flushes.
        Ok(())
    }
}

/// The media type of a layer that is compressed so.
pub(super) fn media_type(compression: CacheCompression) -> &'static str {
    match compression {
        CacheCompression::None => media_type::LAYER,
        CacheCompression::Gzip(_) => media_type::LAYER_GZIP,
        CacheCompression::Zstd(_) => media_type::LAYER_ZSTD,
    }
}
