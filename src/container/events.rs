//! What happens to containers, written into the log of events with Docker's
//! names and attributes.

use std::collections::BTreeMap;

use super::dir::Dir;
use super::request::Request;
use crate::network::Place;
use crate::store::events::{EventKind, EventRecord, append};
use crate::store::{Paths, Store};

/// The file that holds the container's name for those who have no register.
const NAME: &str = "name";

/// Notes the name that the container has now.
pub(super) fn keep_name(dir: &Dir, name: &str) {
    // Without it events have no name; nothing else needs it.
    let _kept = std::fs::write(dir.path(NAME), name);
}

/// The container's name as far as it is known here.
pub(super) fn name_of(dir: &Dir) -> String {
    std::fs::read_to_string(dir.path(NAME)).unwrap_or_default()
}

/// Notes that something happened to a container, of which only the directory is known.
pub(super) fn note(paths: &Paths, dir: &Dir, action: &str, more: &[(&str, &str)]) {
    // One that is damaged has no attributes.
    let request = dir.record().map(|record| record.request);
    note_of(paths, dir, &request.unwrap_or_default(), action, more);
}

/// Notes that something happened to a container. An event that cannot be written
/// stops nothing.
pub(super) fn note_of(
    paths: &Paths,
    dir: &Dir,
    request: &Request,
    action: &str,
    more: &[(&str, &str)],
) {
    let attributes = attributes(&name_of(dir), request, more);
    let event = EventRecord {
        attributes,
        ..EventRecord::now(EventKind::Container, action, dir.id())
    };
    let _kept = append(paths, &event);
}

/// Docker's attributes: the labels, the image, the name, and what the action adds.
pub(super) fn attributes(
    name: &str,
    request: &Request,
    more: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let mut attributes = request.labels.clone();
    attributes.insert("image".to_owned(), request.image.clone());
    attributes.insert("name".to_owned(), name.to_owned());
    for (name, value) in more {
        attributes.insert((*name).to_owned(), (*value).to_owned());
    }
    attributes
}

/// Notes that something was done with the container `text`, from outside.
pub fn note_verb(store: &Store, text: &str, action: &str, more: &[(&str, &str)]) {
    // One that is gone by now tells of its end itself.
    if let Ok(row) = super::find(store, text) {
        note(
            store.paths(),
            &Dir::new(store.paths(), &row.id),
            action,
            more,
        );
    }
}

/// Notes that something happened to a volume.
pub(super) fn note_volume(paths: &Paths, action: &str, name: &str, more: &[(&str, &str)]) {
    let mut event = EventRecord::now(EventKind::Volume, action, name).with("driver", "local");
    for (name, value) in more {
        event = event.with(name, *value);
    }
    let _kept = append(paths, &event);
}

/// Notes that a container joined a network, or left it.
pub(super) fn note_network(paths: &Paths, action: &str, place: &Place, container: &str) {
    let event = EventRecord::now(EventKind::Network, action, &place.network_id)
        .with("container", container)
        .with("name", &place.network);
    let _kept = append(paths, &event);
}
