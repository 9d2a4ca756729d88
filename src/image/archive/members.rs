//! The entries of a tar, one after the other, without seeking.
//!
//! Reads ustar, PAX, GNU long names and base-256 numbers, and the old form
//! without a magic. Extensions are bounded before they are read.
//!
//! Source: POSIX.1-2024, pax, "ustar Interchange Format" and "pax Header Block";
//! GNU tar manual, "Basic Tar Format".

use std::io::{self, Read};

use crate::image::Error;

const BLOCK: usize = 512;
/// Longest extension (a PAX header, a long name) that is read.
const EXTENSION_LIMIT: u64 = 1 << 20;

/// What an entry is, as far as image archives care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    /// A symbolic link with its target.
    Symlink(String),
    /// A further name of an earlier file, by its path in the archive.
    HardLink(String),
    Other,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) size: u64,
}

/// A tar being read. After [`Reader::next`] the entry's content is read from
/// the reader itself; what is left of it is skipped.
pub(super) struct Reader<'a> {
    source: &'a mut dyn Read,
    left: u64,
    padding: u64,
    members: u64,
}

/// What extensions say of the entry that follows.
#[derive(Default)]
struct Extended {
    path: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a mut dyn Read) -> Self {
        Self {
            source,
            left: 0,
            padding: 0,
            members: 0,
        }
    }

    /// The next entry; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Member>, Error> {
        let mut extended = Extended::default();
        loop {
            self.skip()?;
            let Some(header) = self.block()? else {
                return Ok(None);
            };
            let size = extended.size.unwrap_or(0).max(number(&header[124..136])?);
            self.left = size;
            self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
            self.members += 1;
            match header[156] {
                b'x' => self.pax(&mut extended)?,
                b'L' => extended.path = Some(self.long_name()?),
                b'K' => extended.link = Some(self.long_name()?),
                // A global header can say nothing that matters here.
                b'g' => {}
                flag => return Ok(Some(self.member(&header, flag, extended))),
            }
        }
    }

    fn member(&mut self, header: &[u8; BLOCK], flag: u8, extended: Extended) -> Member {
        let path = extended.path.unwrap_or_else(|| header_path(header));
        let link = extended.link.unwrap_or_else(|| text(&header[157..257]));
        let kind = match flag {
            // The old form marks a directory by its name alone.
            b'0' | b'7' | 0 if !path.ends_with('/') => Kind::File,
            b'1' => Kind::HardLink(link),
            b'2' => Kind::Symlink(link),
            _ => Kind::Other,
        };
        if matches!(kind, Kind::HardLink(_) | Kind::Symlink(_)) {
            // Some writers give a link the size of its target, without content.
            (self.left, self.padding) = (0, 0);
        }
        Member {
            path,
            kind,
            size: self.left,
        }
    }

    /// Reads a header; `None` for the end of the archive.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.source.read(&mut block[filled..]) {
                Ok(0) if filled == 0 && self.members > 0 => return Ok(None),
                Ok(0) if self.members == 0 => return Err(no_archive()),
                Ok(0) => return Err(cut_short()),
                Ok(length) => filled += length,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(damaged(&err)),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if !checksum_holds(&block) {
            return Err(match self.members {
                0 => no_archive(),
                _ => Error::Archive("the archive is damaged: a header's checksum is wrong".into()),
            });
        }
        Ok(Some(block))
    }

    fn pax(&mut self, extended: &mut Extended) -> Result<(), Error> {
        let wrong = || Error::Archive("the archive is damaged: a malformed PAX header".into());
        let bytes = self.extension()?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let space = rest
                .iter()
                .position(|byte| *byte == b' ')
                .ok_or_else(wrong)?;
            let length: usize = std::str::from_utf8(&rest[..space])
                .ok()
                .and_then(|digits| digits.parse().ok())
                .filter(|length| (space + 2..=rest.len()).contains(length))
                .ok_or_else(wrong)?;
            let record = &rest[space + 1..length - 1];
            rest = &rest[length..];
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(wrong)?;
            let value = String::from_utf8_lossy(&record[equals + 1..]);
            match &record[..equals] {
                b"path" => extended.path = Some(value.into_owned()),
                b"linkpath" => extended.link = Some(value.into_owned()),
                b"size" => extended.size = Some(value.parse().map_err(|_| wrong())?),
                _ => {}
            }
        }
        Ok(())
    }

    fn long_name(&mut self) -> Result<String, Error> {
        Ok(text(&self.extension()?))
    }

    fn extension(&mut self) -> Result<Vec<u8>, Error> {
        if self.left > EXTENSION_LIMIT {
            let limit = EXTENSION_LIMIT;
            return Err(Error::Archive(format!(
                "a header of more than {limit} bytes"
            )));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(|err| damaged(&err))?;
        Ok(bytes)
    }

    /// Skips what is left of the current entry.
    fn skip(&mut self) -> Result<(), Error> {
        io::copy(self, &mut io::sink()).map_err(|err| damaged(&err))?;
        let padding = std::mem::take(&mut self.padding);
        let skipped = io::copy(&mut self.source.take(padding), &mut io::sink());
        match skipped {
            Ok(length) if length == padding => Ok(()),
            Ok(_) => Err(cut_short()),
            Err(err) => Err(damaged(&err)),
        }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = buffer.len().min(most);
        if most == 0 {
            return Ok(0);
        }
        let length = self.source.read(&mut buffer[..most])?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// Says what a read error means for the archive.
pub(super) fn damaged(err: &io::Error) -> Error {
    match err.kind() {
        io::ErrorKind::UnexpectedEof => cut_short(),
        _ => Error::Archive(format!("the archive is damaged: {err}")),
    }
}

fn cut_short() -> Error {
    Error::Archive("the archive is damaged: it ends too early".into())
}

fn no_archive() -> Error {
    Error::Archive("not an image archive: not a tar".into())
}

fn header_path(header: &[u8; BLOCK]) -> String {
    let name = text(&header[..100]);
    // GNU's old magic (`ustar  `) uses the place of the prefix for other things.
    let prefix = match &header[257..263] {
        b"ustar\0" => text(&header[345..500]),
        _ => String::new(),
    };
    match prefix.as_str() {
        "" => name,
        prefix => format!("{prefix}/{name}"),
    }
}

/// The bytes up to the first zero.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
}

/// An octal number, or a base-256 one when the highest bit is set.
fn number(field: &[u8]) -> Result<u64, Error> {
    let wrong = || Error::Archive("the archive is damaged: a malformed size".into());
    if let [first, rest @ ..] = field
        && first & 0x80 != 0
    {
        // Seven bits of the first byte count, the highest of them as the sign:
        // negative numbers are no size.
        if first & 0x40 != 0 {
            return Err(wrong());
        }
        return rest
            .iter()
            .try_fold(u64::from(first & 0x3f), |value, byte| {
                let value = value.checked_mul(256).ok_or_else(wrong)?;
                Ok(value | u64::from(*byte))
            });
    }
    let digits = field.iter().skip_while(|byte| **byte == b' ');
    let digits = digits.take_while(|byte| !matches!(byte, 0 | b' '));
    digits
        .into_iter()
        .try_fold(0_u64, |value, byte| match byte {
            b'0'..=b'7' => Ok(value << 3 | u64::from(byte - b'0')),
            _ => Err(wrong()),
        })
}

/// The sum of all bytes with the sum's own field as spaces; some old writers
/// added signed bytes.
fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let Ok(want) = number(&block[148..156]) else {
        return false;
    };
    let counted = |index: usize, byte: u8| {
        if (148..156).contains(&index) {
            b' '
        } else {
            byte
        }
    };
    let bytes = block.iter().enumerate().map(|(i, byte)| counted(i, *byte));
    let unsigned: u64 = bytes.clone().map(u64::from).sum();
    let signed: i64 = bytes.map(|byte| i64::from(byte.cast_signed())).sum();
    want == unsigned || i64::try_from(want) == Ok(signed)
}
