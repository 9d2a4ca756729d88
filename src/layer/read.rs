//! A plain tar as entries, with bounds on everything.
//!
//! Understood: V7, ustar, PAX (global headers included), GNU long names and
//! base-256 numbers. Refused: sparse and multi-volume members, because reading
//! them as plain files would give other content without a word.
//!
//! Source: POSIX.1-2017, pax; GNU tar manual, "Basic Tar Format".

use std::ffi::OsString;
use std::io::{self, BufRead, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::Header;

use super::header::BLOCK;
use super::records::Records;
use super::stream::{Stream, damaged, signed, unsigned};
use super::{Entry, EntryKind, Limits, UnpackError, Unpacked};

/// Longest body of a PAX header or GNU long name.
const EXTENSION: u64 = 1 << 20;
/// Most extension headers before one member.
const EXTENSIONS: u32 = 8;
/// Why a sparse file is refused.
const SPARSE: &str = "sparse files are not supported";

/// Reads a plain tar, hashing every byte up to the end of the stream.
///
/// After [`TarReader::next_entry`] gave a regular file, the reader itself reads
/// that file's content; what is left of it is skipped by the next call.
#[derive(Debug)]
pub struct TarReader<'a> {
    stream: Stream<'a>,
    limits: Limits,
    globals: Records,
    /// Bytes of the current content that were not read yet.
    left: u64,
    /// Bytes that fill the current content up to a whole block.
    padding: u64,
    /// Bytes of all contents so far, of extension headers too.
    bytes: u64,
    entries: u64,
    is_over: bool,
}

/// What stood before a member and changes what its header says.
#[derive(Default)]
struct Extensions {
    count: u32,
    records: Option<Records>,
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<'a> TarReader<'a> {
    /// Starts to read `source`. Of `limits` the entries, bytes and depth are kept.
    pub fn new(source: &'a mut dyn Read, limits: Limits) -> Self {
        Self {
            stream: Stream::new(source),
            limits,
            globals: Records::default(),
            left: 0,
            padding: 0,
            bytes: 0,
            entries: 0,
            is_over: false,
        }
    }

    /// The next entry, or `None` at the end of the archive. Its path is relative
    /// and has no `.` or `..`; whiteouts are files with their tar names.
    ///
    /// # Errors
    /// [`UnpackError::Damaged`], [`UnpackError::Entry`] for what cannot be
    /// accepted, and [`UnpackError::TooMuch`]. After an error the reader is of no
    /// use any more.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_content()?;
            let mut block = [0; BLOCK];
            if self.is_over || !self.read_header(&mut block)? {
                self.is_over = true;
                if extensions.count > 0 {
                    return Err(damaged("it ends after an extension header"));
                }
                return Ok(None);
            }
            let header = Header::from_byte_slice(&block);
            match header.as_old().linkflag[0] {
                kind @ (b'x' | b'X' | b'g' | b'L' | b'K') => {
                    extensions.count += 1;
                    if extensions.count > EXTENSIONS {
                        return Err(damaged("too many extension headers in a row"));
                    }
                    let body = self.extension(header)?;
                    self.extend(kind, body, &mut extensions)?;
                }
                // The name of the whole archive.
                b'V' => {}
                _ => return self.member(header, extensions).map(Some),
            }
        }
    }

    /// Reads the stream to its very end and says what the tar was.
    pub fn finish(mut self) -> Result<Unpacked, UnpackError> {
        while self.next_entry()?.is_some() {}
        loop {
            let count = self.stream.fill().map_err(UnpackError::Damaged)?.len();
            if count == 0 {
                break;
            }
            self.count_bytes(count as u64)?;
            self.stream.consume(count);
        }
        Ok(Unpacked {
            size: self.stream.size(),
            diff_id: self.stream.diff_id(),
            entries: self.entries,
            opaque_root: false,
        })
    }

    /// Counts bytes that an entry brings beyond its content in the tar.
    pub(super) fn count_bytes(&mut self, count: u64) -> Result<(), UnpackError> {
        self.bytes = self.bytes.saturating_add(count);
        match self.limits.bytes {
            limit if self.bytes > limit => Err(UnpackError::TooMuch {
                limit,
                what: "bytes",
            }),
            _ => Ok(()),
        }
    }

    /// Reads the next header; whether there is one.
    fn read_header(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, UnpackError> {
        if !self.stream.read_block(block)? {
            return Ok(false);
        }
        if block.iter().all(|&byte| byte == 0) {
            if self.stream.read_block(block)? && block.iter().any(|&byte| byte != 0) {
                return Err(damaged("a header follows a block of zeros"));
            }
            return Ok(false);
        }
        if !has_good_checksum(block) {
            return Err(damaged("a header's checksum is wrong"));
        }
        Ok(true)
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, UnpackError> {
        let size = unsigned(&header.as_old().size)?;
        if size > EXTENSION {
            return Err(damaged("an extension header is too long"));
        }
        self.begin_content(size)?;
        let mut body = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.read_to_end(&mut body).map_err(UnpackError::Damaged)?;
        Ok(body)
    }

    fn extend(
        &mut self,
        kind: u8,
        mut body: Vec<u8>,
        extensions: &mut Extensions,
    ) -> Result<(), UnpackError> {
        let mut name = || {
            let end = body.iter().position(|&byte| byte == 0);
            body.truncate(end.unwrap_or(body.len()));
            Some(std::mem::take(&mut body))
        };
        match kind {
            b'L' => extensions.long_path = name(),
            b'K' => extensions.long_link = name(),
            b'g' => {
                self.globals.merge(&body).map_err(UnpackError::Damaged)?;
                if self.globals.length() as u64 > EXTENSION {
                    return Err(damaged("its global headers are too long"));
                }
            }
            _ => {
                let mut records = extensions.records.take().unwrap_or(self.globals.clone());
                records.merge(&body).map_err(UnpackError::Damaged)?;
                extensions.records = Some(records);
            }
        }
        Ok(())
    }

    fn member(&mut self, header: &Header, extensions: Extensions) -> Result<Entry, UnpackError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(UnpackError::TooMuch {
                limit: self.limits.entries,
                what: "entries",
            });
        }
        let records = extensions.records.as_ref().unwrap_or(&self.globals);
        let raw_path = records.get("path").map(<[u8]>::to_vec);
        let raw_path = raw_path
            .or(extensions.long_path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let refuse = |why| UnpackError::Entry {
            path: PathBuf::from(OsString::from_vec(raw_path.clone())),
            why,
        };
        if records.is_sparse() {
            return Err(refuse(SPARSE));
        }
        let path = self.clean(&raw_path)?;
        let link = records.get("linkpath").map(<[u8]>::to_vec);
        let link = link
            .or(extensions.long_link)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let old = header.as_old();
        let size = match records.number("size").map_err(UnpackError::Damaged)? {
            Some(size) => u64::try_from(size).map_err(|_| damaged("a size is negative"))?,
            None => unsigned(&old.size)?,
        };
        let owner = |key, field: &[u8]| -> Result<u32, UnpackError> {
            let number = match records.number(key).map_err(UnpackError::Damaged)? {
                Some(number) => number,
                None => signed(field)?,
            };
            // The highest number means "leave it" to the kernel.
            match u32::try_from(number) {
                Ok(number) if number != u32::MAX => Ok(number),
                _ => Err(refuse("its owner is out of range")),
            }
        };
        let (uid, gid) = (owner("uid", &old.uid)?, owner("gid", &old.gid)?);
        let mtime = match records.number("mtime").map_err(UnpackError::Damaged)? {
            Some(mtime) => mtime,
            None => signed(&old.mtime)?,
        };
        let mode = unsigned(&old.mode)? & 0o7777;
        let xattrs = records.xattrs();
        let kind = match old.linkflag[0] {
            0 | b'0' | b'7' if raw_path.ends_with(b"/") => EntryKind::Directory { opaque: false },
            0 | b'0' | b'7' => EntryKind::File {
                size,
                content: None,
            },
            b'1' => EntryKind::HardLink(self.clean(&link)?),
            b'2' => EntryKind::Symlink(link_target(link).map_err(refuse)?),
            b'5' | b'D' => EntryKind::Directory { opaque: false },
            b'6' => EntryKind::Fifo,
            kind @ (b'3' | b'4') => device(kind, header)?,
            b'S' => return Err(refuse(SPARSE)),
            _ => return Err(refuse("its kind is unknown")),
        };
        // Other kinds have no content, whatever their size says; but GNU's `D`
        // carries a list of names.
        if matches!(kind, EntryKind::File { .. }) || old.linkflag[0] == b'D' {
            self.begin_content(size)?;
        }
        Ok(Entry {
            path,
            kind,
            mode: u32::try_from(mode).unwrap_or(0),
            uid,
            gid,
            mtime,
            xattrs,
        })
    }

    fn begin_content(&mut self, size: u64) -> Result<(), UnpackError> {
        self.count_bytes(size)?;
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        Ok(())
    }

    fn skip_content(&mut self) -> Result<(), UnpackError> {
        let mut left = std::mem::take(&mut self.left) + std::mem::take(&mut self.padding);
        while left > 0 {
            let length = self.stream.fill().map_err(UnpackError::Damaged)?.len();
            if length == 0 {
                return Err(UnpackError::Damaged(io::ErrorKind::UnexpectedEof.into()));
            }
            let count = usize::try_from(left).map_or(length, |left| left.min(length));
            self.stream.consume(count);
            left -= count as u64;
        }
        Ok(())
    }

    /// A path without leading slash, empty or `.` components.
    fn clean(&self, raw: &[u8]) -> Result<PathBuf, UnpackError> {
        let refuse = |why| {
            Err(UnpackError::Entry {
                path: PathBuf::from(OsString::from_vec(raw.to_vec())),
                why,
            })
        };
        if raw.contains(&0) {
            return refuse("its path contains a NUL");
        }
        let mut clean = Vec::with_capacity(raw.len());
        let mut depth = 0;
        for component in raw.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return refuse("its path contains `..`"),
                _ => depth += 1,
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(component);
        }
        if depth > self.limits.depth {
            return Err(UnpackError::TooMuch {
                limit: self.limits.depth as u64,
                what: "path components",
            });
        }
        Ok(PathBuf::from(OsString::from_vec(clean)))
    }
}

impl Read for TarReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.fill_buf()?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for TarReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let bytes = self.stream.fill()?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(&bytes[..bytes.len().min(left)])
    }

    fn consume(&mut self, count: usize) {
        self.stream.consume(count);
        self.left -= count as u64;
    }
}

fn has_good_checksum(block: &[u8; BLOCK]) -> bool {
    let Ok(want) = signed(&block[148..156]) else {
        return false;
    };
    let field = |index: usize, byte: u8| match index {
        148..156 => b' ',
        _ => byte,
    };
    let bytes = || {
        block
            .iter()
            .enumerate()
            .map(|(index, &byte)| field(index, byte))
    };
    // Some old writers summed signed characters.
    want == bytes().map(i64::from).sum::<i64>()
        || want
            == bytes()
                .map(|byte| i64::from(byte.cast_signed()))
                .sum::<i64>()
}

fn link_target(link: Vec<u8>) -> Result<PathBuf, &'static str> {
    match &link[..] {
        [] => Err("a symbolic link to nothing"),
        bytes if bytes.contains(&0) => Err("its target contains a NUL"),
        _ => Ok(PathBuf::from(OsString::from_vec(link))),
    }
}

fn device(kind: u8, header: &Header) -> Result<EntryKind, UnpackError> {
    let (major, minor) = match (header.as_ustar(), header.as_gnu()) {
        (Some(ustar), _) => (&ustar.dev_major, &ustar.dev_minor),
        (_, Some(gnu)) => (&gnu.dev_major, &gnu.dev_minor),
        _ => return Err(damaged("a device without numbers")),
    };
    let number = |field| {
        u32::try_from(unsigned(field)?).map_err(|_| damaged("a device number is out of range"))
    };
    let (major, minor) = (number(major)?, number(minor)?);
    Ok(match kind {
        b'3' => EntryKind::CharDevice { major, minor },
        _ => EntryKind::BlockDevice { major, minor },
    })
}
