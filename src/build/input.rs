//! From a request to contexts and a Dockerfile: directories, archives, standard
//! input, web servers, repositories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::Source;
use super::fetch::Fetcher;
use super::graph::{ContextId, HttpOp, Op};
use super::plan::Named;
use super::{BuildRequest, ContextSource, DockerfileSource, Error, NamedContext};
use crate::context::{self, Context, Patterns, SourceError};
use crate::dockerfile;
use crate::fs::At;
use crate::image;
use crate::oci::Digest;
use crate::remote::git;
use crate::remote::http::address as url_of;
use crate::store::Store;

/// Largest Dockerfile or ignore file that is read, in bytes.
const TEXT_LIMIT: u64 = 16 << 20;
/// What a Dockerfile that has no file is called, as BuildKit has it.
const UNNAMED: &str = "Dockerfile";
/// How much of standard input is looked at to tell an archive from a Dockerfile.
const HEAD: usize = 1 << 20;
/// The name of a file that is a context.
const CONTEXT_FILE: &str = "context";
/// The build argument that keeps `.git` in a context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// What a build works on.
#[derive(Debug)]
pub(super) struct Input {
    /// The Dockerfile.
    pub(super) source: Source,
    /// The contexts, the main one first.
    pub(super) contexts: Vec<Context>,
    /// Contexts by name.
    pub(super) named: BTreeMap<String, Named>,
    /// What the ignore file leaves out of the context.
    pub(super) ignored: Patterns,
    /// The ignore file that was used, for progress.
    pub(super) ignore_file: Option<String>,
}

/// A context's directory, as far as it was found.
struct Root {
    dir: PathBuf,
    /// The text of a context that is a Dockerfile itself.
    text: Option<String>,
    /// Whether files of this machine may be meant by `-f`, and an ignore file holds.
    is_local: bool,
}

/// Opens contexts and Dockerfile. `scratch` is a directory of this build alone.
pub(super) fn open(
    store: &Store,
    fetcher: &Fetcher<'_>,
    request: &BuildRequest,
    scratch: &Path,
) -> Result<Input, Error> {
    let Root {
        dir,
        text,
        is_local,
    } = root(fetcher, request, scratch)?;
    let bare = Context::open(&dir, Patterns::default(), PathBuf::new())?;
    let (source, beside) = dockerfile_of(fetcher, request, &bare, text, is_local)?;
    // BuildKit applies ignore files to what the client sends; a repository or a
    // downloaded archive is taken as it is.
    let (lines, ignore_file) = if is_local {
        ignore_lines(&bare, beside.as_deref())?
    } else {
        (Vec::new(), None)
    };
    let mut contexts = vec![context_of(store, &dir, &lines, ignore_file.as_deref())?];
    let ignored = contexts[0].patterns().clone();
    let named = named(store, request, &mut contexts)?;
    Ok(Input {
        source,
        contexts,
        named,
        ignored,
        ignore_file,
    })
}

fn root(fetcher: &Fetcher<'_>, request: &BuildRequest, scratch: &Path) -> Result<Root, Error> {
    let local = |dir| Root {
        dir,
        text: None,
        is_local: true,
    };
    match &request.context {
        ContextSource::Directory(path) => Ok(local(directory(path)?)),
        ContextSource::TarFile(path) => {
            let file = std::fs::File::open(path).at("open", path)?;
            Ok(local(unpack(file, scratch)?))
        }
        ContextSource::Bytes(bytes) if context::is_archive(&bytes[..bytes.len().min(HEAD)]) => {
            Ok(local(unpack(&bytes[..], scratch)?))
        }
        ContextSource::Bytes(bytes) => {
            let empty = scratch.join("context");
            std::fs::create_dir(&empty).at("create", &empty)?;
            Ok(Root {
                text: Some(to_text(bytes.to_vec(), UNNAMED)?),
                ..local(empty)
            })
        }
        ContextSource::Remote(address) => remote_root(fetcher, request, address, scratch),
    }
}

/// A repository's tree, or a downloaded archive or Dockerfile.
fn remote_root(
    fetcher: &Fetcher<'_>,
    request: &BuildRequest,
    address: &str,
    scratch: &Path,
) -> Result<Root, Error> {
    let refuse = |why: String| Error::Context {
        path: crate::remote::redact(address),
        why,
    };
    if let Some(reference) = dockerfile::git_reference(address).map_err(refuse)? {
        let mut source = git::Source::new(&reference);
        let keep = request.build_args.get(KEEP_GIT_DIR);
        if keep.is_some_and(|value| {
            matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True")
        }) {
            source.keep_git_dir = true;
        }
        let text = format!("fetch {}", source.shown());
        return Ok(Root {
            dir: fetcher.tree(Op::Git(source), text, request.no_cache)?,
            text: None,
            is_local: false,
        });
    }
    let dir = download(fetcher, address, request.no_cache)?;
    let path = dir.join(CONTEXT_FILE);
    let file = std::fs::File::open(&path).at("open", &path)?;
    let mut head = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(&file, HEAD as u64), &mut head)
        .at("read", &path)?;
    if context::is_archive(&head) {
        drop(file);
        let file = std::fs::File::open(&path).at("open", &path)?;
        return Ok(Root {
            dir: unpack(file, scratch)?,
            text: None,
            is_local: false,
        });
    }
    let text = to_text(read_limited(&path)?, CONTEXT_FILE)?;
    Ok(Root {
        dir,
        text: Some(text),
        is_local: false,
    })
}

/// The directory with a downloaded file, whose name is `context`.
fn download(fetcher: &Fetcher<'_>, address: &str, fresh: bool) -> Result<PathBuf, Error> {
    let url = url_of(address).map_err(|err| Error::Remote {
        source: crate::remote::Error::Url(err),
    })?;
    let text = format!("download {url}");
    let op = HttpOp {
        url,
        name: CONTEXT_FILE.to_owned(),
        checksum: None,
    };
    Ok(fetcher.tree(Op::Http(op), text, fresh)?)
}

fn directory(path: &Path) -> Result<PathBuf, Error> {
    let refuse = |why: &str| Error::Context {
        path: path.display().to_string(),
        why: why.to_owned(),
    };
    match std::fs::metadata(path) {
        Err(_) => Err(refuse("there is no such directory")),
        Ok(meta) if !meta.is_dir() => Err(refuse("it is not a directory")),
        Ok(_) => Ok(std::fs::canonicalize(path).at("open", path)?),
    }
}

/// A context that leaves out what `lines` match; digests are remembered by its path.
fn context_of(
    store: &Store,
    dir: &Path,
    lines: &[String],
    ignore_file: Option<&str>,
) -> Result<Context, Error> {
    let patterns = Patterns::new(lines).map_err(|source| Error::Ignore {
        file: ignore_file.unwrap_or_default().to_owned(),
        source,
    })?;
    let name = Digest::of(dir.as_os_str().as_encoded_bytes()).hex();
    let memory = store.paths().contexts().join(name);
    Ok(Context::open(dir, patterns, memory)?)
}

/// The contexts by name; local ones are added to `contexts`, with ignore files of
/// their own.
fn named(
    store: &Store,
    request: &BuildRequest,
    contexts: &mut Vec<Context>,
) -> Result<BTreeMap<String, Named>, Error> {
    let mut named = BTreeMap::new();
    for (name, context) in &request.contexts {
        let found = match context {
            NamedContext::Directory(path) => {
                let dir = directory(path)?;
                let bare = Context::open(&dir, Patterns::default(), PathBuf::new())?;
                let (lines, file) = ignore_lines(&bare, None)?;
                contexts.push(context_of(store, &dir, &lines, file.as_deref())?);
                Named::Local(ContextId(contexts.len() - 1))
            }
            NamedContext::Image(reference) if reference == "scratch" => Named::Empty,
            NamedContext::Image(reference) => Named::Image(reference.clone()),
            NamedContext::Layout { path, tag, digest } => {
                let image = image::load_layout(store, path, tag.as_deref(), digest.as_deref())?;
                Named::Image(image.to_string())
            }
            NamedContext::Stage(stage) => Named::Stage(stage.clone()),
            NamedContext::Remote(address) => remote_named(address)?,
        };
        named.insert(name.clone(), found);
    }
    Ok(named)
}

/// What the main context is fetched with; `None` for a local one.
pub(super) fn remote_op(request: &BuildRequest) -> Result<Option<Op>, Error> {
    let ContextSource::Remote(address) = &request.context else {
        return Ok(None);
    };
    Ok(super::epoch::op_of_context(&remote_named(address)?))
}

fn remote_named(address: &str) -> Result<Named, Error> {
    let refuse = |why: String| Error::Context {
        path: crate::remote::redact(address),
        why,
    };
    if let Some(reference) = dockerfile::git_reference(address).map_err(refuse)? {
        return Ok(Named::Git(git::Source::new(&reference)));
    }
    let url = url_of(address).map_err(|err| Error::Remote {
        source: crate::remote::Error::Url(err),
    })?;
    Ok(Named::Http(HttpOp {
        url,
        name: CONTEXT_FILE.to_owned(),
        checksum: None,
    }))
}

fn unpack(archive: impl std::io::Read + Send, scratch: &Path) -> Result<PathBuf, Error> {
    let target = scratch.join("context");
    std::fs::create_dir(&target).at("create", &target)?;
    context::unpack_archive(archive, &target).map_err(|err: SourceError| Error::Archive(err))?;
    Ok(target)
}

/// The Dockerfile, and the path of the ignore file of its own where it lies on disk.
fn dockerfile_of(
    fetcher: &Fetcher<'_>,
    request: &BuildRequest,
    context: &Context,
    text: Option<String>,
    is_local: bool,
) -> Result<(Source, Option<PathBuf>), Error> {
    let named = |name: &str, text: String| Source {
        name: name.to_owned(),
        text: text.into(),
    };
    match &request.dockerfile {
        DockerfileSource::Text(text) => Ok((named(UNNAMED, text.clone()), None)),
        DockerfileSource::Url(address) => {
            let path = download(fetcher, address, request.no_cache)?.join(CONTEXT_FILE);
            let text = to_text(read_limited(&path)?, UNNAMED)?;
            Ok((named(UNNAMED, text), None))
        }
        DockerfileSource::Path(path) => {
            let inside = || match context.read(path, TEXT_LIMIT)? {
                Some(bytes) => Ok(bytes),
                None => Err(Error::NoDockerfile(path.display().to_string())),
            };
            let bytes = if is_local {
                match read_limited(path) {
                    // With an archive as context, `-f` names a file in it.
                    Err(err) if is_missing(&err) => inside()?,
                    other => other?,
                }
            } else {
                inside()?
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
                return Ok((
                    named(if is_local { UNNAMED } else { CONTEXT_FILE }, text),
                    None,
                ));
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

/// The ignore file's patterns: the Dockerfile's own file wins over the context's.
fn ignore_lines(
    context: &Context,
    beside: Option<&Path>,
) -> Result<(Vec<String>, Option<String>), Error> {
    if let Some(beside) = beside {
        match read_limited(beside) {
            Ok(bytes) => {
                let name = beside
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                return Ok((Patterns::read(&to_text(bytes, &name)?), Some(name)));
            }
            Err(err) if is_missing(&err) => {}
            Err(err) => return Err(err.into()),
        }
    }
    match context.read(Path::new(".dockerignore"), TEXT_LIMIT)? {
        Some(bytes) => {
            let name = ".dockerignore".to_owned();
            Ok((Patterns::read(&to_text(bytes, &name)?), Some(name)))
        }
        None => Ok((Vec::new(), None)),
    }
}
