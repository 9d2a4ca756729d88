//! Manifests: given out, taken in, removed.

use super::document::Document;
use super::refusal::{Code, Refusal};
use super::route::{Name, is_tag};
use super::{Depot, images};
use crate::oci::Digest;
use crate::serve::{Content, Request, Response};
use crate::store::HostedManifest;

/// Largest manifest that is taken, in bytes: what the specification asks of
/// every registry at least, and what our own client reads at most.
const MANIFEST_LIMIT: u64 = 4 << 20;
/// Most tags that come with one manifest.
const TAGS: usize = 100;

impl Depot {
    pub(super) fn get_manifest(
        &self,
        request: &Request<'_>,
        repository: &str,
        name: &Name,
    ) -> Result<Response, Refusal> {
        let found = self.find_manifest(repository, name)?;
        let found = match found {
            None if self.options.offers_images => images::manifest(&self.store, repository, name)?,
            other => other,
        };
        let Some(manifest) = found else {
            if !self.store.hosted_exists(repository)? {
                return Err(Refusal::no_repository(repository));
            }
            return Err(Refusal::no_manifest(&name.to_string()));
        };
        let etag = format!("\"{}\"", manifest.digest);
        let status = if is_known(request, &etag) { 304 } else { 200 };
        Ok(Response::new(status)
            .with("Content-Type", &manifest.media_type)
            .with("Docker-Content-Digest", manifest.digest)
            .with("ETag", etag)
            .carrying(Content::Bytes(manifest.bytes)))
    }

    fn find_manifest(
        &self,
        repository: &str,
        name: &Name,
    ) -> Result<Option<HostedManifest>, Refusal> {
        match name {
            Name::Digest(digest) => {
                let own = self.store.hosted_manifest(repository, *digest)?;
                match (&self.options.upstream, own) {
                    (Some(upstream), None) => {
                        upstream.manifest_by_digest(&self.store, repository, *digest)
                    }
                    (_, own) => Ok(own),
                }
            }
            Name::Tag(tag) => {
                let own = self.store.hosted_tag(repository, tag)?;
                match &self.options.upstream {
                    Some(upstream) => upstream.manifest_by_tag(&self.store, repository, tag, own),
                    None => Ok(own.map(|(manifest, _)| manifest)),
                }
            }
        }
    }

    pub(super) fn put_manifest(
        &self,
        request: &mut Request<'_>,
        repository: &str,
        name: &Name,
    ) -> Result<Response, Refusal> {
        let read = request
            .read_all(MANIFEST_LIMIT)
            .map_err(|err| Refusal::new(Code::Malformed, format!("the body broke off: {err}")))?;
        let Some(bytes) = read else {
            return Err(Refusal::new(
                Code::ManifestTooLarge,
                format!("a manifest may have {MANIFEST_LIMIT} bytes at most"),
            ));
        };
        let digest = Digest::of(&bytes);
        let mut tags: Vec<String> = request.query_all("tag").map(str::to_owned).collect();
        if tags.len() > TAGS || tags.iter().any(|tag| !is_tag(tag)) {
            return Err(Refusal::new(Code::TagInvalid, "invalid tag, or too many"));
        }
        match name {
            Name::Tag(tag) => tags.push(tag.clone()),
            Name::Digest(want) if *want != digest => {
                return Err(Refusal::new(
                    Code::DigestInvalid,
                    "provided digest did not match uploaded content",
                ));
            }
            Name::Digest(_) => {}
        }
        let document = Document::read(request.header("content-type"), &bytes)
            .map_err(|why| Refusal::new(Code::ManifestInvalid, why))?;
        let row = document.row(digest, bytes);
        let missing =
            self.store
                .hosted_manifest_put(repository, &row, &document.parts, &tags, false)?;
        if !missing.is_empty() {
            return Err(Refusal::missing(&missing));
        }
        let mut response = Response::new(201)
            .with("Location", format!("/v2/{repository}/manifests/{digest}"))
            .with("Docker-Content-Digest", digest);
        if let Some(subject) = document.subject {
            response = response.with("OCI-Subject", subject);
        }
        for tag in request.query_all("tag") {
            response = response.with("OCI-Tag", tag);
        }
        Ok(response)
    }

    pub(super) fn delete_manifest(
        &self,
        repository: &str,
        name: &Name,
    ) -> Result<Response, Refusal> {
        let removed = match name {
            Name::Tag(tag) => self.store.hosted_tag_remove(repository, tag)?,
            Name::Digest(digest) => self.store.hosted_manifest_remove(repository, *digest)?,
        };
        if !removed {
            return Err(Refusal::no_manifest(&name.to_string()));
        }
        Ok(Response::new(202))
    }
}

/// Whether the asker has this version already.
pub(super) fn is_known(request: &Request<'_>, etag: &str) -> bool {
    let known = request.header("if-none-match").unwrap_or_default();
    known.split(',').any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == etag
    })
}
