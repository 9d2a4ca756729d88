//! Replacing files so that a reader or a crash sees the old one or the new one.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::{At, PathError};

/// Writes `bytes` to a temporary file beside `path`, syncs it, renames it over
/// `path` and syncs the directory. The file's mode is 0600 or narrower.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut temporary =
        tempfile::NamedTempFile::new_in(dir).at("create a temporary file in", dir)?;
    temporary.write_all(bytes).at("write", temporary.path())?;
    temporary
        .as_file()
        .sync_data()
        .at("sync", temporary.path())?;
    temporary
        .persist(path)
        .map_err(|err| err.error)
        .at("replace", path)?;
    sync_dir(dir)
}

/// Makes renames and removals in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<(), PathError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .at("sync", dir)
}
