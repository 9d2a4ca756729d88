//! Contexts that come as an archive, and telling archives from other files.

use std::io::{Cursor, Read};
use std::path::Path;

use crate::fs::{At, PathError};
use crate::layer::{self, NoLower, UnpackError, UnpackOptions};

/// Why a context cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The archive is refused.
    #[error("cannot unpack the build context")]
    Unpack(#[from] UnpackError),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

/// Whether a stream that starts with `head` is a tar archive, compressed or
/// not. `head` should have some tens of kilobytes, so that a compressed header can be read.
pub fn is_archive(head: &[u8]) -> bool {
    let Ok((_, mut plain)) = layer::decompress(Cursor::new(head)) else {
        return false;
    };
    let mut block = [0; 512];
    if plain.read_exact(&mut block).is_err() {
        return false;
    }
    is_header(&block)
}

/// Whether 512 bytes are a tar header: its checksum is there and right, which
/// the all-zero end marker's is not.
fn is_header(block: &[u8; 512]) -> bool {
    let field = &block[148..156];
    let digits: String = field
        .iter()
        .map(|byte| char::from(*byte))
        .skip_while(|c| *c == ' ')
        .take_while(|c| c.is_digit(8))
        .collect();
    let Ok(wanted) = u64::from_str_radix(&digits, 8) else {
        return false;
    };
    let sum: u64 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| {
            if (148..156).contains(&at) {
                u64::from(b' ')
            } else {
                u64::from(*byte)
            }
        })
        .sum();
    sum == wanted && !digits.is_empty()
}

/// Unpacks an archive, compressed or not, into the empty directory `target`.
pub fn unpack_archive(archive: impl Read + Send, target: &Path) -> Result<(), SourceError> {
    let (_, mut plain) = layer::decompress(archive).at("read", "the archive")?;
    let options = UnpackOptions {
        limits: layer::Limits::default(),
        whiteouts: false,
    };
    layer::unpack(&mut plain, target, &NoLower, options)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_by_their_content() {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_cksum();
        builder.append_data(&mut header, "a", &b"x"[..]).unwrap();
        let archive = builder.into_inner().unwrap();
        assert!(is_header(archive[..512].try_into().unwrap()));
        assert!(!is_header(&[0; 512]));
        assert!(!is_header(&[b'F'; 512]));
    }
}
