//! An image on a registry, looked at without being pulled.

use std::io::Read;

use super::Error;
use super::copy::no_platform;
use crate::image;
use crate::oci::{Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use crate::registry::{Client, Fetched};

/// Largest configuration that is read, in bytes.
const CONFIG_LIMIT: u64 = 8 << 20;
/// Most indexes within indexes.
const DEPTH: usize = 4;

/// What a name on a registry leads to.
#[derive(Debug, Clone)]
pub struct Remote {
    /// What the name itself leads to: an index or a manifest.
    pub named: Fetched,
    /// The index, when it is one.
    pub index: Option<Index>,
    /// The manifest for the platform, with its digest and bytes.
    pub chosen: Fetched,
    /// The manifest, parsed.
    pub manifest: Manifest,
    /// The image's configuration; none when it is an artifact.
    pub config: Option<ImageConfig>,
    /// The digest of the configuration, which is the image's ID.
    pub id: Digest,
}

/// Fetches what a name leads to, without its layers: of an index the image for
/// `platform`. Without one it is this machine's, or else the first.
pub fn look(
    client: &Client,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<Remote, Error> {
    let named = client.manifest(reference)?;
    look_from(client, reference, named, platform)
}

/// The same where what the name leads to was fetched already.
pub(super) fn look_at(
    client: &Client,
    reference: &Reference,
    named: Fetched,
) -> Result<Remote, Error> {
    look_from(client, reference, named, None)
}

fn look_from(
    client: &Client,
    reference: &Reference,
    named: Fetched,
    platform: Option<&Platform>,
) -> Result<Remote, Error> {
    let mut chosen = named.clone();
    let mut first: Option<Index> = None;
    for _ in 0..DEPTH {
        if media_type::to_oci(&chosen.media_type) != media_type::INDEX {
            break;
        }
        let index: Index = parse(reference, "index", &chosen.bytes)?;
        let digest = choose(reference, &index, platform)?;
        chosen = client.manifest_by_digest(reference, digest)?;
        first.get_or_insert(index);
    }
    let manifest: Manifest = parse(reference, "manifest", &chosen.bytes)?;
    let is_image = media_type::to_oci(&manifest.config.media_type) == media_type::CONFIG;
    let config = if is_image {
        Some(config(client, reference, &manifest)?)
    } else {
        None
    };
    Ok(Remote {
        id: manifest.config.digest,
        named,
        index: first,
        chosen,
        manifest,
        config,
    })
}

fn choose(
    reference: &Reference,
    index: &Index,
    platform: Option<&Platform>,
) -> Result<Digest, Error> {
    let host = Platform::host();
    let found = image::choose_platform(&index.manifests, platform.unwrap_or(&host));
    let found = found.or_else(|| match platform {
        None => index.manifests.first(),
        Some(_) => None,
    });
    found
        .map(|entry| entry.digest)
        .ok_or_else(|| no_platform(reference, &index.manifests, platform.unwrap_or(&host)))
}

fn config(
    client: &Client,
    reference: &Reference,
    manifest: &Manifest,
) -> Result<ImageConfig, Error> {
    let wanted = &manifest.config;
    if wanted.size > CONFIG_LIMIT {
        return Err(Error::Unsupported {
            reference: reference.familiar(),
            why: format!("its configuration is larger than {CONFIG_LIMIT} bytes"),
        });
    }
    let mut bytes = Vec::new();
    client
        .blob(reference, wanted, None)?
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Layer {
            layer: wanted.digest,
            source,
        })?;
    parse(reference, "configuration", &bytes)
}

fn parse<T: serde::de::DeserializeOwned>(
    reference: &Reference,
    what: &str,
    bytes: &[u8],
) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|err| Error::Unsupported {
        reference: reference.familiar(),
        why: format!("its {what} cannot be read: {err}"),
    })
}
