//! The bytes of an index.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::oci::media_type;

/// An index of these entries: its media type and its bytes.
///
/// It is Docker's manifest list where every entry is one of Docker's manifests
/// and there is no annotation, which that form cannot carry; else OCI's index.
pub fn index(entries: &[Value], annotations: &BTreeMap<String, String>) -> (&'static str, Vec<u8>) {
    let is_docker = |entry: &Value| {
        entry["mediaType"] == media_type::DOCKER_MANIFEST && entry.get("annotations").is_none()
    };
    let docker = !entries.is_empty() && annotations.is_empty() && entries.iter().all(is_docker);
    let kind = if docker {
        media_type::DOCKER_INDEX
    } else {
        media_type::INDEX
    };
    let mut document = Map::new();
    document.insert("schemaVersion".to_owned(), json!(2));
    document.insert("mediaType".to_owned(), json!(kind));
    document.insert("manifests".to_owned(), json!(entries));
    if !annotations.is_empty() {
        document.insert("annotations".to_owned(), json!(annotations));
    }
    let mut bytes = Vec::new();
    // Three spaces are what Docker's client writes, so that both give one digest.
    let indent = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, indent);
    Value::Object(document)
        .serialize(&mut serializer)
        .expect("values of JSON can be written to memory");
    (kind, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_entries() {
        let docker = json!({"mediaType": media_type::DOCKER_MANIFEST, "size": 1});
        let oci = json!({"mediaType": media_type::MANIFEST, "size": 1});
        let kind = |entries: &[Value], annotated: bool| {
            let annotations = [("k".to_owned(), "v".to_owned())].into_iter();
            index(entries, &annotations.filter(|_| annotated).collect()).0
        };
        let docker_only = std::slice::from_ref(&docker);
        assert_eq!(kind(docker_only, false), media_type::DOCKER_INDEX);
        assert_eq!(kind(docker_only, true), media_type::INDEX);
        assert_eq!(kind(&[docker, oci], false), media_type::INDEX);
        assert_eq!(kind(&[], false), media_type::INDEX);
        let (_, bytes) = index(&[], &BTreeMap::new());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with("{\n   \"schemaVersion\": 2,\n"), "{text}");
    }
}
