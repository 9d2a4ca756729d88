//! Questions about a Dockerfile that need no build.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::checks::{self, Subject};
use super::{Engine, Error};
use crate::build::{self, BuildRequest, ContextSource, DockerfileSource};
use crate::context::Patterns;
use crate::dockerfile::{self, CheckOptions, Diagnostic, Level, Parsed};
use crate::fs::{At, Root};

/// Longest Dockerfile that is read, far beyond any real one.
const TEXT_LIMIT: u64 = 16 << 20;

/// The build argument that overrides the `check` directive.
const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

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
            // What is in a repository or an archive must be fetched or unpacked first.
            (DockerfileSource::Url(_), _)
            | (_, ContextSource::Remote(_))
            | (DockerfileSource::Default, ContextSource::TarFile(_)) => {
                let source = build::read_dockerfile(&self.store, request)?;
                Ok(named(source.text.to_string(), &source.name))
            }
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
        }
    }

    /// Parses a Dockerfile and applies the build checks to it, those of the
    /// `check` directive or of the build argument that overrides it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the options of the checks cannot be read.
    pub fn check(&self, request: &BuildRequest, source: &DockerfileText) -> Result<Parsed, Error> {
        let mut parsed = dockerfile::parse(&source.text);
        let is_error = |diagnostic: &Diagnostic| diagnostic.level == Level::Error;
        if parsed.diagnostics.iter().any(is_error) {
            return Ok(parsed);
        }
        let file = &parsed.dockerfile;
        let directive = file.check.as_ref().map(|check| check.value.as_str());
        let given = request.build_args.get(CHECK_ARG).map(String::as_str);
        let text = given.or(directive).unwrap_or_default();
        let options = CheckOptions::read(text).map_err(Error::Invalid)?;
        let ignored = Patterns::new(&ignore_lines(request)?)
            .map_err(|err| Error::Invalid(format!("cannot read .dockerignore: {err}")))?;
        let env = |base: &str| Some(self.image(base).ok()?.config.config.env);
        let subject = Subject {
            file,
            options: &options,
            build_args: &request.build_args,
            ignored: &ignored,
            image_env: &env,
        };
        let mut found = dockerfile::lint_with(file, &options);
        found.extend(checks::run(&subject));
        parsed
            .diagnostics
            .retain(|diagnostic| match diagnostic.level {
                Level::Warning(rule) => options.wants(rule),
                Level::Error => true,
            });
        parsed.diagnostics.extend(found);
        parsed.diagnostics.sort_by_key(|found| found.span.start);
        Ok(parsed)
    }
}

/// The lines of the ignore file: the Dockerfile's own, or else the context's.
fn ignore_lines(request: &BuildRequest) -> Result<Vec<String>, Error> {
    let ContextSource::Directory(dir) = &request.context else {
        return Ok(Vec::new());
    };
    let mut places = vec![dir.join(".dockerignore")];
    let own = match &request.dockerfile {
        DockerfileSource::Path(path) => Some(path.clone()),
        DockerfileSource::Default => Some(dir.join("Dockerfile")),
        DockerfileSource::Text(_) | DockerfileSource::Url(_) => None,
    };
    if let Some(own) = own {
        let mut name = own.into_os_string();
        name.push(".dockerignore");
        places.insert(0, name.into());
    }
    for path in places {
        match File::open(&path) {
            Ok(file) => return Ok(Patterns::read(&read(file, &path)?)),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => return Err(err).at("open", &path).map_err(Error::from),
        }
    }
    Ok(Vec::new())
}

fn read(file: File, path: &Path) -> Result<String, Error> {
    let mut bytes = Vec::new();
    file.take(TEXT_LIMIT)
        .read_to_end(&mut bytes)
        .at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
