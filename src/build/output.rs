//! Where a build's result goes.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::layer::Codec;
use crate::oci::{Platform, Reference};

/// One place where the result goes.
#[derive(Debug, Clone)]
pub enum Output {
    /// An image in the store, on registries, or both.
    Image(ImageOutput),
    /// An archive or a directory of images.
    Archive(ArchiveOutput),
    /// The files, into a directory or a tar.
    Files(FilesOutput),
    /// Nowhere: the cache has it.
    Nothing,
}

/// An image in the store, on registries, or both.
#[derive(Debug, Clone)]
pub struct ImageOutput {
    /// Its names.
    pub names: Vec<Reference>,
    /// How it is written down.
    pub form: OutputForm,
    /// Whether it is kept in the store.
    pub store: bool,
    /// The repository that an image without a name is named in, by its digest.
    pub dangling_prefix: Option<String>,
    /// Whether each name is also given with the digest.
    pub canonical: bool,
    /// Whether it goes to the registries of its names.
    pub push: Option<Push>,
}

/// How an image goes to registries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Push {
    /// Whether it gets no tag there, and is found by its digest alone.
    pub by_digest: bool,
    /// Whether the registry's certificate is not looked at.
    pub insecure: bool,
}

impl ImageOutput {
    /// An image with these names and every default.
    pub fn new(names: Vec<Reference>) -> Self {
        Self {
            names,
            form: OutputForm::default(),
            store: true,
            dangling_prefix: None,
            canonical: false,
            push: None,
        }
    }
}

/// An image as an archive, or as a layout in a directory.
#[derive(Debug, Clone)]
pub struct ArchiveOutput {
    /// Where to.
    pub target: Target,
    /// Its names.
    pub names: Vec<Reference>,
    /// How it is written down.
    pub form: OutputForm,
    /// Whether `docker load` of any age is to read it.
    pub docker: bool,
}

/// The files of the result.
#[derive(Debug, Clone)]
pub struct FilesOutput {
    /// Where to: a directory, or else a tar.
    pub target: Target,
    /// Whether each platform has a directory of its own; with several platforms
    /// they do unless told otherwise.
    pub split: Option<bool>,
    /// Whether what is in the directory and not in the result is removed.
    pub delete: bool,
}

/// Where bytes go.
#[derive(Debug, Clone)]
pub enum Target {
    /// A file, replaced as a whole.
    File(PathBuf),
    /// A directory, made where it is missing.
    Directory(PathBuf),
    /// An open stream.
    Stream(Stream),
}

/// An open stream, such as standard output.
#[derive(Clone)]
pub struct Stream(Arc<Mutex<Box<dyn Write + Send>>>);

impl Stream {
    /// A stream on `out`.
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self(Arc::new(Mutex::new(out)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Box<dyn Write + Send>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream")
    }
}

/// How an image is written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputForm {
    /// How new layers are compressed; `None` for not at all.
    pub codec: Option<Codec>,
    /// Whether the base image's layers are compressed anew as well.
    pub force_compression: bool,
    /// Whether Docker's media types are written instead of OCI's.
    pub docker_types: bool,
    /// Annotations.
    pub annotations: Vec<Annotation>,
}

/// What an annotation is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotated {
    /// The index over several platforms.
    Index,
    /// The descriptor of the index.
    IndexDescriptor,
    /// A manifest.
    Manifest,
    /// The descriptor of a manifest, in the index over it.
    ManifestDescriptor,
}

/// A free text on a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Annotation {
    /// On what.
    pub on: Annotated,
    /// For which platform alone.
    pub platform: Option<Platform>,
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl OutputForm {
    /// The annotations of one kind for a platform.
    pub(super) fn annotations(
        &self,
        on: Annotated,
        platform: &Platform,
    ) -> BTreeMap<String, String> {
        let wanted = self.annotations.iter().filter(|one| {
            one.on == on && one.platform.as_ref().is_none_or(|only| only == platform)
        });
        wanted
            .map(|one| (one.key.clone(), one.value.clone()))
            .collect()
    }

    /// Whether something is to be put on an index.
    pub(super) fn needs_index(&self) -> bool {
        let mut all = self.annotations.iter();
        all.any(|one| matches!(one.on, Annotated::Index | Annotated::IndexDescriptor))
    }
}
