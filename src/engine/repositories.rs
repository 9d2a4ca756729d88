//! What lies on a registry: repositories, tags, and taking them away.

use super::{Engine, Error};
use crate::oci::{Digest, Reference};
use crate::registry::{self, Client};
use crate::transfer::{self, TagsOf, Watch};

/// How registries are reached for one verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reach {
    /// Whether they need not prove who they are, nor speak TLS.
    pub insecure: bool,
}

impl Reach {
    /// A client for these hosts.
    pub(super) fn client(self, engine: &Engine, hosts: &[&str]) -> Result<Client, Error> {
        engine.registries_trusting(if self.insecure { hosts } else { &[] })
    }

    /// Does `work` with a client for `host`, and tells what its registries had to say.
    pub(super) fn work<T>(
        self,
        engine: &Engine,
        host: &str,
        watch: &dyn Watch,
        work: impl FnOnce(&Client) -> Result<T, transfer::Error>,
    ) -> Result<T, Error> {
        let client = self.client(engine, &[host])?;
        let done = work(&client);
        for text in client.take_warnings() {
            watch.warning(&text);
        }
        Ok(done?)
    }
}

/// What a tag's removal takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// The tag is gone, and nothing else.
    Untagged,
    /// The registry removes by digest alone: these tags go with it, the asked one among them.
    WithManifest {
        /// The manifest's digest.
        digest: Digest,
        /// The tags that lead to it, and those whose index names it and is
        /// broken without it.
        tags: TagsOf,
    },
}

impl Engine {
    /// The tags of a repository, in the registry's order.
    pub fn remote_tags(&self, repository: &Reference, reach: Reach) -> Result<Vec<String>, Error> {
        Ok(reach.client(self, &[repository.host()])?.tags(repository)?)
    }

    /// The repositories of a registry, where it tells them.
    pub fn remote_repositories(&self, host: &str, reach: Reach) -> Result<Vec<String>, Error> {
        Ok(reach.client(self, &[host])?.catalog(host)?)
    }

    /// Takes a tag away from a registry, or tells what else would go with it:
    /// then nothing was done, and [`Engine::remove_remote_manifest`] does it.
    ///
    /// A reference with a digest always takes its manifest.
    pub fn remove_remote(&self, reference: &Reference, reach: Reach) -> Result<Removal, Error> {
        let client = reach.client(self, &[reference.host()])?;
        let missing = || registry::Error::NotFound {
            what: reference.familiar(),
            why: String::new(),
        };
        let found = client.find_manifest(reference)?.ok_or_else(missing)?;
        if let (None, Some(tag)) = (reference.digest(), reference.tag())
            && client.untag(reference, tag)?
        {
            return Ok(Removal::Untagged);
        }
        let digest = match reference.digest().or(found.digest) {
            Some(digest) => digest,
            None => client.manifest(reference)?.digest,
        };
        let tags = transfer::tags_of(&client, reference, digest)?;
        Ok(Removal::WithManifest { digest, tags })
    }

    /// Removes a manifest from a registry, with every tag that leads to it.
    pub fn remove_remote_manifest(
        &self,
        repository: &Reference,
        digest: Digest,
        reach: Reach,
    ) -> Result<(), Error> {
        let client = reach.client(self, &[repository.host()])?;
        Ok(client.delete_digest(repository, digest)?)
    }
}
