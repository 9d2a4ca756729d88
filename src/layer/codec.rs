//! Compressing layers: the same bytes for the same layer, always.

use std::fmt;
use std::io::{self, Read, Write};

use super::blocks;

/// How a layer is to be compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// gzip with a level from 0 to 9.
    Gzip(u32),
    /// Zstandard with a level from 1 to 22.
    Zstd(i32),
}

/// Plain bytes that one Zstandard frame holds, up to [`FRAME_LEVEL`].
const FRAME: usize = 1 << 20;
/// The highest level whose frames are independent: above it memory and time go
/// into a window that is larger than a frame.
const FRAME_LEVEL: i32 = 9;
/// Bytes copied at once where there are no blocks.
const BUFFER: usize = 256 << 10;

impl Codec {
    /// gzip's own default level.
    pub const GZIP: Self = Self::Gzip(6);
    /// Zstandard's own default level.
    pub const ZSTD: Self = Self::Zstd(3);

    /// Compresses `plain` to its end into `out`; returns the writer.
    ///
    /// Blocks of one size are compressed on all processors, each for itself, so
    /// that the result has nothing of this machine or moment: it depends on the
    /// bytes, the codec and this program's version alone.
    pub fn compress<W: Write>(self, plain: &mut dyn Read, mut out: W) -> io::Result<W> {
        match self {
            Self::Gzip(level) => super::gzip::compress(level.min(9), plain, &mut out)?,
            Self::Zstd(level) if level <= FRAME_LEVEL => {
                let frame = |block: &[u8]| {
                    let packed = zstd::bulk::compress(block, level)?;
                    Ok((packed, ()))
                };
                let frames = blocks::each(plain, FRAME, &frame, &mut |packed, ()| {
                    out.write_all(packed)
                })?;
                if frames == 0 {
                    out.write_all(&zstd::bulk::compress(&[], level)?)?;
                }
            }
            Self::Zstd(level) => {
                let mut writer = zstd::Encoder::new(out, level)?;
                let mut buffer = vec![0; BUFFER];
                loop {
                    // Where a piece ends may decide about the compressed bytes.
                    let filled = blocks::fill(plain, &mut buffer)?;
                    if filled == 0 {
                        return writer.finish();
                    }
                    writer.write_all(&buffer[..filled])?;
                }
            }
        }
        Ok(out)
    }
}

impl fmt::Display for Codec {
    /// What decides about the bytes: codec, level, and who compresses. Results
    /// are remembered under it, so another compressor needs another name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip(level) => write!(f, "gzip {level} zlib-rs 2"),
            Self::Zstd(level) => write!(f, "zstd {level} libzstd 2"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::decompress;
    use crate::oci::Digest;

    /// Text, then what cannot be compressed, then zeros: more than a block each.
    fn plain() -> Vec<u8> {
        let word = |n: u32| format!("line {n} of {}\n", n.wrapping_mul(2_654_435_761) % 97);
        let mut plain: Vec<u8> = (0..60_000).flat_map(|n| word(n).into_bytes()).collect();
        let mut seed = 1_u64;
        plain.extend((0..700_000).map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[0]
        }));
        plain.resize(plain.len() + 900_001, 0);
        plain
    }

    fn check(codec: Codec) -> String {
        let plain = plain();
        let packed = codec.compress(&mut &plain[..], Vec::new()).unwrap();
        assert!(packed.len() < plain.len() / 2, "{codec}: {}", packed.len());
        let mut back = Vec::new();
        let (_, mut reader) = decompress(&packed[..]).unwrap();
        reader.read_to_end(&mut back).unwrap();
        assert!(back == plain, "{codec}");
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
        "5c41ba60719d",
        "aa2e188a2746",
        "84fad6c49202",
        "6c8c1011935d",
    ];

    #[test]
    fn nothing_becomes_a_whole_stream_too() {
        for codec in [Codec::GZIP, Codec::ZSTD, Codec::Zstd(19)] {
            let packed = codec.compress(&mut &b""[..], Vec::new()).unwrap();
            assert!(!packed.is_empty());
            let (_, mut reader) = decompress(&packed[..]).unwrap();
            assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0, "{codec}");
        }
    }

    /// A reader that stops after the first member must see everything: some do.
    #[test]
    fn gzip_is_one_member() {
        let plain = plain();
        let packed = Codec::GZIP.compress(&mut &plain[..], Vec::new()).unwrap();
        let mut back = Vec::new();
        let mut reader = flate2::bufread::GzDecoder::new(&packed[..]);
        reader.read_to_end(&mut back).unwrap();
        assert!(back == plain);
        assert!(reader.into_inner().is_empty());
    }

    #[test]
    fn a_source_that_fails_is_told() {
        struct Broken(u32);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 > 40 {
                    return Err(io::Error::other("broken"));
                }
                buffer.fill(7);
                Ok(buffer.len())
            }
        }
        let err = Codec::GZIP.compress(&mut Broken(0), io::sink()).err();
        assert_eq!(err.unwrap().to_string(), "broken");
    }
}
