//! A tree to its canonical tar.
//!
//! Order: depth first, names of one directory sorted by their bytes, a directory
//! before its content; whiteouts stand in that order under the name they remove,
//! and the mark of an opaque directory right after the directory. The root
//! itself is not an entry. Headers: ustar where everything fits, else PAX
//! records; numeric owners only; whole-second mtimes. The end is two blocks of
//! zeros and nothing more.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::header::{self, BLOCK};
use super::{Entry, EntryKind, walk_tree};
use crate::fs::PathError;
use crate::oci::{DiffId, Hasher};

/// Bytes gathered before they are hashed and written.
const BUFFER: usize = 256 << 10;

/// How the name of a whiteout begins in a tar.
///
/// Source: OCI image-spec 1.1, "Whiteouts".
pub(super) const WHITEOUT: &[u8] = b".wh.";
/// The name that marks its directory as opaque in a tar.
pub(super) const OPAQUE: &[u8] = b".wh..wh..opq";

/// What can be asked of a tar beyond the tree.
#[derive(Debug, Clone, Copy, Default)]
pub struct PackOptions {
    /// Latest mtime an entry may have, in seconds since 1970 (`SOURCE_DATE_EPOCH`).
    pub clamp_mtime: Option<i64>,
    /// Whether names that begin with `.wh.` are names like any other: the tar is an
    /// archive of files, no layer.
    pub plain_names: bool,
}

/// What a finished tar is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the tar.
    pub diff_id: DiffId,
    /// Length of the tar in bytes.
    pub size: u64,
    /// Number of entries; 0 means that the layer changes nothing.
    pub entries: u64,
}

/// Writes entries to a tar and hashes it on the way.
///
/// The caller brings entries in canonical order.
pub struct Packer<W: Write> {
    out: W,
    options: PackOptions,
    hasher: Hasher,
    buffer: Box<[u8]>,
    filled: usize,
    header: Vec<u8>,
    size: u64,
    entries: u64,
}

impl<W: Write> fmt::Debug for Packer<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packer")
            .field("options", &self.options)
            .field("size", &self.size)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Packer<W> {
    /// Starts a tar on `out`. Use [`std::io::sink`] to have only the digest.
    pub fn new(out: W, options: PackOptions) -> Self {
        Self {
            out,
            options,
            hasher: Hasher::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            filled: 0,
            header: Vec::with_capacity(2 * BLOCK),
            size: 0,
            entries: 0,
        }
    }

    /// Adds an entry. `content` is read to its end and must have exactly the
    /// entry's size; it is not touched for other kinds than regular files.
    ///
    /// The root itself, whose path is empty, makes no entry; if it is opaque,
    /// the mark for that does. A name that begins with `.wh.` is refused, because
    /// whoever unpacks the tar would take it for a whiteout.
    pub fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let path = entry.path.as_os_str().as_bytes();
        let name = entry.path.file_name().map_or(&b""[..], OsStr::as_bytes);
        if name.starts_with(WHITEOUT) && !self.options.plain_names {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a layer cannot hold a name that begins with `.wh.`",
            ));
        }
        match &entry.kind {
            EntryKind::Directory { opaque } => {
                if !path.is_empty() {
                    self.member(entry)?;
                }
                if *opaque {
                    self.marker(path, OPAQUE)?;
                }
            }
            EntryKind::Whiteout => {
                let parent = path.len() - name.len();
                let marker = [WHITEOUT, name].concat();
                self.marker(path[..parent].strip_suffix(b"/").unwrap_or(b""), &marker)?;
            }
            EntryKind::File { size, .. } => {
                self.member(entry)?;
                self.content(*size, content)?;
            }
            _ => self.member(entry)?,
        }
        Ok(())
    }

    /// Ends the tar and gives back the writer.
    pub fn finish(mut self) -> io::Result<(Packed, W)> {
        self.put(&[0; 2 * BLOCK])?;
        self.flush()?;
        self.out.flush()?;
        let packed = Packed {
            diff_id: DiffId(self.hasher.finish()),
            size: self.size,
            entries: self.entries,
        };
        Ok((packed, self.out))
    }

    fn member(&mut self, entry: &Entry) -> io::Result<()> {
        let latest = self.options.clamp_mtime.unwrap_or(i64::MAX);
        let mut headers = std::mem::take(&mut self.header);
        headers.clear();
        header::write(entry, entry.mtime.min(latest), &mut headers)?;
        self.put(&headers)?;
        self.header = headers;
        self.entries += 1;
        Ok(())
    }

    fn marker(&mut self, parent: &[u8], name: &[u8]) -> io::Result<()> {
        let path = match parent {
            b"" => name.to_vec(),
            parent => [parent, b"/", name].concat(),
        };
        let mut headers = Vec::with_capacity(BLOCK);
        header::write_marker(&path, &mut headers)?;
        self.put(&headers)?;
        self.entries += 1;
        Ok(())
    }

    /// Copies exactly `size` bytes and pads them to a whole block.
    fn content(&mut self, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let changed = || io::Error::other("the file changed while it was read");
        let mut left = size;
        while left > 0 {
            let space = &mut self.buffer[self.filled..];
            let wanted = usize::try_from(left).map_or(space.len(), |left| left.min(space.len()));
            match content.read(&mut space[..wanted]) {
                Ok(0) => return Err(changed()),
                Ok(count) => {
                    self.filled += count;
                    left -= count as u64;
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
            if self.filled == self.buffer.len() {
                self.flush()?;
            }
        }
        if content.read(&mut [0])? != 0 {
            return Err(changed());
        }
        let block = BLOCK as u64;
        let padding = usize::try_from(size.wrapping_neg() % block).unwrap_or(0);
        self.put(&[0; BLOCK][..padding])
    }

    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let space = &mut self.buffer[self.filled..];
            let count = bytes.len().min(space.len());
            space[..count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled == self.buffer.len() {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let bytes = &self.buffer[..self.filled];
        self.hasher.update(bytes);
        self.out.write_all(bytes)?;
        self.size += bytes.len() as u64;
        self.filled = 0;
        Ok(())
    }
}

/// Packs the layer directory `dir`, in overlayfs spelling, into `out`.
pub fn pack_tree(dir: &Path, options: PackOptions, out: impl Write) -> Result<Packed, PathError> {
    let fail = |path: &Path| {
        let path = dir.join(path);
        move |source| PathError {
            action: "pack",
            path,
            source,
        }
    };
    let mut packer = Packer::new(out, options);
    walk_tree(dir, &mut |entry, file| {
        let added = match file {
            Some(mut file) => packer.entry(entry, &mut file),
            None => packer.entry(entry, &mut io::empty()),
        };
        added.map_err(fail(&entry.path))
    })?;
    let (packed, _) = packer.finish().map_err(fail(Path::new("")))?;
    Ok(packed)
}
