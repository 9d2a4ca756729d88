//! Further contexts, stages that are wanted too, and limits of downloads.

use std::path::{Path, PathBuf};

use rbuild::build::{BuildRequest, NamedContext, context_name};
use rbuild::dockerfile;
use rbuild::engine::Config;

use crate::cli::human;
use crate::cli::report::Failure;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Contexts {
    /// Another context by name: a directory, a URL, docker-image://NAME, oci-layout://DIR, target:STAGE
    #[arg(long, value_name = "NAME=VALUE")]
    build_context: Vec<String>,
    /// Another stage that must succeed; may be repeated
    #[arg(long, value_name = "STAGE")]
    also_target: Vec<String>,
    /// Largest file or repository to download [default: 16g]
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    max_download: Option<u64>,
}

impl Contexts {
    /// Puts what was asked for into the request.
    pub(super) fn apply(&self, build: &mut BuildRequest, config: &Config) -> Result<(), Failure> {
        for text in &self.build_context {
            let (name, value) = text
                .split_once('=')
                .filter(|(name, value)| !name.is_empty() && !value.is_empty())
                .ok_or_else(|| {
                    let message = format!("invalid context value: {text}, expected key=value");
                    Failure::new(1, message)
                })?;
            let context = context(name, value, config)?;
            build.contexts.insert(context_name(name), context);
        }
        build.also_targets.clone_from(&self.also_target);
        build.remote.environment.clone_from(&config.environment);
        if let Some(bytes) = self.max_download {
            build.remote.limit_bytes = bytes;
        }
        Ok(())
    }
}

fn context(name: &str, value: &str, config: &Config) -> Result<NamedContext, Failure> {
    if let Some(reference) = value.strip_prefix("docker-image://") {
        return Ok(NamedContext::Image(reference.to_owned()));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return Ok(oci_layout(layout, &config.working_directory));
    }
    if let Some(stage) = value.strip_prefix("target:") {
        return Ok(NamedContext::Stage(stage.to_owned()));
    }
    let path = config.working_directory.join(value);
    if path.is_dir() {
        return Ok(NamedContext::Directory(path));
    }
    if is_remote(value) {
        return Ok(NamedContext::Remote(value.to_owned()));
    }
    let why = match value.split_once("://") {
        Some((scheme, _)) => format!("unsupported context source {scheme} for {name}"),
        None if path.exists() => {
            format!("failed to get build context {name}: `{value}` is not a directory")
        }
        None => {
            format!("failed to get build context {name}: stat {value}: no such file or directory")
        }
    };
    Err(Failure::new(1, why))
}

/// `DIR[:TAG][@DIGEST]`.
fn oci_layout(text: &str, working_directory: &Path) -> NamedContext {
    let (rest, digest) = match text.rsplit_once('@') {
        Some((rest, digest)) if digest.contains(':') => (rest, Some(digest.to_owned())),
        _ => (text, None),
    };
    let (dir, tag) = match rest.rsplit_once(':') {
        Some((dir, tag)) if !tag.contains('/') && !dir.is_empty() => (dir, Some(tag.to_owned())),
        _ => (rest, None),
    };
    NamedContext::Layout {
        path: working_directory.join(PathBuf::from(dir)),
        tag,
        digest,
    }
}

/// Whether a text is an address of a web server or a git repository.
pub(super) fn is_remote(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let is_web = lower.starts_with("http://") || lower.starts_with("https://");
    is_web || !matches!(dockerfile::git_reference(text), Ok(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_have_tags_and_digests() {
        let check = |text: &str, dir: &str, want_tag: Option<&str>, want_digest: Option<&str>| {
            let NamedContext::Layout { path, tag, digest } = oci_layout(text, Path::new("/w"))
            else {
                unreachable!()
            };
            assert_eq!(path, Path::new(dir), "{text}");
            assert_eq!(
                (tag.as_deref(), digest.as_deref()),
                (want_tag, want_digest),
                "{text}"
            );
        };
        check("a", "/w/a", None, None);
        check("/a:b/c", "/a:b/c", None, None);
        check("/a:1.2", "/a", Some("1.2"), None);
        check("/a@sha256:ab", "/a", None, Some("sha256:ab"));
        check("a:t@sha256:ab", "/w/a", Some("t"), Some("sha256:ab"));
    }

    #[test]
    fn addresses_are_told_from_paths() {
        for remote in [
            "https://h/x.tar",
            "HTTP://h",
            "git@h:a/b.git",
            "ssh://h/a",
            "github.com/a/b",
            "https://h/a.git?unknown=1",
        ] {
            assert!(is_remote(remote), "{remote}");
        }
        for local in [".", "../x", "a/b.git", "/a", "ftp://h/a"] {
            assert!(!is_remote(local), "{local}");
        }
    }
}
