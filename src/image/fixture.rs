//! Stores and small archives for tests.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::oci::{DiffId, Digest, ImageConfig, Reference};
use crate::snapshot::Active;
use crate::store::{Paths, SnapshotId, Store};

/// A store of its own, removed at the end of the test.
pub(super) struct Temp {
    pub(super) store: Store,
    dir: TempDir,
}

impl std::ops::Deref for Temp {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Temp {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().join("data"), dir.path().join("run"));
        let store = Store::open(paths).unwrap();
        Self { store, dir }
    }

    pub(super) fn load(&self, archive: &[u8]) -> Result<Vec<Loaded>, Error> {
        load(self, &mut &*archive)
    }

    pub(super) fn save(&self, names: &[&str]) -> Vec<u8> {
        let images: Vec<(Image, Vec<Reference>)> = names
            .iter()
            .map(|text| {
                (
                    find(self, text).unwrap(),
                    text.parse().into_iter().collect(),
                )
            })
            .collect();
        let mut out = Vec::new();
        save(self, &images, &mut out).unwrap();
        out
    }

    /// Commits a layer with one file a pair.
    pub(super) fn layer(&self, parent: Option<SnapshotId>, files: &[(&str, &str)]) -> SnapshotId {
        let active = Active::begin(self, parent).unwrap();
        for (path, text) in files {
            let path = active.fs().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let mut file = File::create(path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        active.commit(0, None, None).unwrap().id
    }

    /// How many blobs there are on disk.
    pub(super) fn blobs(&self) -> usize {
        std::fs::read_dir(self.paths().blobs()).unwrap().count()
    }

    /// Whether loading left nothing at all behind.
    pub(super) fn is_empty(&self) -> bool {
        let tmp = std::fs::read_dir(self.paths().tmp()).unwrap().count();
        let rows = self.image_list().unwrap().len() + self.name_list().unwrap().len();
        self.blobs() + tmp + rows == 0 && self.dir.path().exists()
    }

    /// The text of a file in the image's tree.
    pub(super) fn text(&self, image: &str, path: &str) -> Option<String> {
        let top = snapshot_of(self, &find(self, image).unwrap()).unwrap();
        let view = crate::snapshot::View::open(self, top).unwrap();
        let bytes = view.read(Path::new(path), 1 << 20).unwrap();
        bytes.map(|bytes| String::from_utf8(bytes).unwrap())
    }
}

/// A tar of regular files; a name that ends with `@` is a link to its content.
pub(super) fn tar_of<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some(path) = path.strip_suffix('@') {
            header.set_size(0);
            header.set_entry_type(tar::EntryType::Symlink);
            let target = std::str::from_utf8(bytes).unwrap();
            tar.append_link(&mut header, path, target).unwrap();
            continue;
        }
        header.set_size(bytes.len() as u64);
        // As bytes, since the library itself refuses names that tests need.
        if path.contains("..") || path.starts_with('/') {
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, bytes).unwrap();
        } else {
            tar.append_data(&mut header, path, bytes).unwrap();
        }
    }
    tar.into_inner().unwrap()
}

/// The tar of a layer with these files.
pub(super) fn layer_of(files: &[(&str, &str)]) -> Vec<u8> {
    tar_of(files.iter().map(|(path, text)| (*path, text.as_bytes())))
}

pub(super) fn config_of(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
    let history: Vec<Value> = layers
        .iter()
        .map(|_| json!({"created_by": "test"}))
        .collect();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {"Env": ["A=b"], "Unknown": [1]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        // Not the order in which we would write it.
        "history": history, "created": "2024-01-01T00:00:00Z",
    });
    config.to_string().into_bytes()
}

/// The files of a docker archive as old versions wrote it.
pub(super) fn legacy(layers: &[&[u8]], tags: &[&str]) -> Vec<(String, Vec<u8>)> {
    let config = config_of(layers);
    let name = format!("{}.json", Digest::of(&config).hex());
    let mut files = Vec::new();
    let mut paths = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        let path = format!("{index:064x}/layer.tar");
        files.push((format!("{index:064x}/VERSION"), b"1.0".to_vec()));
        files.push((path.clone(), layer.to_vec()));
        paths.push(path);
    }
    let manifest = json!([{"Config": name, "RepoTags": tags, "Layers": paths}]);
    files.push((name, config));
    files.push((
        "manifest.json".to_owned(),
        manifest.to_string().into_bytes(),
    ));
    files
}

pub(super) fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

pub(super) fn blob(bytes: &[u8]) -> (String, Vec<u8>) {
    (
        format!("blobs/sha256/{}", Digest::of(bytes).hex()),
        bytes.to_vec(),
    )
}

/// Manifest and blobs of an image; each layer with its media type, the bytes
/// that are stored, and its plain tar.
pub(super) fn oci_image(layers: &[(&str, &[u8], &[u8])]) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    use crate::oci::media_type::{CONFIG, MANIFEST};
    let plain: Vec<&[u8]> = layers.iter().map(|(_, _, plain)| *plain).collect();
    let config = config_of(&plain);
    let described: Vec<Value> = layers
        .iter()
        .map(|(media_type, stored, _)| descriptor(media_type, stored))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": descriptor(CONFIG, &config), "layers": described,
    });
    let manifest = manifest.to_string().into_bytes();
    let mut blobs = vec![blob(&config), blob(&manifest)];
    blobs.extend(layers.iter().map(|(_, stored, _)| blob(stored)));
    (manifest, blobs)
}

/// `index.json` with these descriptors.
pub(super) fn index(manifests: &[Value]) -> (String, Vec<u8>) {
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    ("index.json".to_owned(), index.to_string().into_bytes())
}

pub(super) fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"io.containerd.image.name": name});
    descriptor
}

pub(super) fn pack(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    tar_of(
        files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice())),
    )
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzEncoder::new(bytes, flate2::Compression::fast())
        .read_to_end(&mut out)
        .unwrap();
    out
}

pub(super) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

pub(super) fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast())
        .read_to_end(&mut out)
        .unwrap();
    out
}

pub(super) fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

pub(super) fn diff(bytes: &[u8]) -> DiffId {
    DiffId(Digest::of(bytes))
}

/// A configuration with as many steps in its history as there are layers.
pub(super) fn new_config(layers: usize) -> ImageConfig {
    ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        history: vec![crate::oci::History::default(); layers],
        ..ImageConfig::default()
    }
}
