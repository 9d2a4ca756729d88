//! A vendor's file, as it is written, and the rules for it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::names;

/// The versions of the specification.
const VERSIONS: [&str; 10] = [
    "0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0",
];
/// Points of a container's life at which programs can be run.
///
/// Source: runtime-spec 1.2, config, "POSIX-platform Hooks".
pub(super) const HOOKS: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A file.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    cdi_version: String,
    /// `vendor.com/class`
    pub(super) kind: String,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
    pub(super) devices: Vec<Device>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    annotations: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) container_edits: ContainerEdits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct ContainerEdits {
    #[serde(deserialize_with = "or_default")]
    pub(super) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) device_nodes: Vec<DeviceNode>,
    #[serde(deserialize_with = "or_default")]
    net_devices: Vec<Value>,
    #[serde(deserialize_with = "or_default")]
    pub(super) hooks: Vec<Hook>,
    #[serde(deserialize_with = "or_default")]
    pub(super) mounts: Vec<Mount>,
    intel_rdt: Option<Value>,
    #[serde(rename = "additionalGids", deserialize_with = "or_default")]
    pub(super) additional_groups: Vec<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeviceNode {
    pub(super) path: String,
    pub(super) host_path: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) file_mode: Option<u32>,
    pub(super) permissions: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) host_path: String,
    pub(super) container_path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Hook {
    #[serde(rename = "hookName")]
    pub(super) name: String,
    pub(super) path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) env: Vec<String>,
    pub(super) timeout: Option<i64>,
}

/// What is null counts as absent.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Document {
    /// Reads a file's value.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub(super) fn read(value: Value) -> Result<Self, String> {
        let document: Self = serde_json::from_value(value).map_err(|err| err.to_string())?;
        document.check()?;
        Ok(document)
    }

    fn check(&self) -> Result<(), String> {
        let version = self.cdi_version.trim_start_matches('v');
        let version = VERSIONS.iter().position(|known| *known == version);
        let version = version.ok_or_else(|| format!("invalid version {:?}", self.cdi_version))?;
        let least = self.least_version();
        if version < least {
            return Err(format!(
                "the spec version must be at least v{} for what the file has",
                VERSIONS[least]
            ));
        }
        let kind = self.kind.split_once('/');
        let (vendor, class) = kind.ok_or_else(|| format!("invalid kind {:?}", self.kind))?;
        names::check_vendor(vendor)?;
        names::check_class(class)?;
        self.container_edits.check()?;
        if self.devices.is_empty() {
            return Err("invalid spec, no devices".to_owned());
        }
        let mut known = BTreeSet::new();
        for device in &self.devices {
            let name = &device.name;
            names::check_device(name)?;
            if !known.insert(name) {
                return Err(format!("invalid spec, multiple device {name:?}"));
            }
            if device.container_edits.is_empty() {
                return Err(format!("invalid device {name:?}, empty device edits"));
            }
            let edits = device.container_edits.check();
            edits.map_err(|why| format!("invalid device {name:?}: {why}"))?;
        }
        Ok(())
    }

    /// The first version that has all that is in the file, by its place among them.
    ///
    /// Source: SPEC.md, "Released versions".
    fn least_version(&self) -> usize {
        const MOUNT_TYPE: usize = 3;
        const HOST_PATH_OR_DIGIT: usize = 4;
        const ANNOTATIONS_OR_DOT: usize = 5;
        const GROUPS_OR_RDT: usize = 6;
        const NETWORK_DEVICES: usize = 9;
        let mut least = 0;
        let mut need = |version: usize, wanted: bool| {
            if wanted {
                least = least.max(version);
            }
        };
        let class = self.kind.split_once('/').map_or("", |(_, class)| class);
        need(ANNOTATIONS_OR_DOT, class.contains('.'));
        need(ANNOTATIONS_OR_DOT, !self.annotations.is_empty());
        for device in &self.devices {
            need(ANNOTATIONS_OR_DOT, !device.annotations.is_empty());
            let digit = device.name.starts_with(|c: char| c.is_ascii_digit());
            need(HOST_PATH_OR_DIGIT, digit);
        }
        let edits = self.devices.iter().map(|device| &device.container_edits);
        for edits in edits.chain([&self.container_edits]) {
            need(
                MOUNT_TYPE,
                edits.mounts.iter().any(|one| one.kind.is_some()),
            );
            let host = edits
                .device_nodes
                .iter()
                .any(|node| node.host_path.is_some());
            need(HOST_PATH_OR_DIGIT, host);
            let groups = !edits.additional_groups.is_empty();
            need(GROUPS_OR_RDT, groups || edits.intel_rdt.is_some());
            need(NETWORK_DEVICES, !edits.net_devices.is_empty());
        }
        least
    }
}

impl ContainerEdits {
    fn is_empty(&self) -> bool {
        self.env.is_empty()
            && self.device_nodes.is_empty()
            && self.net_devices.is_empty()
            && self.hooks.is_empty()
            && self.mounts.is_empty()
            && self.intel_rdt.is_none()
            && self.additional_groups.is_empty()
    }

    /// What is asked for and cannot be given, if anything.
    pub(super) fn unsupported(&self) -> Option<&'static str> {
        let network = (!self.net_devices.is_empty()).then_some("network devices");
        network.or(self
            .intel_rdt
            .as_ref()
            .map(|_| "a share of processor caches"))
    }

    fn check(&self) -> Result<(), String> {
        for variable in &self.env {
            check_variable(variable)?;
        }
        for node in &self.device_nodes {
            node.check()?;
        }
        for hook in &self.hooks {
            if !HOOKS.contains(&hook.name.as_str()) {
                return Err(format!("invalid hook name {:?}", hook.name));
            }
            if !hook.path.starts_with('/') {
                return Err(format!("invalid hook {:?} with no path", hook.name));
            }
            hook.env.iter().try_for_each(|one| check_variable(one))?;
        }
        for mount in &self.mounts {
            if mount.host_path.is_empty() {
                return Err("invalid mount, empty host path".to_owned());
            }
            if !mount.container_path.starts_with('/') {
                let path = &mount.container_path;
                return Err(format!("invalid mount, container path {path:?}"));
            }
        }
        Ok(())
    }
}

impl DeviceNode {
    fn check(&self) -> Result<(), String> {
        if !self.path.starts_with('/') {
            return Err(format!("invalid device node, path {:?}", self.path));
        }
        let kind = self.kind.as_deref().unwrap_or_default();
        if !["", "b", "c", "u", "p"].contains(&kind) {
            return Err(format!("device {:?}: invalid type {kind:?}", self.path));
        }
        let permissions = self.permissions.as_deref().unwrap_or_default();
        if !permissions.chars().all(|c| "rwm".contains(c)) {
            let path = &self.path;
            return Err(format!(
                "device {path:?}: invalid permissions {permissions:?}"
            ));
        }
        Ok(())
    }
}

fn check_variable(variable: &str) -> Result<(), String> {
    match variable.split_once('=') {
        Some((name, _)) if !name.is_empty() && !variable.contains('\0') => Ok(()),
        _ => Err(format!("invalid environment variable {variable:?}")),
    }
}
