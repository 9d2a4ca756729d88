//! Images as an archive, or as a layout in a directory.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::Documents;
use super::image::{bundle_images, preferred, tell};
use crate::build::output::{ArchiveOutput, Stream, Target};
use crate::build::{BuildResult, Error};
use crate::fs::{At, PathError};
use crate::image::{self, Bundle, Layout};
use crate::oci::Platform;
use crate::store::Store;

/// The annotation that says when an image was made.
///
/// Source: OCI image-spec 1.1, "Pre-Defined Annotation Keys".
const CREATED: &str = "org.opencontainers.image.created";
/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 20;

/// Writes the archive.
pub(super) fn write(
    documents: &mut Documents<'_>,
    output: &ArchiveOutput,
    result: &mut BuildResult,
) -> Result<(), Error> {
    let bundle = documents.bundle(&output.form, output.names.clone())?;
    let images: Vec<(Platform, _)> = bundle_images(documents.built(), &bundle);
    if output.docker && images.len() > 1 {
        let message = "docker exporter does not currently support exporting manifest lists";
        return Err(Error::Unsupported(message.to_owned()));
    }
    let image = images[preferred(&images)].1;
    let descriptor = bundle.descriptor();
    tell(result, Some(image), output.names.clone(), descriptor);
    let created = image.config.created.clone();
    let created = created.map(|moment| (CREATED.to_owned(), moment));
    let bundles = [bundle.clone().annotated(created.into_iter().collect())];
    let layout = if output.docker {
        Layout::Docker
    } else {
        Layout::Oci
    };
    let store = documents.store;
    match &output.target {
        Target::Directory(path) => Ok(image::save_directory(store, &bundles, layout, path)?),
        Target::File(path) => to_file(path, &mut |out| save(store, &bundles, layout, out)),
        Target::Stream(stream) => to_stream(stream, &mut |out| save(store, &bundles, layout, out)),
    }
}

fn save(
    store: &Store,
    bundles: &[Bundle],
    layout: Layout,
    out: &mut dyn Write,
) -> Result<(), Error> {
    Ok(image::save_bundles(store, bundles, layout, out)?)
}

/// What writes an archive into what it is given.
pub(super) type Writing<'a> = &'a mut dyn FnMut(&mut dyn Write) -> Result<(), Error>;

/// Writes beside the file and renames, so that no half archive is left behind.
/// What is no regular file (a pipe, a device) is written to as it is.
pub(super) fn to_file(path: &Path, write: Writing<'_>) -> Result<(), Error> {
    let special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    if special {
        let file = std::fs::File::options().write(true).open(path);
        let mut writer = BufWriter::with_capacity(BUFFER, file.at("open", path)?);
        write(&mut writer)?;
        return Ok(writer.flush().at("write", path)?);
    }
    let dir = match path.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    let mut temporary = tempfile::NamedTempFile::new_in(dir).at("create a file in", dir)?;
    readable(temporary.as_file(), path)?;
    let mut writer = BufWriter::with_capacity(BUFFER, temporary.as_file_mut());
    write(&mut writer)?;
    writer.flush().at("write", path)?;
    drop(writer);
    let persisted = temporary.persist(path).map_err(|err| err.error);
    drop::<std::fs::File>(persisted.at("create", path)?);
    Ok(())
}

/// A temporary file is its maker's alone; an output is as open as other files.
fn readable(file: &std::fs::File, path: &Path) -> Result<(), PathError> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
        .at("set the mode of", path)
}

/// Writes to an open stream.
pub(super) fn to_stream(stream: &Stream, write: Writing<'_>) -> Result<(), Error> {
    let mut stream = stream.lock();
    let mut writer = BufWriter::with_capacity(BUFFER, &mut **stream);
    write(&mut writer)?;
    Ok(writer.flush().at("write", "the standard output")?)
}
