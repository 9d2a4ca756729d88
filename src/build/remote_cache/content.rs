//! A second name for results: by what a step does and the content it does it to.
//!
//! The cache key of a step has the keys of its inputs. When an input was made
//! anew and has the same content, that key is another one; this one is not.

use crate::build::graph::Vertex;
use crate::build::key::{self, Definition};
use crate::oci::{ChainId, DiffId, Digest, Hasher};
use crate::snapshot::{self, tree_digest};
use crate::store::{SnapshotId, Store};

/// Enters the digest first; changes with what is hashed.
const VERSION: &[u8] = b"rbuild content key 1";

/// The name of a step by content. `base` are the layers of the image that the tree
/// began with, `parent` is the tree, and `notes` tell what is taken from other
/// steps. `None` when something is and they do not tell.
pub(in crate::build) fn content_key(
    store: &Store,
    vertex: &Vertex,
    definition: &Definition,
    base: &[DiffId],
    parent: Option<SnapshotId>,
    notes: &[(String, String)],
) -> Result<Option<Digest>, snapshot::Error> {
    let mut inputs = definition.parts.iter().map(|part| part.name.as_str());
    if notes.is_empty() && inputs.any(|name| name != "parent" && key::is_step(name)) {
        return Ok(None);
    }
    let mut hasher = Hasher::new();
    hasher.part(VERSION);
    hasher.part(key::kind(&vertex.op).as_bytes());
    for part in &definition.parts {
        if !key::is_step(&part.name) && !part.name.starts_with('@') {
            hasher.part(part.name.as_bytes());
            hasher.part(part.value.as_bytes());
        }
    }
    for (name, value) in notes {
        hasher.part(name.as_bytes());
        hasher.part(value.as_bytes());
    }
    let mut stack = match parent {
        Some(parent) => store.snapshot_stack(parent)?,
        None => Vec::new(),
    };
    stack.reverse();
    // The base image's layers are known by name; only what was built here has
    // times that differ from one run to the next.
    if let Some(chain) = ChainId::of(base) {
        hasher.part(chain.0.raw());
    }
    for row in stack.iter().skip(base.len()) {
        hasher.part(tree_digest(store, row.id)?.raw());
    }
    Ok(Some(hasher.finish()))
}
