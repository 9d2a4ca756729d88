//! What the tree of one layer amounts to: its digest without times, its bytes.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::{Error, layer_dir};
use crate::fs::{At as _, Descent, PathError};
use crate::layer::{Entry, EntryKind, walk_tree};
use crate::oci::{Digest, Hasher};
use crate::store::{self, SnapshotId, Store};

/// Enters the digest first. Another number makes every cached result that was
/// found by its content be made again, so it changes with what is hashed.
const VERSION: &[u8] = b"tree 1";
const READ_BYTES: usize = 256 << 10;

/// The digest of what a layer says about paths, kinds, modes, owners, xattrs,
/// link targets and contents, but not about times: two runs of one command give
/// the same. Computed once and remembered with the snapshot.
pub fn tree_digest(store: &Store, id: SnapshotId) -> Result<Digest, Error> {
    let row = store.snapshot_get(id)?;
    if let Some(tree) = row.ok_or(store::Error::NoSnapshot(id))?.tree {
        return Ok(tree);
    }
    let tree = digest_of(&layer_dir(store, id))?;
    store.snapshot_set_tree(id, tree)?;
    Ok(tree)
}

/// The digest of a layer whose entries are told one by one, in canonical order:
/// for whoever writes a layer and knows its contents' digests already.
#[derive(Debug)]
pub struct TreeHasher(Hasher);

impl TreeHasher {
    /// An empty layer.
    #[allow(
        clippy::new_without_default,
        reason = "starting a hash is an act, not a value"
    )]
    pub fn new() -> Self {
        let mut hasher = Hasher::new();
        hasher.part(VERSION);
        Self(hasher)
    }

    /// Adds an entry; a regular file with the digest of its content.
    pub fn entry(&mut self, entry: &Entry, content: Option<Digest>) {
        add(&mut self.0, entry, content);
    }

    /// The digest, as [`tree_digest`] has it.
    pub fn finish(self) -> Digest {
        self.0.finish()
    }
}

fn digest_of(dir: &Path) -> Result<Digest, PathError> {
    let mut hasher = TreeHasher::new();
    let mut buffer = vec![0; READ_BYTES];
    walk_tree(dir, &mut |entry, file| {
        let content = file
            .map(|file| digest_content(file, &mut buffer).at("read", dir.join(&entry.path)))
            .transpose()?;
        hasher.entry(entry, content);
        Ok::<(), PathError>(())
    })?;
    Ok(hasher.finish())
}

fn add(hasher: &mut Hasher, entry: &Entry, content: Option<Digest>) {
    hasher.part(entry.path.as_os_str().as_bytes());
    let device = |major: u32, minor: u32| [major.to_le_bytes(), minor.to_le_bytes()].concat();
    let (kind, value): (&[u8], Vec<u8>) = match &entry.kind {
        EntryKind::File { .. } => (
            b"file",
            content.map_or_else(Vec::new, |digest| digest.raw().to_vec()),
        ),
        EntryKind::Directory { opaque } => (b"directory", vec![u8::from(*opaque)]),
        EntryKind::Symlink(target) => (b"symlink", target.as_os_str().as_bytes().to_vec()),
        EntryKind::HardLink(target) => (b"link", target.as_os_str().as_bytes().to_vec()),
        EntryKind::CharDevice { major, minor } => (b"char", device(*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (b"block", device(*major, *minor)),
        EntryKind::Fifo => (b"fifo", Vec::new()),
        EntryKind::Whiteout => (b"whiteout", Vec::new()),
    };
    hasher.part(kind);
    hasher.part(&value);
    // A whiteout's own owner and mode mean nothing, and a link has its file's.
    if matches!(entry.kind, EntryKind::Whiteout | EntryKind::HardLink(_)) {
        return;
    }
    for number in [entry.mode, entry.uid, entry.gid] {
        hasher.part(&number.to_le_bytes());
    }
    hasher.part(&(entry.xattrs.len() as u64).to_le_bytes());
    for (name, value) in &entry.xattrs {
        hasher.part(name.as_bytes());
        hasher.part(value);
    }
}

fn digest_content(mut file: &File, buffer: &mut [u8]) -> io::Result<Digest> {
    let mut hasher = Hasher::new();
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&buffer[..length]),
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
}

/// Bytes of the regular files in a layer directory, each file once however
/// many names it has.
pub fn tree_bytes(dir: &Path) -> Result<u64, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(dir, flags, Mode::empty()).at("open", dir)?;
    count(Descent::new(root)).at("read", dir)
}

fn count(mut descent: Descent) -> io::Result<u64> {
    let mut bytes = 0;
    let mut linked = HashSet::new();
    // The directories that are still to be entered, one list a level.
    let mut waiting = Vec::new();
    loop {
        let mut names = Vec::new();
        descent.names(&mut |name, is_directory| names.push((name.to_owned(), is_directory)))?;
        let mut directories = Vec::new();
        for (name, is_directory) in names {
            if is_directory {
                directories.push(name);
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statat(descent.dir(), &name, flags)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => directories.push(name),
                FileType::RegularFile => {
                    let first = stat.st_nlink < 2 || linked.insert((stat.st_dev, stat.st_ino));
                    bytes += if first {
                        stat.st_size.unsigned_abs()
                    } else {
                        0
                    };
                }
                _ => {}
            }
        }
        waiting.push(directories);
        loop {
            let Some(directories) = waiting.last_mut() else {
                return Ok(bytes);
            };
            if let Some(name) = directories.pop() {
                descent.enter(&name)?;
                break;
            }
            waiting.pop();
            descent.leave()?;
        }
    }
}
