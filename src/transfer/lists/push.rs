//! A list to its registry, with what it names.

use super::super::copy::{Copied, bring};
use super::super::referrers::again;
use super::super::{Error, Watch};
use super::{List, Member, Source, index};
use crate::oci::{Descriptor, Digest, Reference};
use crate::registry::Client;

/// What became of a list that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushedList {
    /// The digest of the index.
    pub digest: Digest,
    /// The members that came from another place than the list's own repository.
    pub brought: Vec<Digest>,
    /// How many bytes of blobs were sent.
    pub bytes: u64,
}

/// Sends what the list names to the repository of `target`, as far as it is not
/// there, and then the index under the target's name. `store` sends an image
/// of the store and returns its descriptor.
pub fn push_list(
    client: &Client,
    list: &List,
    target: &Reference,
    store: &dyn Fn(&Member) -> Result<Descriptor, Error>,
    watch: &dyn Watch,
) -> Result<PushedList, Error> {
    let mut pushed = PushedList {
        digest: Digest::of(b""),
        brought: Vec::new(),
        bytes: 0,
    };
    let mut entries = Vec::new();
    for member in &list.members {
        let mut entry = member.entry.clone();
        match &member.source {
            Source::Store(_) => {
                let sent = store(member)?;
                entry["mediaType"] = sent.media_type.into();
                entry["size"] = sent.size.into();
                entry["digest"] = sent.digest.to_string().into();
                pushed.brought.push(sent.digest);
            }
            Source::Registry(repository) => {
                let wrong = |why: String| Error::Unsupported {
                    reference: member.name.clone(),
                    why,
                };
                let descriptor: Descriptor = serde_json::from_value(entry.clone())
                    .map_err(|err| wrong(format!("its descriptor cannot be read: {err}")))?;
                if *repository != target.repository() {
                    let source: Reference = repository.parse()?;
                    let copied: Copied = bring(client, &source, target, &descriptor, watch)?;
                    pushed.bytes += copied.bytes;
                    pushed.brought.push(descriptor.digest);
                }
            }
        }
        entries.push(entry);
    }
    let (media_type, bytes) = index(&entries, &list.annotations);
    again(|| client.put_manifest(target, media_type, &bytes))?;
    pushed.digest = Digest::of(&bytes);
    Ok(pushed)
}
