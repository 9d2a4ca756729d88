//! Artifacts that are attached to an image on its registry.
//!
//! Source: OCI image-spec 1.1, "Guidelines for Artifact Usage", "Guidance for an Empty Descriptor".

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::at_once::all;
use super::copy::Document;
use super::referrers::{again, put_document};
use super::{Error, LayerState, Watch};
use crate::fs::At;
use crate::oci::{Descriptor, Digest, Hasher, Reference, media_type};
use crate::registry::{Client, Fetched, Target};

/// The type and the bytes of a blob that stands for nothing.
const EMPTY: (&str, &[u8]) = ("application/vnd.oci.empty.v1+json", b"{}");
/// The annotation with a file's name.
const TITLE: &str = "org.opencontainers.image.title";

/// What is attached.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// What kind of thing it is: a media type.
    pub artifact_type: String,
    /// Its files.
    pub files: Vec<ArtifactFile>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

/// One file of an artifact.
#[derive(Debug, Clone)]
pub struct ArtifactFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub media_type: String,
}

/// What was attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// The artifact's manifest.
    pub digest: Digest,
    /// What it refers to.
    pub subject: Digest,
}

/// An artifact's manifest. The order of its members is that of the specification.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactManifest<'a> {
    schema_version: u32,
    media_type: &'a str,
    artifact_type: &'a str,
    config: Descriptor,
    layers: Vec<Descriptor>,
    subject: Descriptor,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
}

/// Sends files as an artifact that refers to what `subject` names.
///
/// The same artifact attached twice is one.
pub fn attach(
    client: &Client,
    subject: &Reference,
    artifact: &Artifact,
    watch: &dyn Watch,
) -> Result<Attached, Error> {
    let named = client.manifest(subject)?;
    let empty = Descriptor::new(EMPTY.0, Digest::of(EMPTY.1), EMPTY.1.len() as u64);
    let mut layers = Vec::new();
    for file in &artifact.files {
        layers.push(describe(file)?);
    }
    for layer in &layers {
        watch.layer(layer.digest, LayerState::Waiting);
    }
    all(layers.len(), |index| {
        let path = &artifact.files[index].path;
        send(client, subject, &layers[index], path, watch)
    })?;
    send_empty(client, subject, &empty)?;
    if layers.is_empty() {
        layers.push(empty.clone());
    }
    let manifest = ArtifactManifest {
        schema_version: 2,
        media_type: media_type::MANIFEST,
        artifact_type: &artifact.artifact_type,
        config: empty,
        layers,
        subject: Descriptor::new(&named.media_type, named.digest, named.bytes.len() as u64),
        annotations: &artifact.annotations,
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|err| Error::Unsupported {
        reference: subject.familiar(),
        why: err.to_string(),
    })?;
    let document = Document::read(
        subject,
        Fetched {
            digest: Digest::of(&bytes),
            media_type: media_type::MANIFEST.to_owned(),
            bytes,
        },
    )?;
    put_document(client, &subject.with_digest(document.digest), &document)?;
    Ok(Attached {
        digest: document.digest,
        subject: named.digest,
    })
}

/// The descriptor of a file, named as its last part.
fn describe(file: &ArtifactFile) -> Result<Descriptor, Error> {
    let mut source = File::open(&file.path).at("open", &file.path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        let count = source.read(&mut buffer).at("read", &file.path)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    let mut descriptor = Descriptor::new(&file.media_type, hasher.finish(), size);
    if let Some(name) = file.path.file_name() {
        let name = name.to_string_lossy().into_owned();
        descriptor.annotations.insert(TITLE.to_owned(), name);
    }
    Ok(descriptor)
}

fn send(
    client: &Client,
    subject: &Reference,
    blob: &Descriptor,
    path: &Path,
    watch: &dyn Watch,
) -> Result<(), Error> {
    let state = match client.begin_upload(subject, Some(blob.digest), None)? {
        Target::There | Target::Mounted(_) => LayerState::Exists,
        Target::Send(upload) => {
            upload.send(
                &mut |at| {
                    let mut file = File::open(path)?;
                    file.seek(SeekFrom::Start(at))?;
                    // What grew meanwhile is not what was described.
                    Ok((Box::new(file.take(blob.size - at)), Some(blob.size - at)))
                },
                Some(blob.size),
                blob.digest,
                &|done| {
                    let total = Some(blob.size);
                    watch.layer(blob.digest, LayerState::Moving { done, total });
                },
            )?;
            LayerState::Done
        }
    };
    watch.layer(blob.digest, state);
    Ok(())
}

/// Sends the two bytes of the configuration that an artifact lacks.
fn send_empty(client: &Client, subject: &Reference, empty: &Descriptor) -> Result<(), Error> {
    again(
        || match client.begin_upload(subject, Some(empty.digest), None)? {
            Target::There | Target::Mounted(_) => Ok(()),
            Target::Send(upload) => upload.send(
                &mut |_| Ok((Box::new(EMPTY.1), Some(empty.size))),
                Some(empty.size),
                empty.digest,
                &|_| {},
            ),
        },
    )
}
