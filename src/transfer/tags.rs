//! Which tags lead to a manifest.

use super::Error;
use super::at_once::all;
use crate::oci::{Digest, Index, Reference, media_type};
use crate::registry::Client;

/// The tags that have to do with a manifest, each list sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagsOf {
    /// Those that lead to it.
    pub leading: Vec<String>,
    /// Those whose index names it.
    pub within: Vec<String>,
}

/// How a tag has to do with the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bond {
    None,
    Leads,
    Names,
}

/// The tags of the reference's repository that have to do with a manifest; a
/// registry has no list of them, so each tag is asked for.
pub fn tags_of(client: &Client, repository: &Reference, digest: Digest) -> Result<TagsOf, Error> {
    let tags = client.tags(repository)?;
    let bonds = all(tags.len(), |index| {
        bond(client, repository, &tags[index], digest)
    })?;
    let mut found = TagsOf::default();
    for (tag, bond) in tags.into_iter().zip(bonds) {
        match bond {
            Bond::None => {}
            Bond::Leads => found.leading.push(tag),
            Bond::Names => found.within.push(tag),
        }
    }
    found.leading.sort();
    found.within.sort();
    Ok(found)
}

fn bond(client: &Client, repository: &Reference, tag: &str, digest: Digest) -> Result<Bond, Error> {
    let Some(found) = client.find_tag(repository, tag)? else {
        return Ok(Bond::None);
    };
    if found.digest == Some(digest) {
        return Ok(Bond::Leads);
    }
    if media_type::to_oci(&found.media_type) != media_type::INDEX {
        return Ok(Bond::None);
    }
    let fetched = client.manifest(&repository.with_tag(tag))?;
    let names = serde_json::from_slice::<Index>(&fetched.bytes)
        .is_ok_and(|index| index.manifests.iter().any(|one| one.digest == digest));
    Ok(if names { Bond::Names } else { Bond::None })
}
