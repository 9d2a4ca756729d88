//! Lists: tags, repositories, referrers; a page at a time.

use serde_json::{Value, json};

use super::document::Document;
use super::refusal::{Code, Refusal};
use super::{Depot, images};
use crate::oci::{Digest, media_type};
use crate::serve::{Content, Request, Response};
use crate::store::HostedManifest;

/// Most entries of a page.
const PAGE: u32 = 10_000;
/// Most manifests of a page of referrers, and bytes of it.
const REFERRERS: (usize, usize) = (1000, 3 << 20);
/// How many manifests are read at a time: each may be large.
const AT_ONCE: u32 = 8;

/// A page that was asked for.
struct Page {
    last: String,
    limit: u32,
}

impl Page {
    fn of(request: &Request<'_>) -> Result<Self, Refusal> {
        let limit = match request.query("n") {
            None => PAGE,
            Some(text) if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().map_or(PAGE, |n: u32| n.min(PAGE))
            }
            Some(_) => {
                return Err(Refusal::new(
                    Code::PaginationInvalid,
                    "invalid number of results requested",
                ));
            }
        };
        let last = request.query("last").unwrap_or_default().to_owned();
        Ok(Self { last, limit })
    }

    /// Entries of this page from sorted `entries` and `more` in any order, and
    /// whether others follow. `entries` has one more than the page.
    fn cut(&self, mut entries: Vec<String>, more: Vec<String>) -> (Vec<String>, bool) {
        entries.extend(more.into_iter().filter(|entry| *entry > self.last));
        entries.sort();
        entries.dedup();
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let others = entries.len() > limit;
        entries.truncate(limit);
        (entries, others)
    }

    fn answer(
        &self,
        path: &str,
        key: &str,
        mut body: Value,
        page: (Vec<String>, bool),
    ) -> Response {
        let (entries, others) = page;
        let mut response = Response::new(200).with("Content-Type", "application/json");
        if others && let Some(last) = entries.last() {
            // Names and tags have no characters that a query would need to escape but `/`.
            let last = last.replace('/', "%2F");
            response = response.with(
                "Link",
                format!("<{path}?last={last}&n={}>; rel=\"next\"", self.limit),
            );
        }
        body[key] = json!(entries);
        response.carrying(Content::Bytes(body.to_string().into_bytes()))
    }
}

impl Depot {
    pub(super) fn tags(
        &self,
        request: &Request<'_>,
        repository: &str,
    ) -> Result<Response, Refusal> {
        let page = Page::of(request)?;
        let own = self
            .store
            .hosted_tags(repository, &page.last, page.limit.saturating_add(1))?;
        let mut more = Vec::new();
        if self.options.offers_images {
            more.extend(images::tags(&self.store, repository)?);
        }
        if let Some(upstream) = &self.options.upstream {
            more.extend(upstream.tags(repository));
        }
        if own.is_empty() && more.is_empty() && !self.store.hosted_exists(repository)? {
            return Err(Refusal::no_repository(repository));
        }
        let path = format!("/v2/{repository}/tags/list");
        let body = json!({"name": repository, "tags": []});
        Ok(page.answer(&path, "tags", body, page.cut(own, more)))
    }

    pub(super) fn catalog(&self, request: &Request<'_>) -> Result<Response, Refusal> {
        let page = Page::of(request)?;
        let own = self
            .store
            .hosted_repositories(&page.last, page.limit.saturating_add(1))?;
        let more = if self.options.offers_images {
            images::repositories(&self.store)?
        } else {
            Vec::new()
        };
        let body = json!({"repositories": []});
        Ok(page.answer("/v2/_catalog", "repositories", body, page.cut(own, more)))
    }

    pub(super) fn referrers(
        &self,
        request: &Request<'_>,
        repository: &str,
        subject: Digest,
    ) -> Result<Response, Refusal> {
        let wanted = request.query("artifactType").filter(|one| !one.is_empty());
        let mut last: Option<Digest> = match request.query("last") {
            Some(text) => Some(super::route::parse_digest(text)?),
            None => None,
        };
        let mut found: Vec<Value> = Vec::new();
        let mut bytes = 0;
        let mut others = false;
        'pages: loop {
            let some = self
                .store
                .hosted_referrers(repository, subject, last, AT_ONCE)?;
            let is_end = some.len() < AT_ONCE as usize;
            for manifest in some {
                if found.len() >= REFERRERS.0 || bytes >= REFERRERS.1 {
                    others = true;
                    break 'pages;
                }
                last = Some(manifest.digest);
                let Some(descriptor) = descriptor(&manifest, wanted) else {
                    continue;
                };
                bytes += descriptor.to_string().len();
                found.push(descriptor);
            }
            if is_end {
                break;
            }
        }
        if found.is_empty()
            && let Some(upstream) = &self.options.upstream
        {
            found = upstream.referrers(repository, subject, wanted);
        }
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::INDEX,
            "manifests": found,
        });
        let mut response = Response::new(200)
            .with("Content-Type", media_type::INDEX)
            .carrying(Content::Bytes(index.to_string().into_bytes()));
        if wanted.is_some() {
            response = response.with("OCI-Filters-Applied", "artifactType");
        }
        if others && let Some(last) = last {
            let filter = wanted.map_or_else(String::new, |kind| {
                let escaped: String = kind.bytes().map(escape).collect();
                format!("&artifactType={escaped}")
            });
            let path = format!("/v2/{repository}/referrers/{subject}");
            response = response.with(
                "Link",
                format!("<{path}?last={last}{filter}>; rel=\"next\""),
            );
        }
        Ok(response)
    }
}

fn escape(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/') {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// The entry of a manifest in a list of referrers; `None` when another type is wanted.
///
/// Source: OCI distribution-spec 1.1, "Listing Referrers".
fn descriptor(manifest: &HostedManifest, wanted: Option<&str>) -> Option<Value> {
    let document = Document::read(Some(&manifest.media_type), &manifest.bytes).ok()?;
    if wanted.is_some() && document.artifact_type.as_deref() != wanted {
        return None;
    }
    let mut descriptor = json!({
        "mediaType": manifest.media_type,
        "digest": manifest.digest,
        "size": manifest.bytes.len(),
    });
    if let Some(kind) = document.artifact_type {
        descriptor["artifactType"] = json!(kind);
    }
    if !document.annotations.is_empty() {
        descriptor["annotations"] = json!(document.annotations);
    }
    Some(descriptor)
}
