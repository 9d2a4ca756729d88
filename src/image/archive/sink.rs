//! Where the files of an image layout go: into a tar, or into a directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::fs::{At, replace};
use crate::image::Error;

const BLOCK: usize = 512;
const COPY_BYTES: usize = 256 << 10;

/// A reader that tells at its end whether it gave what it should have.
pub(super) type Content<'a> = &'a mut dyn Read;

/// Takes the files of a layout.
pub(super) trait Sink {
    /// A directory; its name ends with a slash.
    fn directory(&mut self, name: &str) -> Result<(), Error>;
    /// A document.
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error>;
    /// A file of `size` bytes that may be large. Reading it may fail, at its very
    /// end too.
    fn stream(&mut self, name: &str, size: u64, content: Content<'_>) -> Result<(), Error>;
    /// Everything was given.
    fn finish(&mut self) -> Result<(), Error>;
}

/// Writes tar entries whose metadata says nothing of this machine or moment.
pub(super) struct Tar<'a> {
    pub(super) out: &'a mut dyn Write,
}

impl Tar<'_> {
    fn header(&mut self, name: &str, kind: tar::EntryType, size: u64) -> Result<(), Error> {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).map_err(Error::Write)?;
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.write(header.as_bytes())
    }

    fn pad(&mut self, size: u64) -> Result<(), Error> {
        let used = usize::try_from(size % BLOCK as u64).unwrap_or(0);
        if used == 0 {
            return Ok(());
        }
        self.write(&[0; BLOCK][used..])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Write)
    }
}

impl Sink for Tar<'_> {
    fn directory(&mut self, name: &str) -> Result<(), Error> {
        self.header(name, tar::EntryType::Directory, 0)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let size = bytes.len() as u64;
        self.header(name, tar::EntryType::Regular, size)?;
        self.write(bytes)?;
        self.pad(size)
    }

    fn stream(&mut self, name: &str, size: u64, content: Content<'_>) -> Result<(), Error> {
        self.header(name, tar::EntryType::Regular, size)?;
        copy(content, &mut |bytes| self.write(bytes))?;
        self.pad(size)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.write(&[0; 2 * BLOCK])?;
        self.out.flush().map_err(Error::Write)
    }
}

/// Writes into a directory that may hold another layout already: blobs that are
/// there stay, and each file appears whole or not at all.
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    /// Opens the directory, which is made where it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(path).at("create", path)?;
        Ok(Self {
            path: path.to_owned(),
        })
    }
}

impl Sink for Directory {
    fn directory(&mut self, name: &str) -> Result<(), Error> {
        let path = self.path.join(name);
        Ok(std::fs::create_dir_all(&path).at("create", &path)?)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        replace(&path, bytes)?;
        readable(&path)
    }

    fn stream(&mut self, name: &str, size: u64, content: Content<'_>) -> Result<(), Error> {
        let path = self.path.join(name);
        if std::fs::metadata(&path).is_ok_and(|there| there.is_file() && there.len() == size) {
            return Ok(());
        }
        let dir = path.parent().unwrap_or(&self.path);
        let mut file = tempfile::NamedTempFile::new_in(dir).at("create a file in", dir)?;
        copy(content, &mut |bytes| {
            file.write_all(bytes).map_err(Error::Write)
        })?;
        let persisted = file.persist(&path).map_err(|err| err.error);
        drop::<File>(persisted.at("create", &path)?);
        readable(&path)
    }

    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// A temporary file is its maker's alone; a layout is for everybody.
fn readable(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o644);
    Ok(std::fs::set_permissions(path, mode).at("set the mode of", path)?)
}

fn copy(
    content: Content<'_>,
    write: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => write(&buffer[..length])?,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(Error::Write(err)),
        }
    }
}
