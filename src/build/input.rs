//! From a request to a context and a Dockerfile: directories, archives, standard input.

use std::path::{Path, PathBuf};

use super::error::Source;
use super::{BuildRequest, ContextSource, DockerfileSource, Error};
use crate::context::{self, Context, Patterns, SourceError};
use crate::fs::At;
use crate::oci::Digest;
use crate::store::Store;

/// Largest Dockerfile or ignore file that is read, in bytes.
const TEXT_LIMIT: u64 = 16 << 20;
/// How much of standard input is looked at to tell an archive from a Dockerfile.
const HEAD: usize = 1 << 20;

/// What a build works on.
#[derive(Debug)]
pub(super) struct Input {
    /// The Dockerfile.
    pub(super) source: Source,
    /// The contexts, the main one first.
    pub(super) contexts: Vec<Context>,
    /// The ignore file that was used, for progress.
    pub(super) ignore_file: Option<String>,
}

impl Input {
    /// The main context.
    pub(super) fn main(&self) -> &Context {
        &self.contexts[0]
    }
}

/// Opens context and Dockerfile. `scratch` is a directory of this build alone.
pub(super) fn open(store: &Store, request: &BuildRequest, scratch: &Path) -> Result<Input, Error> {
    let mut text = None;
    let root = match &request.context {
        ContextSource::Directory(path) => {
            let meta = std::fs::metadata(path);
            match meta {
                Err(_) => return Err(refuse(path, "there is no such directory")),
                Ok(meta) if !meta.is_dir() => return Err(refuse(path, "it is not a directory")),
                Ok(_) => std::fs::canonicalize(path).at("open", path)?,
            }
        }
        ContextSource::TarFile(path) => {
            let file = std::fs::File::open(path).at("open", path)?;
            unpack(file, scratch)?
        }
        ContextSource::Bytes(bytes) => {
            if context::is_archive(&bytes[..bytes.len().min(HEAD)]) {
                unpack(&bytes[..], scratch)?
            } else {
                text = Some(to_text(bytes.to_vec(), "-")?);
                let empty = scratch.join("context");
                std::fs::create_dir(&empty).at("create", &empty)?;
                empty
            }
        }
    };
    let bare = Context::open(&root, Patterns::default(), PathBuf::new())?;
    let (source, beside) = dockerfile(request, &bare, text)?;
    let (lines, ignore_file) = ignore_text(&bare, beside.as_deref())?;
    let patterns = Patterns::of_text(&lines).map_err(|source| Error::Ignore {
        file: ignore_file.clone().unwrap_or_default(),
        source,
    })?;
    let name = Digest::of(root.as_os_str().as_encoded_bytes()).hex();
    let context = Context::open(&root, patterns, store.paths().contexts().join(name))?;
    Ok(Input {
        source,
        contexts: vec![context],
        ignore_file,
    })
}

fn refuse(path: &Path, why: &str) -> Error {
    Error::Context {
        path: path.display().to_string(),
        why: why.to_owned(),
    }
}

fn unpack(archive: impl std::io::Read + Send, scratch: &Path) -> Result<PathBuf, Error> {
    let target = scratch.join("context");
    std::fs::create_dir(&target).at("create", &target)?;
    context::unpack_archive(archive, &target).map_err(|err: SourceError| Error::Archive(err))?;
    Ok(target)
}

/// The Dockerfile, and the path of the ignore file of its own where it lies on disk.
fn dockerfile(
    request: &BuildRequest,
    context: &Context,
    text: Option<String>,
) -> Result<(Source, Option<PathBuf>), Error> {
    let named = |name: &str, text: String| Source {
        name: name.to_owned(),
        text: text.into(),
    };
    match &request.dockerfile {
        DockerfileSource::Text(text) => Ok((named("-", text.clone()), None)),
        DockerfileSource::Path(path) => {
            let bytes = match read_limited(path) {
                Ok(bytes) => bytes,
                // With an archive as context, `-f` names a file in it.
                Err(err) if is_missing(&err) => match context.read(path, TEXT_LIMIT)? {
                    Some(bytes) => bytes,
                    None => return Err(Error::NoDockerfile(path.display().to_string())),
                },
                Err(err) => return Err(err.into()),
            };
            let shown = path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into_owned(),
            );
            let text = to_text(bytes, &shown)?;
            let mut beside = path.clone().into_os_string();
            beside.push(".dockerignore");
            Ok((named(&shown, text), Some(PathBuf::from(beside))))
        }
        DockerfileSource::Default => {
            if let Some(text) = text {
                return Ok((named("-", text), None));
            }
            for name in ["Dockerfile", "dockerfile"] {
                if let Some(bytes) = context.read(Path::new(name), TEXT_LIMIT)? {
                    let beside = context.path().join(format!("{name}.dockerignore"));
                    return Ok((named(name, to_text(bytes, name)?), Some(beside)));
                }
            }
            Err(Error::NoDockerfile("Dockerfile".to_owned()))
        }
    }
}

fn is_missing(err: &crate::fs::PathError) -> bool {
    err.source.kind() == std::io::ErrorKind::NotFound
}

fn read_limited(path: &Path) -> Result<Vec<u8>, crate::fs::PathError> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).at("read", path)?;
    std::io::Read::read_to_end(&mut std::io::Read::take(file, TEXT_LIMIT), &mut bytes)
        .at("read", path)?;
    Ok(bytes)
}

fn to_text(bytes: Vec<u8>, name: &str) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(|_| Error::NotText(name.to_owned()))
}

/// The ignore file's text: the Dockerfile's own file wins over the context's.
fn ignore_text(
    context: &Context,
    beside: Option<&Path>,
) -> Result<(String, Option<String>), Error> {
    if let Some(beside) = beside {
        match read_limited(beside) {
            Ok(bytes) => {
                let name = beside
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                return Ok((to_text(bytes, &name)?, Some(name)));
            }
            Err(err) if is_missing(&err) => {}
            Err(err) => return Err(err.into()),
        }
    }
    match context.read(Path::new(".dockerignore"), TEXT_LIMIT)? {
        Some(bytes) => {
            let name = ".dockerignore".to_owned();
            Ok((to_text(bytes, &name)?, Some(name)))
        }
        None => Ok((String::new(), None)),
    }
}
