//! What refers to an image on its registry.

use super::{Engine, Error, Reach};
use crate::oci::{Descriptor, Digest, Platform, Reference, media_type};
use crate::registry;
use crate::transfer::{self, Artifact, Attached, Watch};

/// What refers to an image.
#[derive(Debug, Clone)]
pub struct Referrers {
    /// What it refers to.
    pub subject: Digest,
    /// The descriptors.
    pub list: Vec<Descriptor>,
}

impl Engine {
    /// What refers to the image of this name: to what the name leads to, or with
    /// `platform` to its image for that.
    pub fn referrers(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        artifact_type: Option<&str>,
        reach: Reach,
    ) -> Result<Referrers, Error> {
        let client = reach.client(self, &[reference.host()])?;
        let subject = match (platform, reference.digest()) {
            (Some(platform), _) => {
                let found = transfer::look(&client, reference, Some(platform))?;
                found.chosen.digest
            }
            (None, Some(digest)) => digest,
            (None, None) => {
                let found = client.find_manifest(reference)?;
                let found = found.ok_or_else(|| registry::Error::NotFound {
                    what: reference.familiar(),
                    why: String::new(),
                })?;
                match found.digest {
                    Some(digest) => digest,
                    None => client.manifest(reference)?.digest,
                }
            }
        };
        let list = transfer::referrers(&client, reference, subject, artifact_type)?;
        Ok(Referrers { subject, list })
    }

    /// Attaches files to what a name leads to.
    pub fn attach_artifact(
        &self,
        reference: &Reference,
        platform: Option<&Platform>,
        artifact: &Artifact,
        reach: Reach,
        watch: &dyn Watch,
    ) -> Result<Attached, Error> {
        let client = reach.client(self, &[reference.host()])?;
        let subject = match platform {
            None => reference.clone(),
            Some(platform) => {
                let named = client.manifest(reference)?;
                if media_type::to_oci(&named.media_type) == media_type::INDEX {
                    let found = transfer::look(&client, reference, Some(platform))?;
                    reference.with_digest(found.chosen.digest)
                } else {
                    reference.clone()
                }
            }
        };
        Ok(transfer::attach(&client, &subject, artifact, watch)?)
    }
}
