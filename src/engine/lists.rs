//! Manifest lists: put together here, pushed afterwards.

use super::copy::client;
use super::{Engine, Error, Reach};
use crate::image;
use crate::oci::{Descriptor, Digest, Reference, media_type};
use crate::registry::{self, Client};
use crate::transfer::{self, List, ListChange, Lists, Member, PushedList, Source, Watch};

/// A list to be made or amended.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// Its name.
    pub name: Reference,
    /// Names of what it names: on registries, else in the store.
    pub members: Vec<String>,
    /// Whether a list of this name may be there.
    pub amend: bool,
    /// Whether a member that is an index stands for all that it names.
    pub all: bool,
    /// Annotations of the index.
    pub annotations: Vec<(String, String)>,
}

/// Images to be added to a list.
#[derive(Debug, Clone)]
pub struct MemberRequest {
    /// The name of one that is on a registry, else in the store.
    pub name: String,
    /// Whether an index stands for all that it names.
    pub all: bool,
    /// What is told of it beyond what it tells itself.
    pub change: ListChange,
}

impl Engine {
    fn lists(&self) -> Lists {
        let paths = self.store().paths();
        Lists::new(paths.manifests(), paths.locks().join("manifests"))
    }

    /// Makes a list, or amends one.
    pub fn create_list(&self, request: &ListRequest, reach: Reach) -> Result<(), Error> {
        let lists = self.lists();
        let refused = || {
            Error::Conflict(
                "refusing to amend an existing manifest list with no --amend flag".to_owned(),
            )
        };
        if !request.amend && lists.get(&request.name)?.is_some() {
            return Err(refused());
        }
        // Registries are asked before the lock is taken.
        let mut members = Vec::new();
        for name in &request.members {
            members.push(self.members(name, request.all, reach)?);
        }
        lists.change(&request.name, |old| {
            let mut list = match old {
                Some(_) if !request.amend => return Err(refused()),
                Some(list) => list,
                None => List::new(&request.name),
            };
            list.annotations.extend(request.annotations.iter().cloned());
            for members in members {
                list.put(members);
            }
            Ok(list)
        })
    }

    /// Adds to a list that is there.
    pub fn add_to_list(
        &self,
        name: &Reference,
        request: &MemberRequest,
        reach: Reach,
    ) -> Result<(), Error> {
        self.list(name)?;
        let mut members = self.members(&request.name, request.all, reach)?;
        for member in &mut members {
            member.change(&request.change);
        }
        self.change_list(name, |list| {
            list.put(members);
            Ok(())
        })
    }

    /// Changes what a list tells of one of its members, named by name or digest.
    pub fn annotate_list(
        &self,
        name: &Reference,
        member: &str,
        change: &ListChange,
    ) -> Result<(), Error> {
        let missing = || {
            Error::Invalid(format!(
                "manifest for image {member} does not exist in {}",
                name.familiar()
            ))
        };
        if self.lists().get(name)?.is_none() {
            return Err(missing());
        }
        self.change_list(name, |list| {
            let found = list.find(member).ok_or_else(missing)?;
            found.change(change);
            runs_somewhere(found)
        })
    }

    /// Takes the manifest with this digest out of a list.
    pub fn remove_from_list(&self, name: &Reference, digest: Digest) -> Result<(), Error> {
        self.change_list(name, |list| {
            let before = list.members.len();
            list.members.retain(|own| own.digest() != Some(digest));
            if list.members.len() == before {
                return Err(Error::Invalid(format!(
                    "no manifest with the digest {digest} in {}",
                    name.familiar()
                )));
            }
            Ok(())
        })
    }

    fn change_list(
        &self,
        name: &Reference,
        change: impl FnOnce(&mut List) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.lists().change(name, |list| {
            let mut list = list.ok_or_else(|| no_list(name))?;
            change(&mut list)?;
            Ok(list)
        })
    }

    /// The list of this name.
    pub fn list(&self, name: &Reference) -> Result<List, Error> {
        self.find_list(name)?.ok_or_else(|| no_list(name))
    }

    /// The list of this name, if there is one.
    pub fn find_list(&self, name: &Reference) -> Result<Option<List>, Error> {
        Ok(self.lists().get(name)?)
    }

    /// The names of all lists.
    pub fn list_names(&self) -> Result<Vec<String>, Error> {
        Ok(self.lists().names()?)
    }

    /// Forgets a list; what it names stays.
    pub fn remove_list(&self, name: &Reference) -> Result<(), Error> {
        if self.lists().remove(name)? {
            return Ok(());
        }
        Err(Error::Invalid(format!("No such manifest: {name}")))
    }

    /// Sends a list and what it names to `target`. The list stays here.
    pub fn push_list(
        &self,
        name: &Reference,
        target: &Reference,
        reach: Reach,
        watch: &dyn Watch,
    ) -> Result<PushedList, Error> {
        let list = self
            .find_list(name)?
            .ok_or_else(|| Error::Invalid(format!("{} not found", name.familiar())))?;
        list.members.iter().try_for_each(runs_somewhere)?;
        let sources: Vec<Reference> = list
            .members
            .iter()
            .filter_map(|member| match &member.source {
                Source::Registry(repository) => repository.parse().ok(),
                Source::Store(_) => None,
            })
            .collect();
        let client = client(self, reach, sources.iter().chain([target]))?;
        let stored = |member: &Member| self.push_member(&client, member, target, watch);
        Ok(transfer::push_list(&client, &list, target, &stored, watch)?)
    }

    /// What a member's name stands for.
    fn members(&self, text: &str, all: bool, reach: Reach) -> Result<Vec<Member>, Error> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let Ok(name) = text.parse::<Reference>() else {
            return self
                .stored_members(text)?
                .ok_or_else(|| Error::Invalid(format!("no such manifest: {text}")));
        };
        let client = reach.client(self, &[name.host()])?;
        match transfer::members(&client, &name) {
            Ok((members, named)) => {
                if media_type::to_oci(&named.media_type) == media_type::INDEX && !all {
                    return Err(Error::Invalid(format!("{name} is a manifest list")));
                }
                Ok(members)
            }
            // Whatever the registry says to a name that it does not have.
            Err(error) => match self.stored_members(text)? {
                Some(members) => Ok(members),
                None if is_missing(&error) => {
                    Err(Error::Invalid(format!("no such manifest: {name}")))
                }
                None => Err(error.into()),
            },
        }
    }

    /// What a name of the store stands for: one image, or one for each platform.
    fn stored_members(&self, text: &str) -> Result<Option<Vec<Member>>, Error> {
        let image = match image::find(self.store(), text) {
            Ok(image) => image,
            Err(image::Error::NotFound(_) | image::Error::Reference(_)) => return Ok(None),
            Err(err) => return Err(err.into()),
        };
        let name = text.parse::<Reference>().ok();
        let variants = match &name {
            Some(name) => image::variants(self.store(), name)?,
            None => Vec::new(),
        };
        let shown = name.map_or_else(|| image.id.to_string(), |name| name.to_string());
        if variants.is_empty() {
            return Ok(Some(vec![Member::stored(&shown, &image)]));
        }
        let variants = variants.iter();
        Ok(Some(
            variants
                .map(|(_, image)| Member::stored(&shown, image))
                .collect(),
        ))
    }
}

impl Engine {
    /// Sends an image of the store to the target's repository, under its digest alone.
    fn push_member(
        &self,
        client: &Client,
        member: &Member,
        target: &Reference,
        watch: &dyn Watch,
    ) -> Result<Descriptor, transfer::Error> {
        let Source::Store(id) = &member.source else {
            return Err(image::Error::NotFound(member.name.clone()).into());
        };
        let image = image::find(self.store(), &id.to_string())?;
        let options = transfer::PushOptions {
            form: image::Form::default(),
            by_digest: true,
        };
        let bundle = image::Bundle::one(image, Vec::new());
        let pushed = transfer::push(self.store(), client, &bundle, target, &options, watch)?;
        Ok(Descriptor::new(
            &pushed.media_type,
            pushed.digest,
            pushed.size,
        ))
    }
}

/// That a registry does not have a name; hubs say so as if it were secret.
fn is_missing(error: &transfer::Error) -> bool {
    matches!(
        error,
        transfer::Error::Registry(
            registry::Error::NotFound { .. }
                | registry::Error::Denied { .. }
                | registry::Error::Unauthorized { .. }
        )
    )
}

fn no_list(name: &Reference) -> Error {
    Error::Invalid(format!("no such manifest: {name}"))
}

/// Whether a member says what it runs on, in words that mean something.
fn runs_somewhere(member: &Member) -> Result<(), Error> {
    const SYSTEMS: [&str; 15] = [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
    ];
    const ARCHITECTURES: [&str; 18] = [
        "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64",
        "ppc64le", "riscv", "riscv64", "s390", "s390x", "sparc64", "wasm", "unknown",
    ];
    let platform = &member.entry["platform"];
    let text = |key: &str| platform[key].as_str().unwrap_or_default();
    let (os, architecture) = (text("os"), text("architecture"));
    // Artifacts have no platform, attestations one that says so.
    let good = platform.is_null()
        || (SYSTEMS.contains(&os) && ARCHITECTURES.contains(&architecture))
        || os == "unknown";
    if good {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "manifest entry for image has unsupported os/arch combination: {os}/{architecture}"
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::oci::ImageId;

    #[test]
    fn members_say_what_they_run_on() {
        let check = |platform: Value| {
            runs_somewhere(&Member {
                name: "a".to_owned(),
                source: Source::Store(ImageId(Digest::of(b"a"))),
                entry: serde_json::json!({"platform": platform}),
            })
        };
        assert!(check(Value::Null).is_ok());
        assert!(check(serde_json::json!({"os": "linux", "architecture": "arm64"})).is_ok());
        assert!(check(serde_json::json!({"os": "unknown", "architecture": "unknown"})).is_ok());
        let error = check(serde_json::json!({"os": "linux", "architecture": "foo"})).unwrap_err();
        assert!(error.to_string().ends_with("combination: linux/foo"));
    }
}
