//! The documents of an image: an index, its manifests, and what they name.

use std::collections::HashSet;

use serde::Deserialize;

use super::super::Error;
use super::super::at_once::all;
use crate::oci::{Descriptor, Digest, Reference, media_type};
use crate::registry::{Client, Fetched};

/// Most indexes within indexes.
const DEPTH: usize = 4;
/// Most documents of one image.
const COUNT: usize = 2000;
/// Most bytes of documents, all together.
const BYTES: usize = 64 << 20;

/// A manifest or an index with what it names.
#[derive(Debug, Clone)]
pub(in crate::transfer) struct Document {
    pub(in crate::transfer) digest: Digest,
    pub(in crate::transfer) media_type: String,
    pub(in crate::transfer) bytes: Vec<u8>,
    /// The documents that an index names.
    children: Vec<Descriptor>,
    /// Configuration and layers.
    blobs: Vec<Descriptor>,
    /// What it refers to.
    pub(in crate::transfer) subject: Option<Descriptor>,
    /// What kind of artifact it is.
    pub(in crate::transfer) artifact_type: Option<String>,
    pub(in crate::transfer) annotations: std::collections::BTreeMap<String, String>,
}

/// The members of manifests, indexes and old artifact manifests.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Members {
    schema_version: Option<u32>,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
    blobs: Vec<Descriptor>,
    manifests: Vec<Descriptor>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
    annotations: std::collections::BTreeMap<String, String>,
}

impl Document {
    /// Reads a document as far as a copy must know it.
    pub(in crate::transfer) fn read(of: &Reference, fetched: Fetched) -> Result<Self, Error> {
        let wrong = |why: String| Error::Unsupported {
            reference: of.with_digest(fetched.digest).familiar(),
            why,
        };
        let members: Members = serde_json::from_slice(&fetched.bytes)
            .map_err(|err| wrong(format!("its manifest cannot be read: {err}")))?;
        if members.schema_version == Some(1) {
            return Err(wrong(
                "it is in Docker's schema 1, whose layers cannot be told apart from their history"
                    .to_owned(),
            ));
        }
        let kind = members.artifact_type.or_else(|| {
            let config = members.config.as_ref()?;
            Some(config.media_type.clone())
        });
        let blobs = members.config.into_iter().chain(members.layers);
        Ok(Self {
            digest: fetched.digest,
            media_type: fetched.media_type,
            bytes: fetched.bytes,
            children: members.manifests,
            blobs: blobs
                .chain(members.blobs)
                .filter(|blob| !is_elsewhere(blob))
                .collect(),
            subject: members.subject,
            artifact_type: kind,
            annotations: members.annotations,
        })
    }

    /// The descriptor by which an index names it.
    pub(in crate::transfer) fn descriptor(&self) -> Descriptor {
        Descriptor {
            artifact_type: self.artifact_type.clone(),
            annotations: self.annotations.clone(),
            ..Descriptor::new(&self.media_type, self.digest, self.bytes.len() as u64)
        }
    }
}

/// Whether a layer lies somewhere else than in registries.
fn is_elsewhere(blob: &Descriptor) -> bool {
    !blob.urls.is_empty()
        && (blob.media_type.contains("foreign") || blob.media_type.contains("nondistributable"))
}

/// A document and those beneath it that the target lacks.
#[derive(Debug)]
pub(super) struct Tree {
    documents: Vec<Document>,
    /// Those that the target has with all that is beneath them.
    there: Vec<Digest>,
}

impl Tree {
    /// Fetches what is beneath `root`, a level at a time.
    pub(super) fn gather(
        client: &Client,
        source: &Reference,
        target: &Reference,
        root: Fetched,
    ) -> Result<Self, Error> {
        let root = Document::read(source, root)?;
        let mut seen = HashSet::from([root.digest]);
        let mut tree = Self {
            documents: vec![root],
            there: Vec::new(),
        };
        let (mut level, mut bytes) = (0..1, tree.documents[0].bytes.len());
        for _ in 0..=DEPTH {
            let named = tree.documents[level.clone()].iter();
            let mut next: Vec<Descriptor> = Vec::new();
            for child in named.flat_map(|document| &document.children) {
                if seen.insert(child.digest) {
                    next.push(child.clone());
                }
            }
            if next.is_empty() {
                return Ok(tree);
            }
            if seen.len() > COUNT {
                break;
            }
            let fetched = all(next.len(), |index| {
                one(client, source, target, &next[index])
            })?;
            let begin = tree.documents.len();
            for (child, document) in next.iter().zip(fetched) {
                match document {
                    None => tree.there.push(child.digest),
                    Some(document) => {
                        bytes += document.bytes.len();
                        tree.documents.push(document);
                    }
                }
            }
            if bytes > BYTES {
                break;
            }
            level = begin..tree.documents.len();
        }
        Err(Error::Unsupported {
            reference: source.familiar(),
            why: format!(
                "it has more than {COUNT} manifests, more than {BYTES} bytes of them, or indexes nested more than {DEPTH} deep"
            ),
        })
    }

    /// The blobs that the documents name, each once.
    pub(super) fn blobs(&self) -> Vec<Descriptor> {
        let mut seen = HashSet::new();
        let named = self.documents.iter().flat_map(|document| &document.blobs);
        named
            .filter(|blob| seen.insert(blob.digest))
            .cloned()
            .collect()
    }

    /// The root, and the others so that each comes after all that it names.
    pub(super) fn in_order(&self) -> (&Document, Vec<&Document>) {
        let mut done = HashSet::new();
        let mut order = Vec::new();
        self.visit(&self.documents[0], &mut done, &mut order);
        // The root names all others, so it is the last.
        order.pop();
        (&self.documents[0], order)
    }

    fn visit<'t>(
        &'t self,
        document: &'t Document,
        done: &mut HashSet<Digest>,
        order: &mut Vec<&'t Document>,
    ) {
        if !done.insert(document.digest) {
            return;
        }
        for child in &document.children {
            let found = self.documents.iter().find(|own| own.digest == child.digest);
            if let Some(found) = found {
                self.visit(found, done, order);
            }
        }
        order.push(document);
    }

    /// How many documents are sent.
    pub(super) fn count(&self) -> usize {
        self.documents.len()
    }

    /// Every document's digest, those that the target had included.
    pub(super) fn digests(&self) -> Vec<Digest> {
        let own = self.documents.iter().map(|document| document.digest);
        own.chain(self.there.iter().copied()).collect()
    }
}

/// One document that an index names; `None` when the target has it with its blobs.
fn one(
    client: &Client,
    source: &Reference,
    target: &Reference,
    child: &Descriptor,
) -> Result<Option<Document>, Error> {
    // An index may be there without what it names; a manifest may not.
    if media_type::to_oci(&child.media_type) == media_type::MANIFEST
        && client
            .find_manifest(&target.with_digest(child.digest))?
            .is_some()
    {
        return Ok(None);
    }
    let fetched = client.manifest_by_digest(source, child.digest)?;
    Document::read(source, fetched).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(json: &str) -> Result<Document, Error> {
        let bytes = json.as_bytes().to_vec();
        let fetched = Fetched {
            digest: Digest::of(&bytes),
            media_type: media_type::MANIFEST.to_owned(),
            bytes,
        };
        Document::read(&"a/b".parse().unwrap(), fetched)
    }

    fn descriptor(text: &str, more: &str) -> String {
        let digest = Digest::of(text.as_bytes());
        format!(r#"{{"mediaType":"t","digest":"{digest}","size":1{more}}}"#)
    }

    #[test]
    fn what_a_manifest_names_is_found_but_for_foreign_layers() {
        let foreign = format!(
            r#"{{"mediaType":"{}","digest":"{}","size":1,"urls":["https://x"]}}"#,
            media_type::DOCKER_FOREIGN_LAYER,
            Digest::of(b"f")
        );
        let text = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{},{foreign}],"subject":{}}}"#,
            descriptor("c", ""),
            descriptor("l", r#","urls":["https://y"]"#),
            descriptor("s", "")
        );
        let document = document(&text).unwrap();
        let blobs: Vec<Digest> = document.blobs.iter().map(|blob| blob.digest).collect();
        assert_eq!(blobs, [Digest::of(b"c"), Digest::of(b"l")]);
        assert_eq!(document.subject.unwrap().digest, Digest::of(b"s"));
        assert_eq!(document.artifact_type.as_deref(), Some("t"));
    }

    #[test]
    fn schema_1_is_refused() {
        let error = document(r#"{"schemaVersion":1,"fsLayers":[]}"#).unwrap_err();
        assert!(error.to_string().contains("schema 1"), "{error}");
        assert!(document("{").is_err());
    }

    #[test]
    fn documents_come_after_all_that_they_name() {
        let index = |children: &[Digest]| {
            let children: Vec<String> = children
                .iter()
                .map(|digest| format!(r#"{{"mediaType":"t","digest":"{digest}","size":1}}"#))
                .collect();
            document(&format!(
                r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
                children.join(",")
            ))
            .unwrap()
        };
        let leaf = document(r#"{"schemaVersion":2}"#).unwrap();
        let middle = index(&[leaf.digest]);
        // The leaf is named by the root too, and first.
        let root = index(&[leaf.digest, middle.digest]);
        let (leaf, middle_digest, root_digest) = (leaf, middle.digest, root.digest);
        let leaf_digest = leaf.digest;
        let tree = Tree {
            documents: vec![root, middle, leaf],
            there: Vec::new(),
        };
        let (first, others) = tree.in_order();
        assert_eq!(first.digest, root_digest);
        let order: Vec<Digest> = others.iter().map(|document| document.digest).collect();
        assert_eq!(order, [leaf_digest, middle_digest]);
    }
}
