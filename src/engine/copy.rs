//! Images from registry to registry.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Engine, Error, Reach};
use crate::oci::{Digest, Platform, Reference, media_type};
use crate::registry::Client;
use crate::transfer::{self, Copied, CopyOptions, List, Member, Watch};

/// An image to be put together from others.
#[derive(Debug, Clone)]
pub struct CombineRequest {
    /// What it is made of, in order.
    pub sources: Vec<Reference>,
    /// The names that it gets; their repositories get its content.
    pub targets: Vec<Reference>,
    /// Whether what the first target names now comes first.
    pub append: bool,
    /// For these platforms alone; all when empty.
    pub platforms: Vec<Platform>,
    /// Annotations of the index.
    pub annotations: BTreeMap<String, String>,
    /// Whether a single source that is no index becomes one.
    pub prefer_index: bool,
}

/// An image that was put together.
#[derive(Debug, Clone)]
pub struct Combined {
    /// The bytes of its index, or of the one source that it is.
    pub bytes: Vec<u8>,
    /// Their digest.
    pub digest: Digest,
    plan: Plan,
}

#[derive(Debug, Clone)]
enum Plan {
    /// The one source as it is.
    Copy(Reference),
    /// A new index.
    Index(List),
}

impl Engine {
    /// Copies an image, or an artifact, from one registry name to others.
    pub fn copy_image(
        &self,
        source: &Reference,
        targets: &[Reference],
        options: &CopyOptions,
        reach: Reach,
        watch: &dyn Watch,
    ) -> Result<Vec<Copied>, Error> {
        let client = client(self, reach, std::iter::once(source).chain(targets))?;
        targets
            .iter()
            .map(|target| {
                may_be_target(target)?;
                Ok(transfer::copy(&client, source, target, options, watch)?)
            })
            .collect()
    }

    /// Puts an image together from others, without sending anything.
    pub fn combine_images(
        &self,
        request: &CombineRequest,
        reach: Reach,
    ) -> Result<Combined, Error> {
        let all = request.sources.iter().chain(&request.targets);
        let client = client(self, reach, all)?;
        let mut sources = request.sources.clone();
        if request.append {
            let first = request
                .targets
                .first()
                .ok_or_else(|| Error::Invalid("append needs a tag to append to".to_owned()))?;
            sources.insert(0, first.clone());
        }
        if sources.is_empty() {
            return Err(Error::Invalid("no sources specified".to_owned()));
        }
        combine(&client, &sources, request)
    }

    /// Sends what was put together to each target.
    pub fn push_combined(
        &self,
        combined: &Combined,
        targets: &[Reference],
        reach: Reach,
        watch: &dyn Watch,
    ) -> Result<(), Error> {
        let sources: Vec<Reference> = match &combined.plan {
            Plan::Copy(source) => vec![source.clone()],
            Plan::Index(list) => list
                .members
                .iter()
                .filter_map(|member| member.name.parse().ok())
                .collect(),
        };
        let client = client(self, reach, sources.iter().chain(targets))?;
        for target in targets {
            may_be_target(target)?;
            match &combined.plan {
                Plan::Copy(source) => {
                    let options = CopyOptions::default();
                    transfer::copy(&client, source, target, &options, watch)?;
                }
                Plan::Index(list) => {
                    let no_store = |member: &Member| {
                        Err(transfer::Error::Unsupported {
                            reference: member.name.clone(),
                            why: "it is on no registry".to_owned(),
                        })
                    };
                    transfer::push_list(&client, list, target, &no_store, watch)?;
                }
            }
        }
        Ok(())
    }
}

fn combine(
    client: &Client,
    sources: &[Reference],
    request: &CombineRequest,
) -> Result<Combined, Error> {
    let mut entries: Vec<Member> = Vec::new();
    let plain = request.annotations.is_empty() && request.platforms.is_empty();
    for source in sources {
        let (members, named) = transfer::members(client, source)?;
        let is_index = media_type::to_oci(&named.media_type) == media_type::INDEX;
        if sources.len() == 1 && plain && (is_index || !request.prefer_index) {
            return Ok(Combined {
                bytes: named.bytes,
                digest: named.digest,
                // By digest: the tag may lead elsewhere by the time that it is sent.
                plan: Plan::Copy(source.with_digest(named.digest)),
            });
        }
        for member in members {
            if !entries.iter().any(|own| own.digest() == member.digest()) {
                entries.push(member);
            }
        }
    }
    if !request.platforms.is_empty() {
        keep_platforms(&mut entries, &request.platforms);
        if entries.is_empty() {
            let wanted: Vec<String> = request.platforms.iter().map(ToString::to_string).collect();
            return Err(Error::Invalid(format!(
                "none of the sources has an image for {}",
                wanted.join(", ")
            )));
        }
    }
    let list = List {
        name: sources[0].to_string(),
        annotations: request.annotations.clone(),
        members: entries,
    };
    let entries: Vec<Value> = list
        .members
        .iter()
        .map(|member| member.entry.clone())
        .collect();
    let (_, bytes) = transfer::index(&entries, &list.annotations);
    Ok(Combined {
        digest: Digest::of(&bytes),
        bytes,
        plan: Plan::Index(list),
    })
}

/// Keeps the images for these platforms, and what is attested of them.
fn keep_platforms(members: &mut Vec<Member>, platforms: &[Platform]) {
    let fits = |member: &Member| {
        let platform = serde_json::from_value::<Platform>(member.entry["platform"].clone());
        platform.is_ok_and(|own| {
            let own = Platform::normalised(&own.os, &own.architecture, own.variant.as_deref());
            platforms.iter().any(|wanted| {
                own.os == wanted.os
                    && own.architecture == wanted.architecture
                    && (wanted.variant.is_none() || own.variant == wanted.variant)
            })
        })
    };
    let kept: Vec<String> = members
        .iter()
        .filter(|member| fits(member))
        .filter_map(|member| member.digest().map(|digest| digest.to_string()))
        .collect();
    members.retain(|member| {
        let attested = &member.entry["annotations"]["vnd.docker.reference.digest"];
        fits(member)
            || attested
                .as_str()
                .is_some_and(|of| kept.iter().any(|k| k == of))
    });
}

/// A client for everything that takes part.
pub(super) fn client<'r>(
    engine: &Engine,
    reach: Reach,
    names: impl Iterator<Item = &'r Reference>,
) -> Result<Client, Error> {
    let hosts: Vec<&str> = names.map(Reference::host).collect();
    reach.client(engine, &hosts)
}

fn may_be_target(target: &Reference) -> Result<(), Error> {
    match target.digest() {
        None => Ok(()),
        Some(_) => Err(Error::Invalid(format!(
            "cannot copy to `{}`: a target has a tag, not a digest",
            target.familiar()
        ))),
    }
}
