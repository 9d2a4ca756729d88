//! What a path means. Nothing of it ever names a file.

use super::refusal::{Code, Refusal};
use crate::oci::{Digest, Reference};

/// A path of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/token`
    Token,
    /// Something in a repository.
    In(String, Place),
}

/// A place in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// `manifests/NAME`
    Manifest(Name),
    /// `blobs/DIGEST`
    Blob(Digest),
    /// `blobs/uploads/`
    Uploads,
    /// `blobs/uploads/ID`
    Upload(String),
    /// `tags/list`
    Tags,
    /// `referrers/DIGEST`
    Referrers(Digest),
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Tag(String),
    Digest(Digest),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl Route {
    /// Parses a decoded path.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let rest = match path {
            "/token" => return Ok(Self::Token),
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            path => path
                .strip_prefix("/v2/")
                .ok_or_else(|| Refusal::new(Code::NameUnknown, "there is nothing here"))?,
        };
        let parts: Vec<&str> = rest.split('/').collect();
        // From the end, as names may hold the words that follow them.
        let (name, place) = match parts.as_slice() {
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                (name, Ok(Place::Uploads))
            }
            [name @ .., "blobs", "uploads", id] => (name, Ok(Place::Upload((*id).to_owned()))),
            [name @ .., "manifests", name_or_digest] => {
                (name, manifest_name(name_or_digest).map(Place::Manifest))
            }
            [name @ .., "blobs", digest] => (name, parse_digest(digest).map(Place::Blob)),
            [name @ .., "tags", "list"] => (name, Ok(Place::Tags)),
            [name @ .., "referrers", digest] => (name, parse_digest(digest).map(Place::Referrers)),
            _ => return Err(Refusal::new(Code::NameUnknown, "there is nothing here")),
        };
        let name = name.join("/");
        if !is_repository(&name) {
            return Err(Refusal::new(Code::NameInvalid, "invalid repository name"));
        }
        Ok(Self::In(name, place?))
    }
}

/// Whether a text is the name of a repository.
pub(super) fn is_repository(name: &str) -> bool {
    // The grammar of references has that of names in it.
    !name.contains([':', '@'])
        && format!("localhost/{name}")
            .parse::<Reference>()
            .is_ok_and(|reference| reference.path() == name)
}

/// Whether a text is a tag.
pub(super) fn is_tag(tag: &str) -> bool {
    let mut bytes = tag.bytes();
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    bytes.next().is_some_and(is_word)
        && tag.len() <= 128
        && bytes.all(|b| is_word(b) || matches!(b, b'.' | b'-'))
}

pub(super) fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new(
            Code::DigestInvalid,
            "invalid digest: expected sha256 and 64 lower-case hexadecimal digits",
        )
    })
}

fn manifest_name(text: &str) -> Result<Name, Refusal> {
    if text.contains(':') {
        return parse_digest(text).map(Name::Digest);
    }
    if !is_tag(text) {
        return Err(Refusal::new(Code::TagInvalid, "invalid tag"));
    }
    Ok(Name::Tag(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Option<(String, Place)> {
        match Route::parse(path) {
            Ok(Route::In(name, place)) => Some((name, place)),
            _ => None,
        }
    }

    #[test]
    fn paths_are_read_from_their_end() {
        let digest = Digest::of(b"");
        assert_eq!(Route::parse("/v2/").unwrap(), Route::Base);
        let check = |path: &str, name: &str, want: Place| {
            assert_eq!(place(path), Some((name.to_owned(), want)), "{path}");
        };
        check("/v2/a/b/tags/list", "a/b", Place::Tags);
        check("/v2/a/blobs/uploads/", "a", Place::Uploads);
        check("/v2/a/blobs/uploads/x", "a", Place::Upload("x".to_owned()));
        check(&format!("/v2/a/blobs/{digest}"), "a", Place::Blob(digest));
        check(
            "/v2/tags/list/manifests/list",
            "tags/list",
            Place::Manifest(Name::Tag("list".to_owned())),
        );
        check(
            &format!("/v2/blobs/uploads/manifests/{digest}"),
            "blobs/uploads",
            Place::Manifest(Name::Digest(digest)),
        );
    }

    proptest::proptest! {
        #[test]
        fn a_name_that_is_taken_leads_nowhere_else(
            path in "/v2/([a-zA-Z0-9._/%:@ -]|\\PC){0,40}/(manifests|blobs|tags|referrers)/[a-z:.]{0,12}",
        ) {
            if let Ok(Route::In(name, _)) = Route::parse(&path) {
                let parts: Vec<&str> = name.split('/').collect();
                proptest::prop_assert!(!parts.iter().any(|part| part.is_empty() || part.starts_with('.')));
                proptest::prop_assert!(name.is_ascii() && name.len() <= 255);
            }
        }
    }

    #[test]
    fn hostile_paths_are_refused() {
        let long = "a".repeat(256);
        for name in [
            "..", "a/../b", "a//b", "/a", "A", "a:1", "a@b", "a\0b", "-a", "a.", "", "a b", &long,
        ] {
            assert_eq!(place(&format!("/v2/{name}/tags/list")), None, "{name:?}");
        }
        for path in [
            "/v2/a/manifests/../../etc/passwd",
            "/v2/a/manifests/",
            "/v2/a/manifests/.x",
            "/v2/a/blobs/sha256:x",
            "/v2/a/blobs/sha512:00",
            "/v3/",
            "/",
        ] {
            assert_eq!(place(path), None, "{path}");
        }
    }
}
