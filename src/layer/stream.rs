//! The bytes of a tar on their way in: pieces, blocks and numbers.

use std::io::{self, Read};

use super::UnpackError;
use super::header::BLOCK;
use crate::oci::{DiffId, Hasher};

/// Bytes read from the source at once.
const BUFFER: usize = 256 << 10;

/// The source in large pieces, hashed as they come.
pub(super) struct Stream<'a> {
    source: &'a mut dyn Read,
    hasher: Hasher,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    size: u64,
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl<'a> Stream<'a> {
    pub(super) fn new(source: &'a mut dyn Read) -> Self {
        Self {
            source,
            hasher: Hasher::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            start: 0,
            end: 0,
            size: 0,
        }
    }

    /// What is at hand, at least one byte unless the source has ended.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        while self.start == self.end {
            match self.source.read(&mut self.buffer) {
                Ok(count) => {
                    self.hasher.update(&self.buffer[..count]);
                    self.size += count as u64;
                    (self.start, self.end) = (0, count);
                    break;
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
    }

    /// Reads a block; whether there was one before the end.
    pub(super) fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, UnpackError> {
        let mut filled = 0;
        while filled < BLOCK {
            let bytes = self.fill().map_err(UnpackError::Damaged)?;
            let count = bytes.len().min(BLOCK - filled);
            if count == 0 {
                return match filled {
                    0 => Ok(false),
                    _ => Err(UnpackError::Damaged(io::ErrorKind::UnexpectedEof.into())),
                };
            }
            block[filled..filled + count].copy_from_slice(&bytes[..count]);
            self.consume(count);
            filled += count;
        }
        Ok(true)
    }

    /// Bytes of the source so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The digest of the source so far.
    pub(super) fn diff_id(self) -> DiffId {
        DiffId(self.hasher.finish())
    }
}

pub(super) fn unsigned(field: &[u8]) -> Result<u64, UnpackError> {
    u64::try_from(signed(field)?).map_err(|_| damaged("a number is negative"))
}

/// A number in octal digits, or in GNU's base 256.
pub(super) fn signed(field: &[u8]) -> Result<i64, UnpackError> {
    let wrong = || damaged("a number is malformed");
    match field {
        [first, rest @ ..] if first & 0x80 != 0 => {
            // Seven bits of the first byte count, the highest of them as the sign.
            let first = i64::from((first << 1).cast_signed() >> 1);
            rest.iter().try_fold(first, |number, &byte| {
                number
                    .checked_mul(256)
                    .and_then(|number| number.checked_add(i64::from(byte)))
                    .ok_or_else(wrong)
            })
        }
        _ => {
            let end = field.iter().position(|&byte| byte == 0);
            let digits = field[..end.unwrap_or(field.len())].trim_ascii();
            digits.iter().try_fold(0_i64, |number, &digit| match digit {
                b'0'..=b'7' => Ok(number << 3 | i64::from(digit - b'0')),
                _ => Err(wrong()),
            })
        }
    }
}

/// An archive that breaks the format.
pub(super) fn damaged(why: &'static str) -> UnpackError {
    UnpackError::Damaged(io::Error::new(io::ErrorKind::InvalidData, why))
}
