//! Which tags lead to a manifest.

use super::Error;
use super::at_once::all;
use crate::oci::{Digest, Reference};
use crate::registry::Client;

/// The tags of the reference's repository that lead to a manifest, sorted; a
/// registry has no list of them, so each tag is asked for.
pub fn tags_of(
    client: &Client,
    repository: &Reference,
    digest: Digest,
) -> Result<Vec<String>, Error> {
    let tags = client.tags(repository)?;
    let leads = all(tags.len(), |index| {
        let found = client.find_tag(repository, &tags[index])?;
        Ok(found.and_then(|found| found.digest) == Some(digest))
    })?;
    let mut same: Vec<String> = tags
        .into_iter()
        .zip(leads)
        .filter_map(|(tag, leads)| leads.then_some(tag))
        .collect();
    same.sort();
    Ok(same)
}
