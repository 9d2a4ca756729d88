//! Manifests and indexes: fetched, looked for, sent, removed.
//!
//! Source: OCI distribution-spec 1.1, "Pulling manifests", "Pushing manifests".

use super::error::Error;
use super::scope::Scopes;
use super::session::{Call, Outgoing, Session};
use crate::http::{Method, Response};
use crate::oci::{Digest, media_type};

/// Largest manifest that is read, in bytes; the specification's floor for what registries must take.
pub(super) const MANIFEST_LIMIT: u64 = 4 << 20;

/// A manifest or index as its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The digest of the bytes.
    pub digest: Digest,
    /// What they are, as the registry says or the document itself.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A manifest that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The digest of its bytes, where the registry says it.
    pub digest: Option<Digest>,
    /// What it is.
    pub media_type: String,
    /// Its size in bytes, where the registry says it.
    pub size: Option<u64>,
}

/// What is accepted, the richer form first.
fn accept() -> String {
    [
        media_type::INDEX,
        media_type::MANIFEST,
        media_type::DOCKER_INDEX,
        media_type::DOCKER_MANIFEST,
    ]
    .join(", ")
}

impl Session {
    fn manifest_call(
        &self,
        method: Method,
        path: &str,
        name: &str,
        actions: &[&str],
    ) -> Result<Call<'static>, Error> {
        Ok(Call {
            method,
            url: self.url(&format!("/v2/{path}/manifests/{name}"))?,
            headers: vec![("Accept", accept())],
            scopes: Scopes::repository(path, actions),
            what: self.shown(path, name),
        })
    }

    /// `host/path:tag` or `host/path@digest`.
    pub(super) fn shown(&self, path: &str, name: &str) -> String {
        let mark = if name.contains(':') { '@' } else { ':' };
        format!("{}/{path}{mark}{name}", self.host)
    }

    /// Fetches the manifest with this tag or digest; what came is checked.
    pub(super) fn manifest(&self, path: &str, name: &str) -> Result<Fetched, Error> {
        let call = self.manifest_call(Method::Get, path, name, &["pull"])?;
        let (response, bytes) = self.document(&call, MANIFEST_LIMIT)?;
        let want = match name.parse::<Digest>() {
            Ok(digest) => Some(digest),
            Err(_) => response
                .header("docker-content-digest")
                .and_then(|text| text.parse().ok()),
        };
        let media = media_type_of(&response);
        let got = Digest::of(&bytes);
        if let Some(want) = want.filter(|want| *want != got) {
            return Err(Error::WrongDigest {
                what: call.what,
                want,
                got,
            });
        }
        Ok(Fetched {
            digest: got,
            media_type: own_media_type(&bytes).unwrap_or(media),
            bytes,
        })
    }

    /// Whether there is a manifest with this tag or digest.
    pub(super) fn find_manifest(&self, path: &str, name: &str) -> Result<Option<Found>, Error> {
        let call = self.manifest_call(Method::Head, path, name, &["pull"])?;
        let response = self.open(&call)?;
        if response.status == 404 {
            return Ok(None);
        }
        let response = self.check(response, &call.what, false)?;
        Ok(Some(Found {
            digest: response
                .header("docker-content-digest")
                .and_then(|text| text.parse().ok()),
            media_type: media_type_of(&response),
            size: response.length(),
        }))
    }

    /// Sends a manifest under a tag or its digest; what it names must be there already.
    /// Returns the subject that the registry took note of.
    pub(super) fn put_manifest(
        &self,
        path: &str,
        name: &str,
        media: &str,
        bytes: &[u8],
    ) -> Result<Option<String>, Error> {
        let mut call = self.manifest_call(Method::Put, path, name, &["pull", "push"])?;
        call.headers = vec![("Content-Type", media.to_owned())];
        let response = self.call_with(&call, &mut || Ok(Outgoing::Bytes(bytes)))?;
        let response = self.check(response, &call.what, true)?;
        let subject = response.header("oci-subject").map(str::to_owned);
        let own = Digest::of(bytes);
        let theirs = response
            .header("docker-content-digest")
            .and_then(|text| text.parse::<Digest>().ok());
        match theirs.filter(|theirs| *theirs != own) {
            None => Ok(subject),
            Some(got) => Err(Error::WrongDigest {
                what: call.what,
                want: own,
                got,
            }),
        }
    }

    /// Removes a tag, or a manifest by digest.
    pub(super) fn delete_manifest(&self, path: &str, name: &str) -> Result<(), Error> {
        let call = self.manifest_call(Method::Delete, path, name, &["pull", "delete"])?;
        let response = self.call(&call)?;
        if response.status == 405 {
            return Err(Error::Denied {
                what: call.what,
                why: "this registry does not allow to delete".to_owned(),
                hint: "deletion is a setting of the registry; `REGISTRY_STORAGE_DELETE_ENABLED=true` for distribution".to_owned(),
            });
        }
        self.check(response, &call.what, true).map(drop)
    }
}

fn media_type_of(response: &Response) -> String {
    let text = response.header("content-type").unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_owned()
}

/// The `mediaType` member of a document; it counts more than what a server says.
fn own_media_type(bytes: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Head {
        media_type: Option<String>,
    }
    let head: Head = serde_json::from_slice(bytes).ok()?;
    head.media_type.filter(|text| !text.is_empty())
}
