//! Tags taken away, where a registry can do that.
//!
//! Source: OCI distribution-spec 1.1, "Deleting tags".

use super::error::Error;
use super::scope::Scopes;
use super::session::{Call, Session};
use super::{Client, Found};
use crate::http::Method;
use crate::oci::{Digest, Reference};

impl Session {
    /// Takes a tag away and leaves its manifest; `false` where the registry knows no such request.
    fn untag(&self, path: &str, tag: &str) -> Result<bool, Error> {
        let call = Call {
            method: Method::Delete,
            url: self.url(&format!("/v2/{path}/manifests/{tag}"))?,
            headers: Vec::new(),
            scopes: Scopes::repository(path, &["pull", "delete"]),
            what: self.shown(path, tag),
        };
        let response = self.call(&call)?;
        match response.status {
            // Those that take a digest alone call a tag malformed, unknown or unsupported.
            400 | 404 | 405 | 501 => Ok(false),
            _ => self.check(response, &call.what, true).map(|_| true),
        }
    }
}

impl Client {
    /// Takes a tag away and leaves its manifest and its other tags. Returns
    /// `false` where the registry removes by digest alone.
    pub fn untag(&self, repository: &Reference, tag: &str) -> Result<bool, Error> {
        self.origin(repository)?.untag(repository.path(), tag)
    }

    /// What a tag of the repository leads to.
    pub fn find_tag(&self, repository: &Reference, tag: &str) -> Result<Option<Found>, Error> {
        self.find_manifest(&repository.with_tag(tag))
    }

    /// Removes the manifest with this digest, and with it every tag that leads to it.
    pub fn delete_digest(&self, repository: &Reference, digest: Digest) -> Result<(), Error> {
        self.delete_manifest(&repository.with_digest(digest))
    }
}
