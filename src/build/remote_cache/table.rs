//! All records of an export in one document, for places where each file costs a
//! request.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backend::{BackendError, Before, Named, RECORD_LIMIT, RecordKey, RecordKind};
use crate::oci::{Descriptor, Digest};

/// Largest document that is read or written, in bytes.
pub(super) const DOCUMENT_LIMIT: u64 = 4 * RECORD_LIMIT;
/// The version that is written.
const VERSION: u32 = 1;

/// The document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Document {
    version: u32,
    /// By the text of their keys.
    records: BTreeMap<String, Value>,
    /// What the records name, where the place itself does not list it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    blobs: Vec<Descriptor>,
}

/// Records by their keys, and the blobs that they name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    records: BTreeMap<RecordKey, Vec<u8>>,
    pub(super) blobs: BTreeMap<Digest, Descriptor>,
}

impl Table {
    /// Reads a document.
    ///
    /// # Errors
    /// [`BackendError::Version`] for one of another version, [`BackendError::Damaged`]
    /// for one that is none. A record under a name that makes no sense is left out.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BackendError> {
        #[derive(Deserialize)]
        struct Mark {
            version: u32,
        }
        let damaged = |err| BackendError::damaged("the list of its records", err);
        let mark: Mark = serde_json::from_slice(bytes).map_err(damaged)?;
        if mark.version != VERSION {
            return Err(BackendError::Version(mark.version));
        }
        let document: Document = serde_json::from_slice(bytes).map_err(damaged)?;
        let mut table = Self::default();
        for (name, value) in document.records {
            if let Some(key) = key_of(&name) {
                let record = serde_json::to_vec(&value).map_err(damaged)?;
                table.records.insert(key, record);
            }
        }
        let blobs = document.blobs.into_iter();
        table.blobs = blobs.map(|blob| (blob.digest, blob)).collect();
        Ok(table)
    }

    /// The document; the same table always gives the same bytes. `with_blobs` lists
    /// the blobs too.
    pub(super) fn to_bytes(&self, with_blobs: bool) -> Result<Vec<u8>, BackendError> {
        let damaged = |err| BackendError::damaged("a record", err);
        let mut document = Document {
            version: VERSION,
            records: BTreeMap::new(),
            blobs: Vec::new(),
        };
        if with_blobs {
            document.blobs = self.blobs.values().cloned().collect();
        }
        for (key, bytes) in &self.records {
            let value = serde_json::from_slice(bytes).map_err(damaged)?;
            document.records.insert(key.to_string(), value);
        }
        let bytes = serde_json::to_vec(&document).map_err(damaged)?;
        if bytes.len() as u64 > DOCUMENT_LIMIT {
            let why = format!("more than {DOCUMENT_LIMIT} bytes");
            return Err(BackendError::damaged("the list of its records", why));
        }
        Ok(bytes)
    }

    pub(super) fn get(&self, key: RecordKey) -> Option<&[u8]> {
        self.records.get(&key).map(Vec::as_slice)
    }

    pub(super) fn insert(&mut self, key: RecordKey, bytes: Vec<u8>) {
        self.records.insert(key, bytes);
    }

    /// What an export leaves behind: of this what it names, and of what `old` had
    /// everything where that stays.
    pub(super) fn exported(&self, named: &Named, before: Before, old: &Self) -> Self {
        let mut table = self.clone();
        table.records.retain(|key, _| named.records.contains(key));
        table.blobs.clone_from(&named.blobs);
        if before == Before::Stays {
            table.merge(old.clone());
        }
        table
    }

    /// Adds what is in `other` and not here.
    pub(super) fn merge(&mut self, other: Self) {
        for (key, bytes) in other.records {
            self.records.entry(key).or_insert(bytes);
        }
        for (digest, blob) in other.blobs {
            self.blobs.entry(digest).or_insert(blob);
        }
    }

    /// Whether there is nothing in it.
    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }
}

/// The key that its `Display` form names.
fn key_of(name: &str) -> Option<RecordKey> {
    let (kind, hex) = name.split_once('/')?;
    let kind = RecordKind::ALL.into_iter().find(|one| one.name() == kind)?;
    let id = Digest::from_hex(hex).ok()?;
    Some(RecordKey { kind, id })
}

/// A table that threads share.
#[derive(Debug, Default)]
pub(super) struct SharedTable(Mutex<Table>);

impl SharedTable {
    pub(super) fn new(table: Table) -> Self {
        Self(Mutex::new(table))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> RecordKey {
        RecordKey {
            kind: RecordKind::Step,
            id: Digest::of(text.as_bytes()),
        }
    }

    #[test]
    fn a_table_survives_its_document() {
        let mut table = Table::default();
        table.insert(key("a"), br#"{"version":1,"b":[2]}"#.to_vec());
        table.insert(key("c"), b"{}".to_vec());
        let blob = Descriptor::new("x", Digest::of(b"x"), 1);
        table.blobs.insert(blob.digest, blob);
        let bytes = table.to_bytes(true).unwrap();
        assert_eq!(Table::parse(&bytes).unwrap(), table);
        assert!(bytes.starts_with(br#"{"version":1,"records":{"step/"#));
        let named = Named {
            records: [key("c")].into(),
            blobs: BTreeMap::new(),
        };
        let mut table = table.exported(&named, Before::Goes, &Table::default());
        assert_eq!(
            (table.get(key("a")), table.get(key("c"))),
            (None, Some(&b"{}"[..]))
        );
        table.merge(Table::parse(&bytes).unwrap());
        assert_eq!(table.to_bytes(true).unwrap(), bytes);
    }

    #[test]
    fn other_documents_are_refused() {
        let check = |text: &str, part: &str| {
            let err = Table::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(err.contains(part), "{err}");
        };
        check("", "damaged");
        check("[]", "damaged");
        check(r#"{"version":2,"records":7}"#, "version 2");
        check(r#"{"version":1,"records":7}"#, "damaged");
        let odd = r#"{"version":1,"records":{"step/x":{},"nope/y":{},"../z":1}}"#;
        assert!(Table::parse(odd.as_bytes()).unwrap().is_empty());
    }
}
