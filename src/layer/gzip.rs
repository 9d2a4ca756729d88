//! gzip of blocks that are compressed at once: one member, as from a single hand.
//!
//! Each block is deflated for itself and ends on a byte, with an empty stored
//! block after it; one after the other they are one deflate stream.
//!
//! Source: RFC 1951, section 3.2; RFC 1952, section 2.3.

use std::io::{self, Read, Write};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use super::blocks;

/// Plain bytes of a block: large beside deflate's window of 32 KiB, so that
/// little is lost by beginning anew.
const BLOCK: usize = 256 << 10;
/// How much of a block is tried to see whether compressing it is worth it.
const SAMPLE: usize = 32 << 10;
/// Size of the table in which repetitions are looked for, as a power of two.
const HASH_BITS: u32 = 13;
/// Magic, deflate, no flags, no time, no hint, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// The last deflate block: fixed codes, nothing in it.
const END: [u8; 2] = [0x03, 0x00];

/// Compresses `plain` to its end into `out`.
pub(super) fn compress(level: u32, plain: &mut dyn Read, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(&HEADER)?;
    let mut whole = Crc::new();
    let work = |block: &[u8]| {
        let mut crc = Crc::new();
        crc.update(block);
        Ok((deflate(level, block)?, crc))
    };
    blocks::each(plain, BLOCK, &work, &mut |packed, crc| {
        whole.combine(&crc);
        out.write_all(packed)
    })?;
    out.write_all(&END)?;
    out.write_all(&whole.sum().to_le_bytes())?;
    out.write_all(&whole.amount().to_le_bytes())
}

/// One block, ended on a byte.
fn deflate(level: u32, plain: &[u8]) -> io::Result<Vec<u8>> {
    let level = if is_dense(plain) { 0 } else { level };
    run(level, plain)
}

fn run(level: u32, plain: &[u8]) -> io::Result<Vec<u8>> {
    let mut packer = Compress::new(Compression::new(level), false);
    // Stored blocks have five bytes for each 64 KiB at most, the end has as many.
    let mut packed = Vec::with_capacity(plain.len() + plain.len() / 256 + 64);
    loop {
        let at = usize::try_from(packer.total_in()).unwrap_or(usize::MAX);
        let status = packer
            .compress_vec(&plain[at..], &mut packed, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        // Room that is left means that nothing is kept back.
        if packed.len() < packed.capacity() && packer.total_in() == plain.len() as u64 {
            return Ok(packed);
        }
        if status == Status::StreamEnd {
            return Err(io::Error::other("deflate ended early"));
        }
        packed.reserve(plain.len() / 4 + 64);
    }
}

/// Whether a block is of what was compressed already, which to try again only
/// costs time: its bytes are spread evenly, and hardly any four of a piece of it
/// come again there.
fn is_dense(plain: &[u8]) -> bool {
    if plain.len() < SAMPLE {
        return false;
    }
    let mut counts = [0_u32; 256];
    for byte in plain.iter().step_by(4) {
        counts[usize::from(*byte)] += 1;
    }
    let even = u32::try_from(plain.len() / 4 / 256).unwrap_or(u32::MAX);
    if counts.iter().any(|count| *count > even * 2) {
        return false;
    }
    let from = (plain.len() - SAMPLE) / 2;
    repeated(&plain[from..from + SAMPLE]) < SAMPLE / 200
}

/// How many groups of four bytes stood in the piece before, about.
fn repeated(piece: &[u8]) -> usize {
    let mut seen = vec![0_u32; 1 << HASH_BITS];
    let mut count = 0;
    for group in piece.windows(4) {
        let group = u32::from_le_bytes([group[0], group[1], group[2], group[3]]);
        let place = usize::try_from(group.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS));
        let known = &mut seen[place.unwrap_or_default()];
        count += usize::from(*known == group);
        *known = group;
    }
    count
}
