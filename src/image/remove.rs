//! Names and images taken away, as `rmi` does.
//!
//! Source: moby, daemon/images/image_delete.go.

use std::fmt;

use super::read::is_id_of;
use super::{Error, Image, find};
use crate::oci::{ImageId, Reference};
use crate::store::Store;

/// A container that was made from an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// The container's ID.
    pub container: String,
    /// Its image.
    pub image: ImageId,
    /// Whether it runs.
    pub running: bool,
}

/// What was taken away; the `Display` form is Docker's line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Untagged(Reference),
    /// An image.
    Deleted(ImageId),
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged(name) => write!(f, "Untagged: {}", name.familiar()),
            Self::Deleted(id) => write!(f, "Deleted: {id}"),
        }
    }
}

/// Why an image may not be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conflict {
    /// A container runs it: its short ID.
    Running(String),
    /// A stopped container was made from it: its short ID.
    Stopped(String),
    /// It has names in several repositories.
    Referenced,
}

impl Conflict {
    /// Whether `force` overrides it.
    pub fn can_be_forced(&self) -> bool {
        !matches!(self, Self::Running(_))
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(id) => write!(f, "image is being used by running container {id}"),
            Self::Stopped(id) => write!(f, "image is being used by stopped container {id}"),
            Self::Referenced => f.write_str("image is referenced in multiple repositories"),
        }
    }
}

/// Takes away what `text` names: a name, and with its last name the image; or,
/// by ID, the image with all its names. `uses` are the containers there are.
/// Layers are left to the collector.
///
/// # Errors
/// [`Error::NameInUse`] and [`Error::InUse`] for what only `force`, or not even
/// that, takes away; nothing was changed then.
pub fn remove_reference(
    store: &Store,
    text: &str,
    force: bool,
    uses: &[ImageUse],
) -> Result<Vec<Removed>, Error> {
    let image = find(store, text)?;
    let all = store.name_list()?.into_iter();
    let names: Vec<Reference> = all
        .filter(|(_, id)| *id == image.id)
        .map(|(n, _)| n)
        .collect();
    let mut others = Vec::new();
    for name in &names {
        let platforms = store.name_platforms(name)?;
        others.extend(platforms.into_iter().map(|(_, id)| id));
    }
    let own: Vec<&ImageUse> = uses.iter().filter(|one| one.image == image.id).collect();
    let mut removed = if is_id_of(image.id, text) {
        by_id(store, &image, names, force, &own)?
    } else {
        by_name(store, &image, text, names, force, &own)?
    };
    remove_unnamed(store, image.id, &others, uses, &mut removed)?;
    Ok(removed)
}

/// Takes away images for other platforms that had their only name with this one.
pub(super) fn remove_unnamed(
    store: &Store,
    id: ImageId,
    others: &[ImageId],
    uses: &[ImageUse],
    removed: &mut Vec<Removed>,
) -> Result<(), Error> {
    let mut others: Vec<ImageId> = others
        .iter()
        .copied()
        .filter(|other| *other != id)
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    others.sort_unstable();
    others.dedup();
    let named = store.name_list()?.into_iter().chain(store.platform_list()?);
    let named: Vec<ImageId> = named.map(|(_, id)| id).collect();
    for other in others {
        let used = uses.iter().any(|one| one.image == other);
        if !used && !named.contains(&other) {
            store.image_remove(other)?;
            removed.push(Removed::Deleted(other));
        }
    }
    Ok(())
}

fn by_name(
    store: &Store,
    image: &Image,
    text: &str,
    names: Vec<Reference>,
    force: bool,
    uses: &[&ImageUse],
) -> Result<Vec<Removed>, Error> {
    if let [first, ..] = uses
        && !force
        && is_single(&names)
    {
        return Err(Error::NameInUse {
            reference: text.to_owned(),
            container: short(&first.container),
            image: image.id.0.short(),
        });
    }
    let wanted: Reference = text.parse()?;
    let (gone, kept): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| *name == wanted);
    // A digest finds the image through its manifest: every name of that
    // repository goes. And a repository without tags keeps no digests either.
    let tags = kept
        .iter()
        .any(|name| same_repository(name, &wanted) && name.digest().is_none());
    let whole = gone.is_empty() || !tags;
    let (also, kept): (Vec<_>, Vec<_>) = kept
        .into_iter()
        .partition(|name| whole && same_repository(name, &wanted));
    let gone: Vec<Reference> = gone.into_iter().chain(also).collect();
    // A running container keeps the image itself, without a name.
    let delete = kept.is_empty() && uses.iter().all(|one| force && !one.running);
    if delete {
        store.image_remove(image.id)?;
    } else {
        for name in &gone {
            store.name_remove(name)?;
        }
    }
    let mut removed: Vec<Removed> = gone.into_iter().map(Removed::Untagged).collect();
    removed.extend(delete.then_some(Removed::Deleted(image.id)));
    Ok(removed)
}

fn by_id(
    store: &Store,
    image: &Image,
    names: Vec<Reference>,
    force: bool,
    uses: &[&ImageUse],
) -> Result<Vec<Removed>, Error> {
    let running = uses.iter().find(|one| one.running);
    let stopped = uses.first().filter(|_| !force);
    let conflict = match (running, stopped) {
        (Some(one), _) => Some(Conflict::Running(short(&one.container))),
        (None, _) if !force && !is_single(&names) => Some(Conflict::Referenced),
        (None, Some(one)) => Some(Conflict::Stopped(short(&one.container))),
        (None, None) => None,
    };
    if let Some(why) = conflict {
        let image = image.id.0.short();
        return Err(Error::InUse { image, why });
    }
    store.image_remove(image.id)?;
    let mut removed: Vec<Removed> = names.into_iter().map(Removed::Untagged).collect();
    removed.push(Removed::Deleted(image.id));
    Ok(removed)
}

/// Whether the names are at most one tag, with digests of the same repository.
fn is_single(names: &[Reference]) -> bool {
    let Some(first) = names.first() else {
        return true;
    };
    let tags = names.iter().filter(|name| name.digest().is_none()).count();
    tags <= 1 && names.iter().all(|name| same_repository(name, first))
}

fn same_repository(one: &Reference, other: &Reference) -> bool {
    (one.host(), one.path()) == (other.host(), other.path())
}

pub(super) fn short(container: &str) -> String {
    container.chars().take(12).collect()
}
