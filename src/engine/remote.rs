//! Images on registries, looked at from here; and the search for them.

use super::{Engine, Error, Reach};
use crate::oci::{Platform, Reference};
use crate::registry::{Fetched, SearchHit};
use crate::transfer::{self, Remote};

/// What a search found, and how.
#[derive(Debug, Clone)]
pub enum Found {
    /// The registry's own search did it.
    Searched(Vec<SearchHit>),
    /// The registry has none, but tells its repositories: those whose name has the word.
    Listed(Vec<String>),
}

impl Engine {
    /// What a name on a registry leads to, its layers left there.
    pub fn remote_image(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        reach: Reach,
    ) -> Result<Remote, Error> {
        let client = reach.client(self, &[reference.host()])?;
        Ok(transfer::look(&client, reference, platform)?)
    }

    /// The manifest or index of a name on a registry, as its bytes; with
    /// `platform` the manifest for that.
    pub fn remote_manifest(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        reach: Reach,
    ) -> Result<Fetched, Error> {
        let client = reach.client(self, &[reference.host()])?;
        match platform {
            None => Ok(client.manifest(reference)?),
            Some(_) => Ok(transfer::look(&client, reference, platform)?.chosen),
        }
    }

    /// Searches a registry for repositories.
    pub fn search(
        &self,
        host: &str,
        term: &str,
        limit: usize,
        reach: Reach,
    ) -> Result<Found, Error> {
        let client = reach.client(self, &[host])?;
        if let Some(hits) = client.search(host, term, limit)? {
            return Ok(Found::Searched(hits));
        }
        let names = client.catalog(host).map_err(|err| {
            Error::Unsupported(format!(
                "{host} has no search (/v1/search) and does not tell its repositories (/v2/_catalog): {err}"
            ))
        })?;
        let word = term.to_lowercase();
        let names = names.into_iter().filter(|name| name.contains(&word));
        Ok(Found::Listed(names.take(limit).collect()))
    }
}
