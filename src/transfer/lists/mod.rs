//! Manifest lists that are put together here and pushed afterwards.
//!
//! A list names images on registries, or of the store, with the platform that
//! each is for. It is kept in a file of its own until it is pushed or removed;
//! no image is fetched for it.

mod document;
mod file;
mod push;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::look;
use super::{Error, Remote};
use crate::image::Image;
use crate::oci::{Digest, ImageConfig, ImageId, Platform, Reference, media_type};
use crate::registry::{Client, Fetched};

pub use document::index;
pub use file::Lists;
pub use push::{PushedList, push_list};

/// A list of manifests under construction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct List {
    /// The full name that it is pushed by.
    pub name: String,
    /// Annotations of the index itself; with one it is an OCI index.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// What it names, in order.
    pub members: Vec<Member>,
}

/// One image of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The full name by which it was added.
    pub name: String,
    /// Where its content is.
    pub source: Source,
    /// Its descriptor as it stands in the index, platform included. Members that
    /// are not known here are kept.
    pub entry: Value,
}

/// Where the content of a member is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// In the repository of this full name.
    Registry(String),
    /// An image of the store, which goes with the list when it is pushed.
    Store(ImageId),
}

/// What `annotate` changes of a member.
#[derive(Debug, Clone, Default)]
pub struct ListChange {
    /// The operating system.
    pub os: Option<String>,
    /// The architecture.
    pub architecture: Option<String>,
    /// The architecture's variant.
    pub variant: Option<String>,
    /// The operating system's version.
    pub os_version: Option<String>,
    /// Features that the operating system must have; added to those that are there.
    pub os_features: Vec<String>,
    /// Annotations of the member's descriptor.
    pub annotations: Vec<(String, String)>,
}

impl Member {
    /// The digest of its manifest, as far as it is known.
    pub fn digest(&self) -> Option<Digest> {
        self.entry["digest"].as_str()?.parse().ok()
    }

    /// A member for an image of the store; what is told of its manifest is what
    /// the store has, which a push may compress otherwise.
    pub fn stored(name: &str, image: &Image) -> Self {
        let kind = image.manifest.media_type.as_deref();
        Self {
            name: name.to_owned(),
            source: Source::Store(image.id),
            entry: json!({
                "mediaType": kind.unwrap_or(media_type::MANIFEST),
                "size": image.manifest_bytes.len(),
                "digest": image.manifest_digest,
                "platform": platform_of(&image.config),
            }),
        }
    }

    /// A member for a manifest on a registry.
    fn remote(name: &Reference, repository: &Reference, entry: Value) -> Self {
        Self {
            name: name.to_string(),
            source: Source::Registry(repository.repository()),
            entry,
        }
    }

    /// Changes its platform and annotations.
    pub fn change(&mut self, change: &ListChange) {
        let texts = [
            ("os", &change.os),
            ("architecture", &change.architecture),
            ("variant", &change.variant),
            ("os.version", &change.os_version),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                object(&mut self.entry, "platform").insert(key.to_owned(), json!(text));
            }
        }
        if !change.os_features.is_empty() {
            let platform = object(&mut self.entry, "platform");
            let features = platform.entry("os.features").or_insert_with(|| json!([]));
            if let Some(features) = features.as_array_mut() {
                for feature in &change.os_features {
                    if !features.iter().any(|own| own == feature) {
                        features.push(json!(feature));
                    }
                }
            }
        }
        sort_platform(&mut self.entry);
        for (key, value) in &change.annotations {
            object(&mut self.entry, "annotations").insert(key.clone(), json!(value));
        }
    }
}

/// Brings a platform's members into the order in which Docker's client writes
/// them, so that the same list gets the same digest.
fn sort_platform(entry: &mut Value) {
    const ORDER: [&str; 5] = ["architecture", "os", "os.version", "os.features", "variant"];
    if let Some(platform) = entry["platform"].as_object_mut() {
        let mut sorted = Map::new();
        for key in ORDER {
            if let Some(value) = platform.shift_remove(key) {
                sorted.insert(key.to_owned(), value);
            }
        }
        sorted.append(platform);
        *platform = sorted;
    }
}

/// The object under a key, made when it is not there.
fn object<'v>(value: &'v mut Value, key: &str) -> &'v mut Map<String, Value> {
    if !value[key].is_object() {
        value[key] = Value::Object(Map::new());
    }
    value[key].as_object_mut().expect("it was just made one")
}

impl List {
    /// An empty list.
    pub fn new(name: &Reference) -> Self {
        Self {
            name: name.to_string(),
            annotations: BTreeMap::new(),
            members: Vec::new(),
        }
    }

    /// Adds what a name stands for, in the place of what it stood for before.
    pub fn put(&mut self, members: Vec<Member>) {
        let named = |own: &Member| members.iter().any(|new| new.name == own.name);
        let at = self.members.iter().position(named);
        self.members.retain(|own| !named(own));
        let at = at.unwrap_or(self.members.len());
        self.members.splice(at..at, members);
    }

    /// The member of this name, or with this digest.
    pub fn find(&mut self, text: &str) -> Option<&mut Member> {
        let digest: Option<Digest> = text.parse().ok();
        let name = text.parse::<Reference>().ok().map(|name| name.to_string());
        self.members.iter_mut().find(|own| {
            Some(&own.name) == name.as_ref() || (digest.is_some() && own.digest() == digest)
        })
    }
}

/// The members that a name on a registry stands for: itself with the platform of
/// its configuration, or each that its index names.
pub fn members(client: &Client, name: &Reference) -> Result<(Vec<Member>, Fetched), Error> {
    let named = client.manifest(name)?;
    if media_type::to_oci(&named.media_type) == media_type::INDEX {
        let index: Value =
            serde_json::from_slice(&named.bytes).map_err(|err| Error::Unsupported {
                reference: name.familiar(),
                why: format!("its index cannot be read: {err}"),
            })?;
        let entries = index["manifests"].as_array().cloned().unwrap_or_default();
        let good = |entry: &Value| {
            let digest = entry["digest"].as_str();
            digest.is_some_and(|digest| digest.parse::<Digest>().is_ok())
        };
        let members = entries
            .into_iter()
            .filter(good)
            .map(|entry| Member::remote(name, name, entry))
            .collect();
        return Ok((members, named));
    }
    let remote = look::look_at(client, name, named.clone())?;
    let entry = entry_of(&remote);
    Ok((vec![Member::remote(name, name, entry)], named))
}

/// The descriptor of a manifest for an index.
fn entry_of(remote: &Remote) -> Value {
    let mut entry = json!({
        "mediaType": remote.chosen.media_type,
        "size": remote.chosen.bytes.len(),
        "digest": remote.chosen.digest,
    });
    if let Some(config) = &remote.config {
        entry["platform"] = platform_of(config);
    }
    entry
}

/// The platform of a configuration, as an index tells it.
fn platform_of(config: &ImageConfig) -> Value {
    let platform = Platform {
        os: config.os.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone(),
        os_version: config
            .extra
            .get("os.version")
            .and_then(Value::as_str)
            .map(str::to_owned),
    };
    let mut entry = json!({"platform": platform});
    if let Some(features) = config.extra.get("os.features") {
        entry["platform"]["os.features"] = features.clone();
    }
    sort_platform(&mut entry);
    entry["platform"].take()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, digest: &Digest) -> Member {
        let name: Reference = name.parse().unwrap();
        let entry = json!({"mediaType": "t", "digest": digest, "x": 1});
        Member::remote(&name, &name, entry)
    }

    #[test]
    fn members_are_found_by_name_and_by_digest() {
        let mut list = List::new(&"h:1/l".parse().unwrap());
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        list.put(vec![member("h:1/x:a", &b)]);
        list.put(vec![member("h:1/x:b", &b)]);
        list.put(vec![member("h:1/x:a", &a)]);
        let names: Vec<&str> = list.members.iter().map(|own| own.name.as_str()).collect();
        assert_eq!(names, ["h:1/x:a", "h:1/x:b"]);
        assert_eq!(list.find("h:1/x:b").unwrap().digest(), Some(b));
        assert_eq!(list.find(&a.to_string()).unwrap().name, "h:1/x:a");
        assert!(list.find("h:1/x:c").is_none());
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let mut member = member("h:1/x:a", &Digest::of(b"a"));
        let change = ListChange {
            architecture: Some("arm64".to_owned()),
            os_features: vec!["f".to_owned(), "f".to_owned()],
            annotations: vec![("k".to_owned(), "v".to_owned())],
            ..ListChange::default()
        };
        member.change(&change);
        member.change(&ListChange {
            os: Some("linux".to_owned()),
            ..ListChange::default()
        });
        let want = json!({"architecture": "arm64", "os.features": ["f"], "os": "linux"});
        assert_eq!(member.entry["platform"], want);
        let order: Vec<&String> = member.entry["platform"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        assert_eq!(order, ["architecture", "os", "os.features"]);
        assert_eq!(member.entry["annotations"]["k"], "v");
        assert_eq!(member.entry["x"], 1);
    }
}
