//! Which part of an index is copied.

use serde_json::Value;

use super::super::Error;
use super::CopyOptions;
use crate::image;
use crate::oci::{Descriptor, Digest, Index, Platform, Reference, media_type};
use crate::registry::{Client, Fetched};

/// The annotation by which BuildKit's attestations name their image.
const ATTESTATION_OF: &str = "vnd.docker.reference.digest";

/// What is copied of what the source names.
pub(super) fn choose(
    client: &Client,
    source: &Reference,
    named: Fetched,
    options: &CopyOptions,
) -> Result<Fetched, Error> {
    if options.platforms.is_empty() || media_type::to_oci(&named.media_type) != media_type::INDEX {
        return Ok(named);
    }
    let index: Index = serde_json::from_slice(&named.bytes).map_err(|err| Error::Unsupported {
        reference: source.familiar(),
        why: format!("its index cannot be read: {err}"),
    })?;
    let mut kept: Vec<Digest> = Vec::new();
    for wanted in &options.platforms {
        let found = image::choose_platform(&index.manifests, wanted);
        let found = found.ok_or_else(|| no_platform(source, &index.manifests, wanted))?;
        kept.push(found.digest);
    }
    if let ([one], false) = (kept.as_slice(), options.prefer_index) {
        return Ok(client.manifest_by_digest(source, *one)?);
    }
    let bytes = only(&named.bytes, &kept).map_err(|err| Error::Unsupported {
        reference: source.familiar(),
        why: format!("its index cannot be read: {err}"),
    })?;
    Ok(Fetched {
        digest: Digest::of(&bytes),
        media_type: named.media_type,
        bytes,
    })
}

/// An index with these manifests and their attestations alone; its other members stay.
fn only(index: &[u8], kept: &[Digest]) -> serde_json::Result<Vec<u8>> {
    let mut index: Value = serde_json::from_slice(index)?;
    let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
    let is_kept = |entry: &Value| {
        let is = |text: &Value| {
            text.as_str()
                .is_some_and(|text| kept.iter().any(|k| k == text))
        };
        is(&entry["digest"]) || is(&entry["annotations"][ATTESTATION_OF])
    };
    if let Some(entries) = index["manifests"].as_array_mut() {
        entries.retain(is_kept);
    }
    serde_json::to_vec_pretty(&index)
}

/// That nothing is there for a platform, and for which there is something.
pub(in crate::transfer) fn no_platform(
    reference: &Reference,
    entries: &[Descriptor],
    wanted: &Platform,
) -> Error {
    let there = entries.iter().filter_map(|one| one.platform.as_ref());
    let mut there: Vec<String> = there
        .map(ToString::to_string)
        .filter(|text| text != "unknown/unknown")
        .collect();
    there.sort();
    there.dedup();
    Error::NoPlatform {
        reference: reference.familiar(),
        wanted: Box::new(wanted.clone()),
        there: if there.is_empty() {
            "nothing".to_owned()
        } else {
            there.join(", ")
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_keeps_its_other_members_and_attestations() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let entry = |digest: &Digest| format!(r#"{{"digest":"{digest}","size":1,"x":"y"}}"#);
        let attestation = |of: &Digest| {
            let own = Digest::of(of.hex().as_bytes());
            format!(r#"{{"digest":"{own}","annotations":{{"{ATTESTATION_OF}":"{of}"}}}}"#)
        };
        let text = format!(
            r#"{{"z":1,"manifests":[{},{},{},{}],"annotations":{{"k":"v"}}}}"#,
            entry(&a),
            entry(&b),
            attestation(&a),
            attestation(&b)
        );
        let bytes = only(text.as_bytes(), &[b]).unwrap();
        let want = format!(
            r#"{{"z":1,"manifests":[{},{}],"annotations":{{"k":"v"}}}}"#,
            entry(&b),
            attestation(&b)
        );
        let (got, want): (Value, Value) = (
            serde_json::from_slice(&bytes).unwrap(),
            serde_json::from_str(&want).unwrap(),
        );
        assert_eq!(got, want);
    }
}
