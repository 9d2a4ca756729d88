//! The documents of docker archives.
//!
//! Source: moby, image/spec/v1.3.md, "Combined Image JSON + Filesystem
//! Changeset Format", and what `docker save` 25 and later writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One image in `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DockerImage {
    /// Path of the configuration.
    pub(super) config: String,
    /// Familiar names; Docker writes `null` for none.
    #[serde(default)]
    pub(super) repo_tags: Option<Vec<String>>,
    /// Paths of the layers, bottom first.
    #[serde(default)]
    pub(super) layers: Option<Vec<String>>,
    /// Descriptors of the layers by diff ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) layer_sources: Option<BTreeMap<String, LayerSource>>,
}

/// A descriptor in `LayerSources`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LayerSource {
    pub(super) media_type: String,
    pub(super) size: u64,
    pub(super) digest: String,
}

/// `repositories`: repository, tag, and the last layer's identifier.
pub(super) type Repositories = BTreeMap<String, BTreeMap<String, String>>;

/// `oci-layout`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LayoutHeader {
    pub(super) image_layout_version: String,
    #[serde(flatten)]
    pub(super) extra: Map<String, Value>,
}

/// The annotation with an image's full name that containerd and Docker use.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";
/// OCI's annotation: the tag, or with some tools the full name.
pub(super) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// BuildKit's mark of manifests that are no image.
pub(super) const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

pub(super) const INDEX_JSON: &str = "index.json";
pub(super) const MANIFEST_JSON: &str = "manifest.json";
pub(super) const OCI_LAYOUT: &str = "oci-layout";
pub(super) const REPOSITORIES: &str = "repositories";
/// Where blobs lie, with a slash at the end.
pub(super) const BLOBS: &str = "blobs/sha256/";
