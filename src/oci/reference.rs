//! Image references: `[host[:port]/]path[:tag][@digest]`.

use std::fmt;
use std::str::FromStr;

use super::{Digest, ParseDigestError};

/// The name of an image, with Docker's defaults applied.
///
/// `busybox` is `docker.io/library/busybox:latest`. [`Reference::familiar`] is
/// the short form that Docker prints, the `Display` form is the full one.
///
/// Source: distribution reference grammar; OCI distribution-spec 1.1, "Pulling manifests".
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that is no image reference.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ParseReferenceError {
    /// The name breaks the grammar.
    #[error("invalid reference format: `{0}`")]
    Format(String),
    /// The repository name has upper-case letters.
    #[error("invalid reference format: repository name (`{0}`) must be lowercase")]
    Uppercase(String),
    /// The name is 64 hexadecimal digits, which would be taken for an ID.
    #[error("invalid repository name (`{0}`), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// The digest after `@` is malformed.
    #[error("invalid reference format: {0}")]
    Digest(#[from] ParseDigestError),
}

const DEFAULT_HOST: &str = "docker.io";
/// Longest path of a repository that registries accept.
const NAME_LIMIT: usize = 255;

impl Reference {
    /// The registry host, with its port if one was written.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository path on the host, such as `library/busybox`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; absent when only a digest was written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was written.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// `host/path`, the full repository name.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// The repository as Docker shows it: `busybox`, `user/app`, `localhost:5000/x`.
    pub fn familiar_repository(&self) -> String {
        if self.host != DEFAULT_HOST {
            return self.repository();
        }
        match self.path.split_once('/') {
            Some(("library", name)) if !name.contains('/') => name.to_owned(),
            // In front, such a part would be taken for a host.
            Some((first, _)) if first.contains('.') || first == "localhost" => self.repository(),
            _ => self.path.clone(),
        }
    }

    /// The short form with tag and digest: `busybox:latest`.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_repository();
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }

    /// The same repository with a digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// The same repository with another tag and no digest.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Self {
            tag: Some(tag.to_owned()),
            digest: None,
            ..self.clone()
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseReferenceError::Format(text.to_owned());
        if text.len() == 64 && Digest::from_hex(text).is_ok() {
            return Err(ParseReferenceError::LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !good_tag(tag)) || name.is_empty() {
            return Err(wrong());
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_host(host) => (host, path.to_owned()),
            Some(_) => (DEFAULT_HOST, name.to_owned()),
            None => (DEFAULT_HOST, format!("library/{name}")),
        };
        let host = if host == "index.docker.io" {
            DEFAULT_HOST
        } else {
            host
        };
        let path = match host {
            DEFAULT_HOST if !path.contains('/') => format!("library/{path}"),
            _ => path,
        };
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ParseReferenceError::Uppercase(path));
        }
        let good_path = path.len() <= NAME_LIMIT && path.split('/').all(good_component);
        if !good_host(host) || !good_path {
            return Err(wrong());
        }
        let tag = match (tag, digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Self {
            host: host.to_owned(),
            path,
            tag,
            digest,
        })
    }
}

fn is_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':'])
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn good_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let name_good = if let Some(address) = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'))
    {
        address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
    } else {
        name.split('.').all(|label| {
            !label.is_empty()
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    name_good
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn good_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_')
        && tag.len() <= 128
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `[a-z0-9]+` parts joined by `.`, `_`, `__` or any run of `-`.
fn good_component(component: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = component.as_bytes();
    if !edge(bytes.first().copied()) || !edge(bytes.last().copied()) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, full: &str, familiar: &str) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.to_string(), full);
        assert_eq!(reference.familiar(), familiar);
    }

    #[test]
    fn defaults_are_applied() {
        check(
            "busybox",
            "docker.io/library/busybox:latest",
            "busybox:latest",
        );
        check("user/app:1", "docker.io/user/app:1", "user/app:1");
        let odd = "docker.io/library/docker.io/x:1";
        check(odd, odd, "library/docker.io/x:1");
        check(
            "docker.io/a.b/c:1",
            "docker.io/a.b/c:1",
            "docker.io/a.b/c:1",
        );
        check("localhost/x", "localhost/x:latest", "localhost/x:latest");
        check(
            "localhost:5000/x:y",
            "localhost:5000/x:y",
            "localhost:5000/x:y",
        );
        check(
            "docker.io/busybox",
            "docker.io/library/busybox:latest",
            "busybox:latest",
        );
        check(
            "a.b/c__d/e---f:T_.-",
            "a.b/c__d/e---f:T_.-",
            "a.b/c__d/e---f:T_.-",
        );
    }

    #[test]
    fn malformed_references_are_refused() {
        let id = "a".repeat(64);
        for text in [
            "",
            ":tag",
            "a:",
            "UPPER",
            "a/B",
            "a..b",
            "-a",
            "a_",
            "a/../b",
            "a b",
            "a@sha256:1",
            &id,
            // `library/` counts.
            &"ab".repeat(124),
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
