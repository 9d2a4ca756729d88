//! Questions about a Dockerfile that need no build.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Engine, Error};
use crate::build::{BuildRequest, ContextSource, DockerfileSource};
use crate::dockerfile::{self, Parsed};
use crate::fs::{At, Root};

/// Longest Dockerfile that is read, far beyond any real one.
const TEXT_LIMIT: u64 = 16 << 20;

/// The text of a Dockerfile and the name to show for it.
#[derive(Debug, Clone)]
pub struct DockerfileText {
    /// Its file name.
    pub name: String,
    /// Its text.
    pub text: String,
}

impl Engine {
    /// Reads the Dockerfile of a request, without its context.
    pub fn dockerfile_text(&self, request: &BuildRequest) -> Result<DockerfileText, Error> {
        let named = |text: String, name: &str| DockerfileText {
            name: name.to_owned(),
            text,
        };
        match (&request.dockerfile, &request.context) {
            (DockerfileSource::Text(text), _) => Ok(named(text.clone(), "Dockerfile")),
            (DockerfileSource::Path(path), _) => {
                let file = File::open(path).at("open", path)?;
                let name = path.file_name().map(|name| name.to_string_lossy());
                Ok(named(
                    read(file, path)?,
                    name.as_deref().unwrap_or("Dockerfile"),
                ))
            }
            (DockerfileSource::Default, ContextSource::Directory(dir)) => {
                let root = Root::open(dir)?;
                let name = Path::new("Dockerfile");
                let file = match root.open_file(name) {
                    Err(err) if err.source.kind() == std::io::ErrorKind::NotFound => {
                        root.open_file(Path::new("dockerfile")).map_err(|_| err)?
                    }
                    other => other?,
                };
                Ok(named(read(file, &dir.join(name))?, "Dockerfile"))
            }
            (DockerfileSource::Default, ContextSource::Bytes(bytes)) => Ok(named(
                String::from_utf8_lossy(bytes).into_owned(),
                "Dockerfile",
            )),
            (DockerfileSource::Default, ContextSource::TarFile(path)) => {
                Err(Error::Unsupported(format!(
                    "cannot look at the Dockerfile inside of `{}` without building it",
                    path.display()
                )))
            }
        }
    }

    /// Parses a Dockerfile and applies every build check to it.
    pub fn check(&self, request: &BuildRequest, source: &DockerfileText) -> Result<Parsed, Error> {
        let _ = request;
        Ok(dockerfile::parse(&source.text))
    }
}

fn read(file: File, path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.take(TEXT_LIMIT)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
