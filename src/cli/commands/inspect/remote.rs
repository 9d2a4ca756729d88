//! `image inspect --remote`

use rbuild::engine::{Engine, Reach};
use rbuild::oci::{Descriptor, Platform, Reference};
use rbuild::transfer::Remote;
use serde_json::{Value, json};

use super::container_config;
use crate::cli::commands::registry::reference;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// What is asked of a registry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) platform: Option<&'a Platform>,
    pub(super) reach: Reach,
}

/// Prints manifests as they are; of one image nothing else, so that its digest can be taken.
pub(super) fn raw(
    names: &[String],
    asked: &Asked<'_>,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let [name] = names else {
        return Err(Failure::new(1, "--raw shows one image at a time"));
    };
    let manifest = engine.remote_manifest(&reference(name)?, asked.platform, asked.reach)?;
    output.bytes(&manifest.bytes)?;
    Ok(0)
}

/// An image as `image inspect` shows it, as far as its registry knows it.
pub(super) fn document(name: &str, asked: &Asked<'_>, engine: &Engine) -> Result<Value, Failure> {
    let name = reference(name)?;
    let remote = engine.remote_image(&name, asked.platform, asked.reach)?;
    let mut document = image(&name, &remote);
    document["Descriptor"] = json!({
        "mediaType": remote.named.media_type,
        "digest": remote.named.digest,
        "size": remote.named.bytes.len(),
    });
    let own = Descriptor {
        platform: remote.config.as_ref().map(|config| Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
            os_version: None,
        }),
        ..Descriptor::new(
            &remote.chosen.media_type,
            remote.chosen.digest,
            remote.chosen.bytes.len() as u64,
        )
    };
    let entries = match &remote.index {
        Some(index) => index.manifests.as_slice(),
        None => std::slice::from_ref(&own),
    };
    document["Manifests"] = entries.iter().map(manifest).collect();
    Ok(document)
}

fn image(name: &Reference, remote: &Remote) -> Value {
    let tags: Vec<String> = name
        .tag()
        .map(|tag| name.with_tag(tag).familiar())
        .into_iter()
        .collect();
    let digests = [name.with_digest(remote.named.digest).familiar()];
    let bytes: u64 = remote.manifest.layers.iter().map(|layer| layer.size).sum();
    let Some(config) = &remote.config else {
        return json!({
            "Id": remote.id,
            "RepoTags": tags,
            "RepoDigests": digests,
            "ArtifactType": remote.manifest.config.media_type,
            "Size": bytes,
            "Layers": remote.manifest.layers,
        });
    };
    let comment = config.history.last().and_then(|last| last.comment.clone());
    let mut document = json!({
        "Id": remote.id,
        "RepoTags": tags,
        "RepoDigests": digests,
        "Parent": "",
        "Comment": comment.unwrap_or_default(),
        "Created": config.created.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
        "DockerVersion": "",
        "Author": config.author.as_deref().unwrap_or(""),
        "Architecture": config.architecture,
    });
    if let Some(variant) = &config.variant {
        document["Variant"] = json!(variant);
    }
    document["Os"] = json!(config.os);
    document["Size"] = json!(bytes);
    document["RootFS"] = json!({"Type": "layers", "Layers": config.rootfs.diff_ids});
    document["Config"] = container_config(&config.config);
    document
}

/// An entry of an index, as Docker's API lists manifests.
///
/// Source: Docker Engine API 1.48, "ImageManifestSummary".
fn manifest(entry: &Descriptor) -> Value {
    let attested = entry.annotations.get("vnd.docker.reference.digest");
    let mut shown = json!({"ID": entry.digest, "Descriptor": entry});
    match (&entry.platform, attested) {
        (_, Some(of)) => {
            shown["Kind"] = json!("attestation");
            shown["AttestationData"] = json!({"For": of});
        }
        (Some(platform), None) => {
            shown["Kind"] = json!("image");
            shown["ImageData"] = json!({"Platform": platform});
        }
        (None, None) => shown["Kind"] = json!("unknown"),
    }
    shown
}
