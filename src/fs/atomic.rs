//! Replacing files so that a reader or a crash sees the old one or the new one.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
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

/// Writes a file that a user asked for: complete or not at all, with the mode that
/// the umask leaves. A link is followed; what is no regular file, such as a pipe,
/// and what the process holds open, such as `/dev/stdout`, is added to instead.
pub fn publish(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let held = path.starts_with("/dev") || path.starts_with("/proc");
    let target = match std::fs::metadata(path) {
        Ok(meta) if held || !meta.is_file() => {
            let mut file = File::options().append(true).open(path).at("open", path)?;
            return file.write_all(bytes).at("write", path);
        }
        Ok(_) => std::fs::canonicalize(path).at("open", path)?,
        Err(_) => path.to_owned(),
    };
    let dir = match target.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(dir)
        .at("create a temporary file in", dir)?;
    temporary.write_all(bytes).at("write", &target)?;
    temporary
        .persist(&target)
        .map_err(|err| err.error)
        .at("replace", &target)?;
    Ok(())
}

/// Makes renames and removals in `dir` survive a power cut.
pub fn sync_dir(dir: &Path) -> Result<(), PathError> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .at("sync", dir)
}
