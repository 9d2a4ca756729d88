//! Compressing layers: the same bytes for the same layer, always.

use std::fmt;
use std::io::{self, Read, Write};

/// Bytes copied at once.
const BUFFER: usize = 256 << 10;

/// How a layer is to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// gzip with a level from 0 to 9.
    Gzip(u32),
    /// Zstandard with a level from 1 to 22.
    Zstd(i32),
}

impl Codec {
    /// gzip's own default level.
    pub const GZIP: Self = Self::Gzip(6);
    /// Zstandard's own default level.
    pub const ZSTD: Self = Self::Zstd(3);

    /// Compresses `plain` to its end into `out`; returns the writer.
    ///
    /// One thread, and nothing of this machine or moment in the result, so that
    /// it depends on the bytes, the codec and this program's version alone.
    pub fn compress<W: Write>(self, plain: &mut dyn Read, out: W) -> io::Result<W> {
        match self {
            Self::Gzip(level) => {
                let level = flate2::Compression::new(level.min(9));
                let mut writer = flate2::write::GzEncoder::new(out, level);
                copy(plain, &mut writer)?;
                writer.finish()
            }
            Self::Zstd(level) => {
                let mut writer = zstd::Encoder::new(out, level)?;
                copy(plain, &mut writer)?;
                writer.finish()
            }
        }
    }
}

impl fmt::Display for Codec {
    /// What decides about the bytes: codec, level, and who compresses. Results
    /// are remembered under it, so another compressor needs another name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip(level) => write!(f, "gzip {level} zlib-rs 1"),
            Self::Zstd(level) => write!(f, "zstd {level} libzstd 1"),
        }
    }
}

/// Copies in pieces of one size, whatever pieces the source comes in: where a
/// piece ends may decide about the compressed bytes.
fn copy(plain: &mut dyn Read, out: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match plain.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        if filled == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..filled])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::decompress;
    use crate::oci::Digest;

    fn plain() -> Vec<u8> {
        let word = |n: u32| format!("line {n} of {}\n", n.wrapping_mul(2_654_435_761) % 97);
        (0..4_000).flat_map(|n| word(n).into_bytes()).collect()
    }

    fn check(codec: Codec) -> String {
        let plain = plain();
        let packed = codec.compress(&mut &plain[..], Vec::new()).unwrap();
        assert!(packed.len() < plain.len() / 2);
        let mut back = Vec::new();
        let (_, mut reader) = decompress(&packed[..]).unwrap();
        reader.read_to_end(&mut back).unwrap();
        assert_eq!(back, plain);
        Digest::of(&packed).short()
    }

    /// A digest that changes here means that the compressor has changed: give it
    /// another name in `Display`, or old results would be taken for new ones.
    #[test]
    fn compressed_bytes_stay() {
        let codecs = [Codec::GZIP, Codec::Gzip(1), Codec::ZSTD, Codec::Zstd(19)];
        assert_eq!(codecs.map(check), GOLDEN);
    }

    const GOLDEN: [&str; 4] = [
        "6fd7290973fd",
        "9d63326617f0",
        "68f3796b04d0",
        "749eaf56b4df",
    ];
}
