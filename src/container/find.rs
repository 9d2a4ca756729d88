//! Containers by name, ID or ID prefix.

use super::dir::Dir;
use super::{Error, events, names};
use crate::store::{ContainerRow, Store};

/// Finds the container that `text` names: its name (Docker's leading slash is
/// fine), its ID, or a prefix of its ID that no other container has.
pub fn find(store: &Store, text: &str) -> Result<ContainerRow, Error> {
    let plain = text.strip_prefix('/').unwrap_or(text);
    if plain.is_empty() {
        return Err(Error::NotFound(text.to_owned()));
    }
    let mut rows = store.container_find(plain)?;
    match (rows.pop(), rows.is_empty()) {
        (Some(row), true) => Ok(row),
        (Some(_), false) => Err(Error::Ambiguous(text.to_owned())),
        (None, _) => Err(Error::NotFound(text.to_owned())),
    }
}

/// Gives the container `text` another name.
pub fn rename(store: &Store, text: &str, name: &str) -> Result<(), Error> {
    let row = find(store, text)?;
    let name = name.strip_prefix('/').unwrap_or(name);
    names::check(name)?;
    if row.name == name {
        return Err(Error::Invalid(
            "Renaming a container with the same name as its current name".to_owned(),
        ));
    }
    if store.container_rename(&row.id, name)? {
        let dir = Dir::new(store.paths(), &row.id);
        events::keep_name(&dir, name);
        let old = format!("/{}", row.name);
        events::note(store.paths(), &dir, "rename", &[("oldName", &old)]);
        return Ok(());
    }
    Err(Error::NotFound(text.to_owned()))
}
