//! Files into a container and out of it, as tar archives.
//!
//! Paths inside are resolved by a thread whose root is the container's, so that
//! no link leads out of it; paths outside are resolved beneath the directory that
//! the user named. What an archive brings is hostile on both sides.

mod extract;
mod pack;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use super::tree::Tree;
use super::{Error, find};
use crate::fs::{At, PathError, Root};
use crate::sandbox::Place;
use crate::store::Store;

pub(super) use pack::Exact;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathFacts {
    /// Whether it is a directory, links followed.
    pub is_directory: bool,
    /// Whether it is a link itself.
    pub is_link: bool,
}

/// What is copied out.
#[derive(Debug, Clone)]
pub struct CopyOut {
    /// The path in the container.
    pub path: PathBuf,
    /// Whether a link stands for what it names.
    pub follow: bool,
    /// The name that it has in the archive; none for the content of a directory.
    pub name: Option<PathBuf>,
}

/// Where an archive goes.
#[derive(Debug, Clone)]
pub struct CopyIn {
    /// The directory that takes it.
    pub directory: PathBuf,
    /// The owner and group of everything; the archive's when absent.
    pub owner: Option<(u32, u32)>,
}

/// What is at `path` in the container `text`; `None` for nothing.
pub fn facts(store: &Store, text: &str, path: &Path) -> Result<Option<PathFacts>, Error> {
    let tree = Tree::of(store, text, Place::Everything)?;
    let found = tree.visit(Place::Everything, |_root| -> Result<_, PathError> {
        facts_beneath(&Root::open(Path::new("/"))?, path)
    })?;
    Ok(found?)
}

/// The same for a path outside.
pub fn local_facts(path: &Path) -> Result<Option<PathFacts>, PathError> {
    let meta = match std::fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(err) if is_missing(&err) => return Ok(None),
        Err(err) => return Err(err).at("look at", path),
    };
    Ok(Some(PathFacts {
        is_directory: std::fs::metadata(path).is_ok_and(|meta| meta.is_dir()),
        is_link: meta.file_type().is_symlink(),
    }))
}

fn facts_beneath(root: &Root, path: &Path) -> Result<Option<PathFacts>, PathError> {
    let open = |flags| match root.open_at(path, OFlags::PATH | flags, Mode::empty()) {
        Ok(place) => rustix::fs::fstat(&place).at("look at", path).map(Some),
        Err(err) if is_missing(&err.source) => Ok(None),
        Err(err) => Err(err),
    };
    let kind = |stat: rustix::fs::Stat| FileType::from_raw_mode(stat.st_mode);
    let Some(itself) = open(OFlags::NOFOLLOW)?.map(kind) else {
        return Ok(None);
    };
    let target = open(OFlags::empty())?.map(kind);
    Ok(Some(PathFacts {
        is_directory: target == Some(FileType::Directory),
        is_link: itself == FileType::Symlink,
    }))
}

fn is_missing(err: &std::io::Error) -> bool {
    matches!(
        err.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// Writes what is at a path of the container `text` to `out`, as a tar.
pub fn copy_out(
    store: &Store,
    text: &str,
    what: &CopyOut,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let tree = Tree::of(store, text, Place::Everything)?;
    let packed = tree.visit(Place::Everything, |_root| {
        pack::pack(&Root::open(Path::new("/"))?, what, out)
    })?;
    Ok(packed?)
}

/// Writes what is at a path outside to `out`, as a tar.
pub fn pack_local(what: &CopyOut, out: &mut (dyn Write + Send)) -> Result<(), PathError> {
    pack::pack_path(what, out)
}

/// Puts the content of a tar, compressed or not, into a directory of the container `text`.
pub fn copy_in(
    store: &Store,
    text: &str,
    to: &CopyIn,
    source: &mut (dyn Read + Send),
) -> Result<(), Error> {
    let row = find(store, text)?;
    let record = super::dir::Dir::new(store.paths(), &row.id).record()?;
    let in_volume = |mount: &super::MountRequest| to.directory.starts_with(mount.target());
    if record.request.read_only && !record.request.mounts.iter().any(in_volume) {
        return Err(Error::Invalid(
            "container rootfs is marked read-only".to_owned(),
        ));
    }
    let tree = Tree::of(store, text, Place::Everything)?;
    tree.visit(Place::Everything, |_root| {
        extract::extract(&Root::open(Path::new("/"))?, to, source)
    })?
}

/// Puts the content of a tar into a directory outside, and nothing anywhere else.
pub fn extract_local(
    directory: &Path,
    owner: Option<(u32, u32)>,
    source: &mut (dyn Read + Send),
) -> Result<(), Error> {
    let to = CopyIn {
        directory: PathBuf::new(),
        owner,
    };
    extract::extract(&Root::open(directory)?, &to, source)
}

/// Writes the whole file system of the container `text` to `out`, as a tar,
/// without what is mounted in it.
pub fn export(store: &Store, text: &str, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let tree = Tree::of(store, text, Place::RootOnly)?;
    let packed = tree.visit(Place::RootOnly, |root| pack::pack_root(&root, out))?;
    Ok(packed?)
}
