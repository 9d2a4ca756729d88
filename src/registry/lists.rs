//! Tags, repositories, referrers: lists that come in pages.
//!
//! Source: OCI distribution-spec 1.1, "Listing tags", "Listing referrers"; distribution's catalog.

use serde::Deserialize;

use super::error::{Error, harmless};
use super::manifests::MANIFEST_LIMIT;
use super::scope::Scopes;
use super::session::{Call, Session};
use crate::http::{Method, Url};
use crate::oci::{Descriptor, Digest};

/// Most entries of a list, and most pages, that are read.
const ENTRIES: usize = 1_000_000;
const PAGES: usize = 10_000;
/// Most pages in a row that have no entry.
const EMPTY_PAGES: u32 = 16;
/// How many entries a page is asked to have.
const PAGE: &str = "1000";

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Referrers {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

impl Session {
    /// The tags of a repository.
    pub(super) fn tags(&self, path: &str) -> Result<Vec<String>, Error> {
        let url = self
            .url(&format!("/v2/{path}/tags/list"))?
            .with_query("n", PAGE);
        let what = format!("{}/{path}", self.host);
        let tags = self.pages(url, Scopes::repository(path, &["pull"]), &what, |bytes| {
            serde_json::from_slice::<Tags>(bytes).map(|page| page.tags.unwrap_or_default())
        })?;
        checked(tags, is_tag, &what)
    }

    /// The repositories of a registry, where it tells them.
    pub(super) fn catalog(&self) -> Result<Vec<String>, Error> {
        let url = self.url("/v2/_catalog")?.with_query("n", PAGE);
        let scopes = Scopes::parse("registry:catalog:*");
        let paths = self.pages(url, scopes, &self.host, |bytes| {
            serde_json::from_slice::<Catalog>(bytes)
                .map(|page| page.repositories.unwrap_or_default())
        })?;
        checked(paths, is_path, &self.host)
    }

    /// What refers to a manifest; `None` where the registry has no such list.
    pub(super) fn referrers(
        &self,
        path: &str,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        let mut url = self.url(&format!("/v2/{path}/referrers/{digest}"))?;
        if let Some(kind) = artifact_type {
            url = url.with_query("artifactType", kind);
        }
        let what = self.shown(path, &digest.to_string());
        let found = self.pages(url, Scopes::repository(path, &["pull"]), &what, |bytes| {
            serde_json::from_slice::<Referrers>(bytes).map(|page| page.manifests)
        });
        match found {
            Ok(mut all) => {
                // A registry may leave the filtering to us.
                all.retain(|found| {
                    artifact_type.is_none() || found.artifact_type.as_deref() == artifact_type
                });
                Ok(Some(all))
            }
            Err(err) if err.is_not_found() => Ok(None),
            Err(err) => Err(err),
        }
    }

    fn pages<T>(
        &self,
        first: Url,
        scopes: Scopes,
        what: &str,
        read: impl Fn(&[u8]) -> serde_json::Result<Vec<T>>,
    ) -> Result<Vec<T>, Error> {
        let mut call = Call {
            method: Method::Get,
            url: first,
            headers: vec![(
                "Accept",
                "application/json, application/vnd.oci.image.index.v1+json".to_owned(),
            )],
            scopes,
            what: what.to_owned(),
        };
        let mut all = Vec::new();
        let mut empty = 0;
        for _ in 0..PAGES {
            let (response, bytes) = self.document(&call, MANIFEST_LIMIT)?;
            let next = response.all("link").find_map(next_link).map(str::to_owned);
            let page = read(&bytes).map_err(|err| Error::Protocol {
                what: what.to_owned(),
                why: format!("its list cannot be read: {err}"),
            })?;
            empty = if page.is_empty() { empty + 1 } else { 0 };
            all.extend(page);
            let Some(next) = next else { return Ok(all) };
            let url = call.url.join(&next)?;
            let turns = url == call.url || empty > EMPTY_PAGES;
            if !url.same_origin(&call.url) || turns || all.len() > ENTRIES {
                break;
            }
            call.url = url;
        }
        Err(Error::Protocol {
            what: what.to_owned(),
            why: "its list has no end".to_owned(),
        })
    }
}

/// The names of a list, which go on to terminals and into further requests.
fn checked(
    names: Vec<String>,
    is_good: impl Fn(&str) -> bool,
    what: &str,
) -> Result<Vec<String>, Error> {
    match names.iter().find(|name| !is_good(name)) {
        None => Ok(names),
        Some(wrong) => {
            let why = format!("its list has `{}`, which is no name", harmless(wrong));
            Err(Error::protocol(what, why))
        }
    }
}

/// Source: OCI distribution-spec 1.1, "Pulling manifests".
fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let further = |byte: u8| word(byte) || b".-".contains(&byte);
    text.len() <= 128 && text.bytes().next().is_some_and(word) && text.bytes().all(further)
}

fn is_path(text: &str) -> bool {
    let good =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
    (1..=255).contains(&text.len()) && text.bytes().all(good)
}

/// The target of `<...>; rel="next"`.
fn next_link(header: &str) -> Option<&str> {
    let (target, rest) = header.trim().strip_prefix('<')?.split_once('>')?;
    rest.replace('"', "").contains("rel=next").then_some(target)
}

#[cfg(test)]
mod tests {
    use super::next_link;

    #[test]
    fn links_to_the_next_page_are_found() {
        assert_eq!(
            next_link("</v2/_catalog?last=b&n=2>; rel=\"next\""),
            Some("/v2/_catalog?last=b&n=2")
        );
        assert_eq!(next_link("<x>; rel=prev"), None);
        assert_eq!(next_link("x"), None);
    }
}
