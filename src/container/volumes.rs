//! Directories for volumes, and what an empty one starts with: the image's
//! content at its mount point.

use std::path::{Path, PathBuf};

use super::Error;
use super::dir::Dir;
use super::record::AnonymousVolume;
use crate::fs::{At, Lock};
use crate::layer::{EntryKind, Lower};
use crate::snapshot::{self, View};
use crate::store::Paths;

/// The directory of a container's anonymous volume; it goes with the container.
pub(super) fn anonymous(dir: &Dir, volume: &AnonymousVolume) -> PathBuf {
    dir.path("volumes").join(&volume.name)
}

/// The directory of a named volume.
pub(super) fn named(paths: &Paths, name: &str) -> PathBuf {
    paths.data().join("volumes").join(name).join("_data")
}

/// Makes the directory of an anonymous volume.
pub(super) fn make_anonymous(
    dir: &Dir,
    volume: &AnonymousVolume,
    image: &View,
    copy: bool,
) -> Result<(), Error> {
    let path = anonymous(dir, volume);
    std::fs::create_dir_all(&path).at("create", &path)?;
    if copy {
        fill(&path, image, &volume.target)?;
    }
    Ok(())
}

/// Makes the directory of a named volume, and fills it while it is empty. Two
/// containers that want a new volume at once fill it once.
pub(super) fn make_named(
    paths: &Paths,
    name: &str,
    image: &View,
    target: &str,
    copy: bool,
) -> Result<(), Error> {
    let path = named(paths, name);
    std::fs::create_dir_all(&path).at("create", &path)?;
    let lock = path.with_file_name("lock");
    let _filling = Lock::exclusive(&lock)?;
    let mut names = std::fs::read_dir(&path).at("list", &path)?;
    if copy && names.next().is_none() {
        fill(&path, image, target)?;
    }
    Ok(())
}

/// Copies the image's directory at `target`, if it has one, into the empty
/// directory `path`, with owners, modes, times and attributes.
fn fill(path: &Path, image: &View, target: &str) -> Result<(), Error> {
    let source = image.resolve(Path::new(target.trim_start_matches('/')), true)?;
    match image.entry(&source)? {
        Some(entry) if matches!(entry.kind, EntryKind::Directory { .. }) => {
            Ok(snapshot::copy_directory(image, &source, path)?)
        }
        _ => Ok(()),
    }
}
