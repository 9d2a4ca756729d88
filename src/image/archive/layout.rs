//! One image of a directory in the OCI layout.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::documents::INDEX_JSON;
use super::load::load;
use crate::fs::{At, Root};
use crate::image::read::parse;
use crate::image::{Error, find};
use crate::oci::{Descriptor, Digest, ImageId, Index};
use crate::store::Store;

/// The annotation that names an image in a layout.
const NAME: &str = "org.opencontainers.image.ref.name";
/// The name that is meant where none is given.
const DEFAULT_NAME: &str = "latest";
/// Largest document that is read.
const DOCUMENT_LIMIT: u64 = 4 << 20;
/// Most blobs of one image, those of all its platforms together.
const BLOB_LIMIT: usize = 10_000;
/// Most indexes within indexes.
const DEPTH_LIMIT: usize = 4;

/// Takes one image of an OCI layout into the store, without a name: the one that is
/// called `name` there, or whose manifest has `digest`.
///
/// # Errors
/// [`Error::Archive`] when there is no such image; else as [`load`].
pub fn load_layout(
    store: &Store,
    dir: &Path,
    name: Option<&str>,
    digest: Option<&str>,
) -> Result<ImageId, Error> {
    let root = Root::open(dir)?;
    let index: Index = parse("image index", &document(&root, Path::new(INDEX_JSON))?)?;
    let mut descriptor = choose(&index, name, digest).ok_or_else(|| {
        let what = digest.or(name).unwrap_or(DEFAULT_NAME);
        Error::Archive(format!(
            "the layout `{}` has no image {what:?}",
            dir.display()
        ))
    })?;
    // Its name there is nobody's business here.
    descriptor.annotations.clear();
    let mut blobs = Vec::new();
    collect(&root, &descriptor, 0, &mut blobs)?;
    let index = Index {
        manifests: vec![descriptor],
        ..index
    };
    let mut archive = store.temp_file()?;
    write(&root, &index, &blobs, archive.as_file_mut())?;
    let path = archive.path().to_owned();
    let mut reader = File::open(&path).at("open", &path)?;
    let loaded = load(store, &mut reader)?;
    match loaded.as_slice() {
        [one, ..] => Ok(find(store, &one.id.to_string())?.id),
        [] => Err(Error::Archive(
            "the layout has no image for this platform".into(),
        )),
    }
}

fn choose(index: &Index, name: Option<&str>, digest: Option<&str>) -> Option<Descriptor> {
    let manifests = &index.manifests;
    if let Some(digest) = digest {
        let found = manifests
            .iter()
            .find(|one| one.digest.to_string() == digest);
        return found.cloned();
    }
    let wanted = name.unwrap_or(DEFAULT_NAME);
    let is_named = |one: &&Descriptor| {
        let own = one.annotations.get(NAME);
        // Some write the whole reference, and not only the tag.
        own.is_some_and(|own| {
            own == wanted || own.rsplit_once(':').is_some_and(|(_, tag)| tag == wanted)
        })
    };
    match (manifests.iter().find(is_named), name, manifests.as_slice()) {
        (Some(found), ..) => Some(found.clone()),
        (None, None, [only]) => Some(only.clone()),
        _ => None,
    }
}

/// Where a blob lies in a layout.
fn blob_path(digest: &Digest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

/// The blobs that a descriptor leads to, as far as they are there.
fn collect(
    root: &Root,
    descriptor: &Descriptor,
    depth: usize,
    blobs: &mut Vec<Digest>,
) -> Result<(), Error> {
    if blobs.contains(&descriptor.digest) {
        return Ok(());
    }
    if blobs.len() >= BLOB_LIMIT || depth > DEPTH_LIMIT {
        return Err(Error::Archive(
            "the layout's image has too many parts".into(),
        ));
    }
    let path = blob_path(&descriptor.digest);
    match root.open_file(&path) {
        Ok(_) => blobs.push(descriptor.digest),
        // Layouts may leave platforms out; what is needed is missed while loading.
        Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err.into()),
    }
    if !descriptor.media_type.ends_with("+json") {
        return Ok(());
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&document(root, &path)?) else {
        return Ok(());
    };
    let children = ["manifests", "layers"]
        .into_iter()
        .filter_map(|key| value.get(key)?.as_array());
    let children = children.flatten().chain(value.get("config"));
    for child in children {
        if let Ok(child) = serde_json::from_value::<Descriptor>(child.clone()) {
            collect(root, &child, depth + 1, blobs)?;
        }
    }
    Ok(())
}

fn document(root: &Root, path: &Path) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    root.open_file(path)?
        .take(DOCUMENT_LIMIT)
        .read_to_end(&mut bytes)
        .at("read", root.path().join(path))?;
    Ok(bytes)
}

/// Writes an archive of the layout with these blobs only.
fn write(root: &Root, index: &Index, blobs: &[Digest], target: &mut File) -> Result<(), Error> {
    let mut builder = tar::Builder::new(std::io::BufWriter::new(target));
    let at = || root.path().to_owned();
    let mut append = |path: &Path, size: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        builder
            .append_data(&mut header, path, content)
            .at("read", at())
    };
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    append(
        Path::new("oci-layout"),
        layout.len() as u64,
        &mut &layout[..],
    )?;
    let index = serde_json::to_vec(index).map_err(|err| Error::Archive(err.to_string()))?;
    append(
        Path::new(INDEX_JSON),
        index.len() as u64,
        &mut index.as_slice(),
    )?;
    for digest in blobs {
        let path = blob_path(digest);
        let file = root.open_file(&path)?;
        let size = file
            .metadata()
            .at("look at", root.path().join(&path))?
            .len();
        append(&path, size, &mut file.take(size))?;
    }
    builder
        .into_inner()
        .and_then(|mut buffer| std::io::Write::flush(&mut buffer))
        .at("write", at())?;
    Ok(())
}
