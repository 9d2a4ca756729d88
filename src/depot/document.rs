//! Manifests and indexes as the registry sees them: what they name.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::oci::{Digest, media_type};
use crate::store::{HostedManifest, HostedPart, PartKind};

/// What a manifest or index says that matters here.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// Its media type.
    pub(super) media_type: String,
    /// What it names.
    pub(super) parts: Vec<HostedPart>,
    /// The manifest that it refers to.
    pub(super) subject: Option<Digest>,
    /// What kind of artifact it is, for the list of referrers.
    pub(super) artifact_type: Option<String>,
    /// Its annotations.
    pub(super) annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<WirePart>,
    layers: Option<Vec<WirePart>>,
    manifests: Option<Vec<WirePart>>,
    subject: Option<WirePart>,
    artifact_type: Option<String>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    // Docker's first schema, to say what it is.
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePart {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
}

impl WirePart {
    fn blob(&self) -> HostedPart {
        // Layers that registries do not carry.
        let is_foreign =
            self.media_type.contains(".foreign.") || self.media_type.contains(".nondistributable.");
        self.part(if is_foreign {
            PartKind::Elsewhere
        } else {
            PartKind::Blob
        })
    }

    fn part(&self, kind: PartKind) -> HostedPart {
        HostedPart {
            digest: self.digest,
            size: self.size,
            kind,
        }
    }
}

impl Document {
    /// Reads a document that was sent with a media type; the error says what is wrong.
    pub(super) fn read(sent_as: Option<&str>, bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire = serde_json::from_slice(bytes)
            .map_err(|err| format!("the manifest cannot be read: {err}"))?;
        if wire.fs_layers.is_some() || wire.schema_version != 2 {
            return Err("only manifests of schema version 2 are taken".to_owned());
        }
        let sent_as = sent_as.map(|text| text.split(';').next().unwrap_or(text).trim());
        let own = wire.media_type.as_deref();
        if let (Some(sent), Some(own)) = (sent_as, own)
            && sent != own
        {
            return Err(format!(
                "it was sent as `{sent}` and says that it is `{own}`"
            ));
        }
        let guess = if wire.manifests.is_some() {
            media_type::INDEX
        } else {
            media_type::MANIFEST
        };
        let kind = sent_as.or(own).unwrap_or(guess).to_owned();
        let is_index = match media_type::to_oci(&kind) {
            media_type::INDEX => true,
            media_type::MANIFEST => false,
            _ => return Err(format!("the media type `{kind}` is not known")),
        };
        // A document that can be read in two ways means what its reader wants.
        let is_image = wire.config.is_some() || wire.layers.is_some();
        if is_image == is_index || wire.manifests.is_some() != is_index {
            return Err(format!("its members are not those of `{kind}`"));
        }
        let mut parts = Vec::new();
        let artifact_type = match (&wire.config, &wire.layers) {
            (Some(config), Some(layers)) => {
                parts.push(config.part(PartKind::Blob));
                parts.extend(layers.iter().map(WirePart::blob));
                let own = wire.artifact_type.filter(|text| !text.is_empty());
                own.or_else(|| Some(config.media_type.clone()))
            }
            (None, None) => wire.artifact_type,
            _ => return Err("it lacks its configuration or its layers".to_owned()),
        };
        let children = wire.manifests.iter().flatten();
        parts.extend(children.map(|part| part.part(PartKind::Manifest)));
        Ok(Self {
            media_type: kind,
            parts,
            subject: wire.subject.map(|subject| subject.digest),
            artifact_type,
            annotations: wire.annotations.unwrap_or_default(),
        })
    }

    /// The same with parts that need not be there.
    #[must_use]
    pub(super) fn sparse(mut self) -> Self {
        for part in &mut self.parts {
            part.kind = PartKind::Elsewhere;
        }
        self
    }

    /// The row for these bytes.
    pub(super) fn row(&self, digest: Digest, bytes: Vec<u8>) -> HostedManifest {
        HostedManifest {
            digest,
            media_type: self.media_type.clone(),
            bytes,
            subject: self.subject,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn read(kind: Option<&str>, text: &str) -> Result<Document, String> {
        let part = format!(r#"{{"mediaType":"a/b","digest":"{EMPTY}","size":0}}"#);
        Document::read(kind, text.replace("PART", &part).as_bytes())
    }

    #[test]
    fn what_a_manifest_names_is_found() {
        let text = r#"{"schemaVersion":2,"config":PART,"layers":[PART],"subject":PART}"#;
        let document = read(None, text).unwrap();
        assert_eq!(document.media_type, media_type::MANIFEST);
        assert_eq!(document.parts.len(), 2);
        assert_eq!(document.artifact_type.as_deref(), Some("a/b"));
        assert!(document.subject.is_some());
        let index = read(None, r#"{"schemaVersion":2,"manifests":[PART]}"#).unwrap();
        assert_eq!(index.media_type, media_type::INDEX);
        assert_eq!(index.parts[0].kind, PartKind::Manifest);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let both = r#"{"schemaVersion":2,"config":PART,"layers":[],"manifests":[]}"#;
        assert!(read(Some(media_type::INDEX), both).is_err());
        assert!(read(Some(media_type::MANIFEST), both).is_err());
        let other = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","config":PART,"layers":[]}}"#,
            media_type::DOCKER_MANIFEST
        );
        assert!(read(Some(media_type::MANIFEST), &other).is_err());
        assert!(read(Some(media_type::DOCKER_MANIFEST), &other).is_ok());
        for wrong in [
            "",
            "[]",
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":2,"config":PART}"#,
            r#"{"schemaVersion":2,"config":{"digest":"x","size":1},"layers":[]}"#,
            r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:00","size":-1}]}"#,
        ] {
            assert!(read(None, wrong).is_err(), "{wrong}");
        }
    }
}
