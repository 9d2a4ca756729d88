//! The documents of an exported cache. JSON, one for each record; `docs/cache.md`
//! describes them.

use serde::{Deserialize, Serialize};

use super::backend::{Backend, BackendError, RecordKey, RecordKind};
use crate::oci::{CacheKey, Descriptor, DiffId, Digest};
use crate::store::KeyPart;

/// The version that every record has.
pub(super) const VERSION: u32 = 1;
/// Most layers that a record may list: more than a kernel can stack.
const LAYERS: usize = 4096;

/// The result of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StepRecord {
    /// [`VERSION`].
    pub(super) version: u32,
    /// The cache key.
    pub(super) key: CacheKey,
    /// Which step it is, whatever its inputs.
    pub(super) line: Digest,
    /// The instruction, for people.
    pub(super) description: String,
    /// The whole tree, bottom first, the base image's layers included.
    pub(super) layers: Vec<DiffId>,
    /// The parts of the key and its notes, names and values.
    pub(super) parts: Vec<(String, String)>,
    /// What it is found by as well, so that whoever carries it on can say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Digest>,
}

/// Another name of a step's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ContentRecord {
    /// [`VERSION`].
    pub(super) version: u32,
    /// The step's cache key.
    pub(super) step: CacheKey,
}

/// Where the bytes of a layer are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LayerRecord {
    /// [`VERSION`].
    pub(super) version: u32,
    /// Digest of the plain tar.
    pub(super) diff_id: DiffId,
    /// Digest of the blob.
    pub(super) blob: Digest,
    /// Length of the blob in bytes.
    pub(super) size: u64,
    /// How it is compressed, as an OCI media type.
    pub(super) media_type: String,
    /// Length of the plain tar in bytes.
    pub(super) tar_size: u64,
    /// When the layer was made, nanoseconds since 1970.
    pub(super) created_at: i64,
    /// What made the blob of the plain tar, as the store names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) form: Option<String>,
}

/// A document with a version and a kind.
pub(super) trait Record: Serialize + serde::de::DeserializeOwned {
    /// Its kind.
    const KIND: RecordKind;

    /// What is wrong with it, as the record under `id`.
    fn check(&self, id: Digest) -> Result<(), &'static str>;
}

impl Record for StepRecord {
    const KIND: RecordKind = RecordKind::Step;

    fn check(&self, id: Digest) -> Result<(), &'static str> {
        if self.version != VERSION {
            return Err("its version is unknown");
        }
        if self.key.0 != id {
            return Err("it is another step's");
        }
        if self.layers.is_empty() || self.layers.len() > LAYERS {
            return Err("its number of layers makes no sense");
        }
        Ok(())
    }
}

impl Record for ContentRecord {
    const KIND: RecordKind = RecordKind::Content;

    fn check(&self, _id: Digest) -> Result<(), &'static str> {
        (self.version == VERSION)
            .then_some(())
            .ok_or("its version is unknown")
    }
}

impl Record for LayerRecord {
    const KIND: RecordKind = RecordKind::Layer;

    fn check(&self, id: Digest) -> Result<(), &'static str> {
        if self.version != VERSION {
            return Err("its version is unknown");
        }
        if self.diff_id.0 != id {
            return Err("it is another layer's");
        }
        Ok(())
    }
}

impl LayerRecord {
    /// The blob.
    pub(super) fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.blob, self.size)
    }
}

impl StepRecord {
    /// The parts as the store keeps them.
    pub(super) fn key_parts(&self) -> Vec<KeyPart> {
        let part = |(name, value): &(String, String)| KeyPart {
            name: name.clone(),
            value: value.clone(),
        };
        self.parts.iter().map(part).collect()
    }
}

/// Reads a record.
///
/// # Errors
/// [`BackendError::Damaged`] for one that is no JSON, of another version, or under
/// the wrong key.
pub(super) fn get<T: Record>(backend: &dyn Backend, id: Digest) -> Result<Option<T>, BackendError> {
    let key = RecordKey { kind: T::KIND, id };
    let Some(bytes) = backend.get_record(key)? else {
        return Ok(None);
    };
    parse(key, &bytes).map(Some)
}

fn parse<T: Record>(key: RecordKey, bytes: &[u8]) -> Result<T, BackendError> {
    let what = || format!("record {}/{}", key.kind.name(), key.id.short());
    let record: T =
        serde_json::from_slice(bytes).map_err(|err| BackendError::damaged(what(), err))?;
    match record.check(key.id) {
        Ok(()) => Ok(record),
        Err(why) => Err(BackendError::damaged(what(), why)),
    }
}

/// Writes a record and returns its key.
pub(super) fn put<T: Record>(
    backend: &dyn Backend,
    id: Digest,
    record: &T,
) -> Result<RecordKey, BackendError> {
    let key = RecordKey { kind: T::KIND, id };
    let bytes = serde_json::to_vec(record).map_err(|err| BackendError::damaged(key, err))?;
    backend.put_record(key, &bytes)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> StepRecord {
        StepRecord {
            version: VERSION,
            key: CacheKey(Digest::of(b"key")),
            line: Digest::of(b"line"),
            description: "RUN make".to_owned(),
            layers: vec![DiffId(Digest::of(b"layer"))],
            parts: vec![("user".to_owned(), String::new())],
            content: None,
        }
    }

    /// What is here was written by somebody's older version: it must be read for ever.
    #[test]
    fn records_of_version_1_stay() {
        let text = serde_json::to_string(&step()).unwrap();
        let text = text.replace(&Digest::of(b"key").to_string(), "KEY");
        let text = text.replace(&Digest::of(b"line").to_string(), "LINE");
        let text = text.replace(&Digest::of(b"layer").to_string(), "LAYER");
        assert_eq!(
            text,
            r#"{"version":1,"key":"KEY","line":"LINE","description":"RUN make","layers":["LAYER"],"parts":[["user",""]]}"#
        );
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let good = step();
        let key = |id| RecordKey {
            kind: RecordKind::Step,
            id,
        };
        let bytes = serde_json::to_vec(&good).unwrap();
        assert_eq!(parse::<StepRecord>(key(good.key.0), &bytes).unwrap(), good);
        let check = |bytes: &[u8], id, part: &str| {
            let err = parse::<StepRecord>(key(id), bytes).unwrap_err().to_string();
            assert!(err.contains(part), "{err}");
        };
        check(&bytes[..bytes.len() / 2], good.key.0, "EOF");
        check(b"\xff\xfe", good.key.0, "damaged");
        check(&bytes, Digest::of(b"other"), "another step's");
        let mut wrong = good.clone();
        wrong.version = 2;
        check(&serde_json::to_vec(&wrong).unwrap(), good.key.0, "version");
        let mut wrong = good.clone();
        wrong.layers.clear();
        check(&serde_json::to_vec(&wrong).unwrap(), good.key.0, "layers");
    }
}
