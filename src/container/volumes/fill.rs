//! What an empty volume starts with: the image's content at its mount point.

use std::path::Path;

use crate::container::Error;
use crate::fs::{At, Lock};
use crate::layer::{EntryKind, Lower};
use crate::snapshot::{self, View};

/// Fills the volume in `dir` while it is empty. Two containers that want a new
/// volume at once fill it once.
pub(super) fn fill(dir: &Path, image: &View, target: &str) -> Result<(), Error> {
    let data = dir.join("_data");
    let _filling = Lock::exclusive(&dir.join("lock"))?;
    let mut names = std::fs::read_dir(&data).at("list", &data)?;
    if names.next().is_some() {
        return Ok(());
    }
    let source = image.resolve(Path::new(target.trim_start_matches('/')), true)?;
    match image.entry(&source)? {
        Some(entry) if matches!(entry.kind, EntryKind::Directory { .. }) => {
            Ok(snapshot::copy_directory(image, &source, &data)?)
        }
        _ => Ok(()),
    }
}
