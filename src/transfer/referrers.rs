//! What refers to a manifest: signatures, bills of materials, other artifacts.
//!
//! A registry has a list of them, or else the clients keep it: an index under
//! the tag `sha256-<hex>` of the manifest referred to.
//!
//! Source: OCI distribution-spec 1.1, "Listing referrers", "Referrers tag schema".

use super::Error;
use super::copy::Document;
use crate::oci::{Descriptor, Digest, Index, Reference, media_type};
use crate::registry::{self, Client, Fetched};

/// How often the index under the tag is written again when somebody else wrote it meanwhile.
const ATTEMPTS: u32 = 4;
/// How often a document is sent again after a break.
const SENDINGS: u32 = 4;
/// The pause before it is.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(300);

/// What refers to the manifest with this digest, of one type or of every one.
pub fn list(
    client: &Client,
    repository: &Reference,
    digest: Digest,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>, Error> {
    match client.referrers(repository, digest, artifact_type) {
        Ok(Some(found)) => return Ok(found),
        // Registries of before the list answer this in several ways.
        Ok(None)
        | Err(registry::Error::Status {
            status: 400 | 405 | 501,
            ..
        }) => {}
        Err(err) => return Err(err.into()),
    }
    let mut found = match tagged(client, repository, digest)? {
        Some((index, _)) => index.manifests,
        None => Vec::new(),
    };
    found.retain(|one| artifact_type.is_none() || one.artifact_type.as_deref() == artifact_type);
    Ok(found)
}

/// Sends a document. Where the registry takes no note of its subject, it is
/// entered into the list under the subject's tag.
pub(super) fn put_document(
    client: &Client,
    name: &Reference,
    document: &Document,
) -> Result<(), Error> {
    let send = || client.put_referrer(name, &document.media_type, &document.bytes);
    let is_noted = again(send)?;
    match &document.subject {
        Some(subject) if !is_noted => enter(client, name, subject.digest, &document.descriptor()),
        _ => Ok(()),
    }
}

/// Does what may be done twice again after a passing failure.
pub(super) fn again<T>(work: impl Fn() -> Result<T, registry::Error>) -> Result<T, Error> {
    let mut attempt = 1;
    loop {
        match work() {
            Err(err) if err.is_passing() && attempt < SENDINGS => {
                std::thread::sleep(PAUSE * attempt);
                attempt += 1;
            }
            done => return Ok(done?),
        }
    }
}

/// The tag under which clients keep the list for a manifest.
fn tag(digest: Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// The list under the tag, parsed and as it is.
fn tagged(
    client: &Client,
    repository: &Reference,
    digest: Digest,
) -> Result<Option<(Index, Fetched)>, Error> {
    let name = repository.with_tag(&tag(digest));
    let fetched = match client.manifest(&name) {
        Ok(fetched) => fetched,
        Err(err) if err.is_not_found() => return Ok(None),
        Err(err) => return Err(err.into()),
    };
    let index = serde_json::from_slice(&fetched.bytes).map_err(|err| Error::Unsupported {
        reference: name.familiar(),
        why: format!("it is no list of referrers: {err}"),
    })?;
    Ok(Some((index, fetched)))
}

/// Enters a manifest into the list under its subject's tag.
///
/// No registry offers a lock for it: the list is read again afterwards, and
/// written again when another client's writing took ours away.
fn enter(
    client: &Client,
    repository: &Reference,
    subject: Digest,
    entry: &Descriptor,
) -> Result<(), Error> {
    for _ in 0..ATTEMPTS {
        let mut index = match tagged(client, repository, subject)? {
            Some((index, _)) => index,
            None => Index {
                schema_version: 2,
                media_type: Some(media_type::INDEX.to_owned()),
                manifests: Vec::new(),
                annotations: std::collections::BTreeMap::new(),
            },
        };
        if index.manifests.iter().any(|own| own.digest == entry.digest) {
            return Ok(());
        }
        index.manifests.push(entry.clone());
        let name = repository.with_tag(&tag(subject));
        let bytes = serde_json::to_vec(&index).map_err(|err| Error::Unsupported {
            reference: name.familiar(),
            why: err.to_string(),
        })?;
        again(|| client.put_manifest(&name, media_type::INDEX, &bytes))?;
    }
    // The last writing was not looked at, or others are busy with the same image.
    match tagged(client, repository, subject)? {
        Some((index, _)) if index.manifests.iter().any(|own| own.digest == entry.digest) => Ok(()),
        _ => Err(Error::Unsupported {
            reference: repository.with_digest(entry.digest).familiar(),
            why: format!(
                "others write the list of referrers under the tag `{}` at the same time; try again",
                tag(subject)
            ),
        }),
    }
}
