//! Compressed streams, recognised by their first bytes.

use std::io::{self, BufReader, Cursor, Read};

/// Bytes that are looked at to recognise a compression.
const HEAD: usize = 6;
/// Bytes read from the source at once.
const BUFFER: usize = 128 << 10;
/// Most memory that an xz stream may ask for, in KiB: what `xz -9` makes needs
/// half of it.
const XZ_MEMORY: u32 = 136 << 10;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, of one or several members.
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Recognises a compression by the first bytes of a stream; six are enough.
    ///
    /// Source: RFC 1952, section 2.3.1; RFC 8878, sections 3.1.1 and 3.1.2; the
    /// .xz file format 1.2, section 2.1.1.1; bzip2's manual leaves it to the code.
    pub fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A block or the end follows the level, so that a tar whose first
            // file is called `BZh9` is not taken for one.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..]
            | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Reads `source`, whatever its compression, as plain bytes.
///
/// Streams of several members or frames are read to their end. Nothing limits
/// how much comes out; the reader does.
pub fn decompress<'a>(
    mut source: impl Read + Send + 'a,
) -> io::Result<(Compression, Box<dyn Read + Send + 'a>)> {
    let mut head = Vec::with_capacity(HEAD);
    source.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let compression = Compression::detect(&head);
    let whole = Cursor::new(head).chain(source);
    if compression == Compression::None {
        return Ok((compression, Box::new(whole)));
    }
    let whole = BufReader::with_capacity(BUFFER, whole);
    let plain: Box<dyn Read + Send + 'a> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(whole)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(whole)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(whole, true, XZ_MEMORY)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(whole)?),
    };
    Ok((compression, plain))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(bytes: Vec<u8>, compression: Compression, plain: &[u8]) {
        let (found, mut reader) = decompress(Cursor::new(bytes)).unwrap();
        assert_eq!(found, compression);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, plain);
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    fn bzip2(plain: &[u8]) -> Vec<u8> {
        let mut writer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        writer.write_all(plain).unwrap();
        writer.finish().unwrap()
    }

    /// What `xz` made of `aaa` and `bbb`; the library's writer is not built in.
    fn xz(plain: &[u8]) -> Vec<u8> {
        let hex = match plain {
            b"aaa" => {
                "fd377a585a000004e6d6b4460200210116000000742fe5a301000261616100006bc51657abb5672500011b030b2fb9101fb6f37d010000000004595a"
            }
            _ => {
                "fd377a585a000004e6d6b4460200210116000000742fe5a30100026262620000159f3eaa2b66eade00011b030b2fb9101fb6f37d010000000004595a"
            }
        };
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap().to_le_bytes()[0];
        let pair = |pair: &[u8]| digit(pair[0]) << 4 | digit(pair[1]);
        hex.as_bytes().chunks_exact(2).map(pair).collect()
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        zstd::encode_all(plain, 1).unwrap()
    }

    #[test]
    fn each_compression_is_read_over_all_members() {
        let twice = |pack: fn(&[u8]) -> Vec<u8>| [pack(b"aaa"), pack(b"bbb")].concat();
        check(twice(gzip), Compression::Gzip, b"aaabbb");
        check(twice(bzip2), Compression::Bzip2, b"aaabbb");
        check(twice(xz), Compression::Xz, b"aaabbb");
        check(twice(zstd), Compression::Zstd, b"aaabbb");
    }

    #[test]
    fn empty_and_plain_streams_pass_through() {
        for plain in [&b""[..], b"a", b"BZh9 is a file", b"\x1f"] {
            check(plain.to_vec(), Compression::None, plain);
        }
        check(bzip2(b""), Compression::Bzip2, b"");
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 9][..], &zstd(b"x")].concat();
        check(skippable, Compression::Zstd, b"x");
    }

    #[test]
    fn truncation_is_an_error() {
        for pack in [gzip, bzip2, xz, zstd] {
            let mut bytes = pack(b"aaa");
            bytes.truncate(bytes.len() - 5);
            let (_, mut reader) = decompress(Cursor::new(bytes)).unwrap();
            assert!(io::copy(&mut reader, &mut io::sink()).is_err());
        }
    }
}
