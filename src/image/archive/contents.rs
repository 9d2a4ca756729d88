//! The files of an archive, kept where they fit: small ones in memory, large
//! ones as blobs in the store.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Component, Path};
use std::time::{Duration, Instant, SystemTime};

use super::documents::BLOBS;
use super::members::{Kind, Member, Reader, damaged};
use crate::fs::At as _;
use crate::image::Error;
use crate::layer::{Compression, decompress};
use crate::oci::Digest;
use crate::store::{self, Store};

/// Most entries of one archive.
const ENTRY_LIMIT: u64 = 1_000_000;
/// Longest document (index, manifest, configuration), in bytes.
const DOCUMENT_LIMIT: u64 = 8 << 20;
/// Files up to this size stay in memory while there is room.
const SMALL_BYTES: u64 = 1 << 20;
/// Room in memory for small files.
const MEMORY_BYTES: u64 = 16 << 20;
/// Room in memory for the names of files and links.
const NAME_BYTES: usize = 16 << 20;
/// Most links from one name of the archive to a file.
const LINK_LIMIT: usize = 8;
const TOUCH_EVERY: Duration = Duration::from_mins(1);
const COPY_BYTES: usize = 256 << 10;

/// What an archive holds.
pub(super) struct Contents<'a> {
    store: &'a Store,
    files: HashMap<String, File>,
    /// Symbolic and hard links with their targets, as paths in the archive.
    links: HashMap<String, String>,
    memory: u64,
    names: usize,
    /// Blobs that this archive brought.
    added: Vec<Digest>,
    /// When they were last made to look young.
    touched: Instant,
}

enum File {
    Memory(Vec<u8>),
    Stored { digest: Digest, size: u64 },
}

/// A blob that is in the store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stored {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) compression: Compression,
}

impl<'a> Contents<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            files: HashMap::new(),
            links: HashMap::new(),
            memory: 0,
            names: 0,
            added: Vec::new(),
            touched: Instant::now(),
        }
    }

    /// Reads the archive from front to back. Every file under `blobs/sha256`
    /// has the digest that its name says, or else this fails.
    pub(super) fn fill(&mut self, source: &mut dyn Read) -> Result<(), Error> {
        let mut tar = Reader::new(source);
        let mut entries = 0;
        while let Some(member) = tar.next()? {
            entries += 1;
            if entries > ENTRY_LIMIT {
                let what = format!("it has more than {ENTRY_LIMIT} entries");
                return Err(Error::Archive(what));
            }
            let Some(path) = normal(&member.path) else {
                continue;
            };
            self.names += path.len() + size_of::<(String, File)>();
            if self.names > NAME_BYTES {
                return Err(Error::Archive("it has too many files".into()));
            }
            match &member.kind {
                Kind::File if is_ignored(&path) => {}
                Kind::File => {
                    self.links.remove(&path);
                    let file = self.take(&mut tar, &path, &member)?;
                    self.files.insert(path, file);
                }
                Kind::Symlink(target) => {
                    let parent = Path::new(&path).parent().unwrap_or(Path::new(""));
                    let target = parent.join(target);
                    self.link(path, target.to_str().and_then(within));
                }
                Kind::HardLink(target) => self.link(path, normal(target)),
                Kind::Other => {}
            }
        }
        Ok(())
    }

    fn link(&mut self, path: String, target: Option<String>) {
        if let Some(target) = target {
            self.names += target.len();
            self.files.remove(&path);
            self.links.insert(path, target);
        }
    }

    fn take(&mut self, tar: &mut Reader<'_>, path: &str, member: &Member) -> Result<File, Error> {
        let named = match path.strip_prefix(BLOBS) {
            Some(hex) => Digest::from_hex(hex).ok(),
            None => None,
        };
        if member.size <= SMALL_BYTES.min(MEMORY_BYTES - self.memory) {
            let mut bytes = Vec::new();
            tar.read_to_end(&mut bytes).map_err(|err| damaged(&err))?;
            let got = named.map(|want| (want, Digest::of(&bytes)));
            if let Some((want, got)) = got.filter(|(want, got)| want != got) {
                return Err(Error::WrongDigest { want, got });
            }
            self.memory += member.size;
            return Ok(File::Memory(bytes));
        }
        if let Some(digest) = named {
            // What has this digest may be there already; the tar skips the bytes.
            let size = member.size;
            if self.store.blob_exists(digest) && self.store.pin_layer_blob(digest)? {
                return Ok(File::Stored { digest, size });
            }
        }
        let (digest, size) = self.spool(tar, named)?;
        Ok(File::Stored { digest, size })
    }

    fn spool(
        &mut self,
        source: &mut dyn Read,
        expected: Option<Digest>,
    ) -> Result<(Digest, u64), Error> {
        let mut blob = self.store.blob_writer()?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            self.keep_young();
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => blob
                    .write_all(&buffer[..length])
                    .at("write", self.store.paths().tmp())?,
                Err(err) if err.kind() == std::io::ErrorKind::Interrupted => {}
                Err(err) => return Err(damaged(&err)),
            }
        }
        match self.store.blob_finish(blob, expected) {
            Ok((digest, size)) => {
                self.added.push(digest);
                Ok((digest, size))
            }
            Err(store::Error::Damaged { want, got }) => Err(Error::WrongDigest { want, got }),
            Err(err) => Err(err.into()),
        }
    }

    fn file(&self, path: &str) -> Option<&File> {
        let mut path = normal(path)?;
        for _ in 0..LINK_LIMIT {
            match self.links.get(&path) {
                Some(target) => path.clone_from(target),
                None => return self.files.get(&path),
            }
        }
        None
    }

    /// Whether there is a file with this name.
    pub(super) fn has(&self, path: &str) -> bool {
        self.file(path).is_some()
    }

    /// The bytes of a document.
    ///
    /// # Errors
    /// [`Error::Archive`] when there is none or it is too long.
    pub(super) fn document(&self, path: &str) -> Result<Vec<u8>, Error> {
        let long = || Error::Archive(format!("`{path}` has more than {DOCUMENT_LIMIT} bytes"));
        let file = self.file(path);
        match file.ok_or_else(|| Error::Archive(format!("`{path}` is missing")))? {
            File::Memory(bytes) => Ok(bytes.clone()),
            File::Stored { size, .. } if *size > DOCUMENT_LIMIT => Err(long()),
            File::Stored { digest, .. } => {
                let mut bytes = Vec::new();
                self.store
                    .blob_open(*digest)?
                    .take(DOCUMENT_LIMIT)
                    .read_to_end(&mut bytes)
                    .at("read", self.store.blob_path(*digest))?;
                Ok(bytes)
            }
        }
    }

    /// The blob that the file `path` is; it is put into the store if need be.
    pub(super) fn stored(&mut self, path: &str) -> Result<Stored, Error> {
        let file = self.file(path);
        let (digest, size) =
            match file.ok_or_else(|| Error::Archive(format!("`{path}` is missing")))? {
                File::Stored { digest, size } => (*digest, *size),
                File::Memory(bytes) => {
                    let bytes = bytes.clone();
                    self.put(&bytes)?
                }
            };
        self.known(digest, size)
    }

    /// The blob with this digest, from the archive or from the store.
    pub(super) fn stored_blob(&mut self, digest: Digest) -> Result<Stored, Error> {
        let path = blob_name(digest);
        if self.has(&path) {
            return self.stored(&path);
        }
        if !self.store.blob_exists(digest) {
            return Err(Error::Archive(format!("blob `{digest}` is missing")));
        }
        let path = self.store.blob_path(digest);
        let size = std::fs::metadata(&path).at("read", &path)?.len();
        self.known(digest, size)
    }

    /// The plain bytes of a blob as a blob of its own.
    pub(super) fn plain(&mut self, blob: Stored) -> Result<Stored, Error> {
        let file = self.store.blob_open(blob.digest)?;
        let (_, mut plain) = decompress(file).map_err(|err| damaged(&err))?;
        let (digest, size) = self.spool(&mut plain, None)?;
        self.known(digest, size)
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(Digest, u64), Error> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u64;
        if self.store.blob_exists(digest) {
            return Ok((digest, size));
        }
        self.spool(&mut bytes, Some(digest))
    }

    fn known(&self, digest: Digest, size: u64) -> Result<Stored, Error> {
        let mut head = Vec::new();
        self.store
            .blob_open(digest)?
            .take(6)
            .read_to_end(&mut head)
            .at("read", self.store.blob_path(digest))?;
        Ok(Stored {
            digest,
            size,
            compression: Compression::detect(&head),
        })
    }

    /// The collector leaves blobs alone that are young, although nothing names
    /// them yet; those of a large archive must not grow old meanwhile.
    fn keep_young(&mut self) {
        if self.touched.elapsed() < TOUCH_EVERY {
            return;
        }
        self.touched = Instant::now();
        for digest in &self.added {
            let file = fs::File::options()
                .write(true)
                .open(self.store.blob_path(*digest));
            // One that is gone is missed when it is needed.
            file.and_then(|file| file.set_modified(SystemTime::now()))
                .ok();
        }
    }

    /// Removes the blobs that reading the archive brought into the store, but
    /// that no image came to need.
    pub(super) fn clean(self) -> Result<(), store::Error> {
        for digest in self.added {
            self.store.layer_blob_remove(digest)?;
        }
        Ok(())
    }
}

/// The name of a blob in the archive.
pub(super) fn blob_name(digest: Digest) -> String {
    format!("{BLOBS}{}", digest.hex())
}

/// What the old docker format has beside each layer, and nobody reads.
fn is_ignored(path: &str) -> bool {
    path.ends_with("/json") || path.ends_with("/VERSION")
}

/// A path of the archive in one spelling; `None` for one that leads outside.
fn normal(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

/// The same for the target of a link, where `..` is usual.
fn within(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => _ = parts.pop()?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_in_one_spelling() {
        let check = |path, expected: Option<&str>| assert_eq!(normal(path).as_deref(), expected);
        check("./index.json", Some("index.json"));
        check("/a//b/", Some("a/b"));
        check("../index.json", None);
        check("a/../index.json", None);
        check("./", None);
    }

    #[test]
    fn link_targets_stay_inside() {
        let check = |path, expected: Option<&str>| assert_eq!(within(path).as_deref(), expected);
        check("a/../b.tar", Some("b.tar"));
        check("a/../../b.tar", None);
        check("/etc/passwd", None);
    }
}
