//! gzip of blocks that are compressed at once: a member for each, one after the other.
//!
//! A file of several members is a gzip file like any other, and every reader of
//! images takes it: layers that can be read from the middle are written so, too.
//!
//! Source: RFC 1952, section 2.2.

use std::io::{self, Read, Write};

use libdeflater::{CompressionLvl, Compressor};

use super::blocks;

/// Plain bytes of a member: large beside deflate's window of 32 KiB, so that
/// little is lost by beginning anew.
const BLOCK: usize = 512 << 10;
/// What gzip's levels from 0 to 9 are to this compressor: as large as gzip's own
/// or smaller, and faster. Its levels go to 12, and those in the middle do better than zlib's.
const LEVELS: [i32; 10] = [0, 1, 2, 2, 3, 3, 4, 6, 8, 9];

/// Compresses `plain` to its end into `out`.
pub(super) fn compress(level: u32, plain: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    let level = usize::try_from(level).unwrap_or(usize::MAX);
    let level = LEVELS[level.min(LEVELS.len() - 1)];
    let work = |block: &[u8]| Ok((member(level, block)?, ()));
    let members = blocks::each(plain, BLOCK, &work, &mut |packed, ()| out.write_all(packed))?;
    if members == 0 {
        out.write_all(&member(level, &[])?)?;
    }
    Ok(())
}

/// One member with nothing of this moment in it.
fn member(level: i32, plain: &[u8]) -> io::Result<Vec<u8>> {
    let level = CompressionLvl::new(level)
        .map_err(|_| io::Error::other(format!("there is no compression level {level}")))?;
    let mut compressor = Compressor::new(level);
    let mut packed = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor
        .gzip_compress(plain, &mut packed)
        .map_err(io::Error::other)?;
    packed.truncate(length);
    Ok(packed)
}
