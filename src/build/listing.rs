//! What goes into a build's context, without building.

use std::path::{Path, PathBuf};

use super::{BuildRequest, Cancel, DockerfileSource, Error, input};
use crate::context::{IgnoreLine, Survey};
use crate::store::Store;

/// What a request's context holds.
#[derive(Debug, Clone)]
pub struct ContextListing {
    /// The directory; a temporary one for an archive.
    pub directory: PathBuf,
    /// The ignore file that holds, by name.
    pub ignore_file: Option<String>,
    /// What is in it and what is left out.
    pub survey: Survey,
}

/// Whether one path can be copied, and why.
#[derive(Debug, Clone)]
pub struct ContextAnswer {
    /// The path, beneath the context's directory.
    pub path: PathBuf,
    /// Whether there is such a file or directory.
    pub exists: bool,
    /// Whether it is left out.
    pub is_ignored: bool,
    /// The ignore file that holds, by name.
    pub ignore_file: Option<String>,
    /// Its line that decided; `None` where no line matches.
    pub line: Option<IgnoreLine>,
}

/// Lists the context of a build.
pub fn list_context(store: &Store, request: &BuildRequest) -> Result<ContextListing, Error> {
    with_input(store, request, |input| {
        Ok(ContextListing {
            directory: input.main().path().to_owned(),
            ignore_file: input.ignore_file.clone(),
            survey: input.main().survey()?,
        })
    })
}

/// Says of each path whether the context has it, and why.
pub fn explain_context(
    store: &Store,
    request: &BuildRequest,
    paths: &[PathBuf],
) -> Result<Vec<ContextAnswer>, Error> {
    with_input(store, request, |input| {
        let answer = |path: &PathBuf| {
            let path = cleaned(path);
            let (is_ignored, line) = input.main().explain(&path);
            Ok(ContextAnswer {
                exists: input.main().has(&path),
                path,
                is_ignored,
                ignore_file: input.ignore_file.clone(),
                line,
            })
        };
        paths.iter().map(answer).collect()
    })
}

fn with_input<T>(
    store: &Store,
    request: &BuildRequest,
    look: impl FnOnce(&input::Input) -> Result<T, Error>,
) -> Result<T, Error> {
    let scratch = store.temp_dir()?;
    let opened = super::with_fetcher(store, request, &Cancel::new(), &|fetcher| {
        input::open(store, fetcher, request, scratch.path())
    });
    match opened {
        // A context can be looked at before it has a Dockerfile.
        Err(Error::NoDockerfile(_)) if matches!(request.dockerfile, DockerfileSource::Default) => {
            let mut bare = request.clone();
            bare.dockerfile = DockerfileSource::Text(String::new());
            with_input(store, &bare, look)
        }
        opened => look(&opened?),
    }
}

/// A path beneath the context: `..` stops at its root.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => clean.push(name),
            std::path::Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}
