//! What happened, from the log of events.

use std::time::Duration;

use super::{Engine, Error};
use crate::image;
use crate::oci::ImageId;
use crate::store::events::{self, Events, Wait};

pub use crate::store::events::{EventKind, EventRecord};

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Not before this moment, nanoseconds since 1970.
    pub since: Option<i64>,
    /// Not after this moment; the stream ends when it has passed.
    pub until: Option<i64>,
    /// `key=value` in Docker's words; values of one key are alternatives, labels
    /// must all be there.
    pub conditions: Vec<(String, String)>,
}

impl EventFilter {
    fn check(&self) -> Result<(), Error> {
        const KEYS: [&str; 17] = [
            "config",
            "container",
            "daemon",
            "event",
            "image",
            "label",
            "network",
            "node",
            "plugin",
            "builder",
            "scope",
            "secret",
            "service",
            "type",
            "volume",
            "id",
            "name",
        ];
        match self
            .conditions
            .iter()
            .find(|(key, _)| !KEYS.contains(&key.as_str()))
        {
            Some((key, _)) => Err(Error::Invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    fn holds(&self, event: &EventRecord) -> bool {
        self.since.is_none_or(|since| event.time >= since)
            && self.until.is_none_or(|until| event.time <= until)
            && self
                .conditions
                .iter()
                .all(|(key, _)| self.holds_key(event, key))
    }

    fn holds_key(&self, event: &EventRecord, key: &str) -> bool {
        let mut values = self
            .conditions
            .iter()
            .filter(|(known, _)| known == key)
            .map(|(_, value)| value.as_str());
        let attribute = |name: &str| event.attributes.get(name).map_or("", String::as_str);
        let is = |kind: EventKind, value: &str| {
            event.kind == kind
                && (event.id == value
                    || attribute("name") == value
                    || value.len() > 1 && event.id.starts_with(value))
        };
        match key {
            "type" => values.any(|value| value == event.kind.text()),
            "event" => values.any(|value| {
                event.action == value
                    || event
                        .action
                        .strip_prefix(value)
                        .is_some_and(|rest| rest.starts_with(':'))
            }),
            "container" => values.any(|value| is(EventKind::Container, value)),
            "volume" => values.any(|value| is(EventKind::Volume, value)),
            "network" => values.any(|value| is(EventKind::Network, value)),
            "image" => values.any(|value| is_image(event, value)),
            "label" => values.all(|value| match value.split_once('=') {
                Some((name, value)) => event.attributes.get(name).is_some_and(|own| own == value),
                None => event.attributes.contains_key(value),
            }),
            "scope" => values.any(|value| value == "local"),
            "id" => values.any(|value| event.id.starts_with(value)),
            "name" => values.any(|value| attribute("name") == value),
            _ => false,
        }
    }
}

/// Whether an event is of an image, or of a container of it. A name without a tag
/// means any tag.
fn is_image(event: &EventRecord, value: &str) -> bool {
    let untagged = |name: &str| match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
        _ => name.to_owned(),
    };
    let member = if event.kind == EventKind::Image {
        "name"
    } else {
        "image"
    };
    let name = event.attributes.get(member).map_or("", String::as_str);
    event.kind == EventKind::Image && event.id == value
        || name == value
        || !name.is_empty() && untagged(name) == value
}

/// Events as they come.
#[derive(Debug)]
pub struct EventStream {
    events: Events,
    filter: EventFilter,
    follow: bool,
}

impl EventStream {
    /// The next event, for which it waits while the stream goes on; `None` at its
    /// end: when the last moment has passed or a signal came.
    pub fn next_event(&mut self) -> Result<Option<EventRecord>, Error> {
        loop {
            while let Some(event) = self.events.next_event()? {
                if self.filter.holds(&event) {
                    return Ok(Some(event));
                }
            }
            if !self.follow {
                return Ok(None);
            }
            let left = match self.filter.until {
                Some(until) => {
                    let left = until.saturating_sub(now());
                    match u64::try_from(left) {
                        Ok(left) if left > 0 => Some(Duration::from_nanos(left)),
                        _ => {
                            // What was written up to that moment is there by now.
                            self.follow = false;
                            continue;
                        }
                    }
                }
                None => None,
            };
            if self.events.wait(left) == Wait::Interrupted {
                return Ok(None);
            }
        }
    }
}

impl Engine {
    /// What happened and happens. Without `since` it starts now; without `until`
    /// it never ends.
    pub fn events(&self, mut filter: EventFilter) -> Result<EventStream, Error> {
        filter.check()?;
        let events = Events::open(self.store.paths())?;
        let now = now();
        if filter.since.is_none() {
            // Docker tells nothing of the past unless it is asked for.
            filter.since = Some(filter.until.map_or(now, |until| until.min(now)));
        }
        Ok(EventStream {
            events,
            follow: filter.until.is_none_or(|until| until > now),
            filter,
        })
    }

    /// Notes that something happened to an image. An event that cannot be written
    /// stops nothing.
    pub fn note_image(&self, action: &str, id: &str, name: &str) {
        let event = EventRecord::now(EventKind::Image, action, id).with("name", name);
        let _kept = events::append(self.store.paths(), &event);
    }

    /// Notes what was removed of images.
    pub(super) fn note_removed(&self, removed: &[image::Removed]) {
        for gone in removed {
            match gone {
                image::Removed::Untagged(name) => {
                    let name = name.familiar();
                    self.note_image("untag", &name, &name);
                }
                image::Removed::Deleted(id) => self.note_id("delete", *id),
            }
        }
    }

    /// Notes that something happened to an image that is known by its ID.
    pub(super) fn note_id(&self, action: &str, id: ImageId) {
        let id = id.to_string();
        self.note_image(action, &id, &id);
    }

    /// Notes something that has no single object, such as a prune.
    pub fn note_prune(&self, kind: EventKind, bytes: u64) {
        let event = EventRecord::now(kind, "prune", "").with("reclaimed", bytes.to_string());
        let _kept = events::append(self.store.paths(), &event);
    }
}

fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(conditions: &[(&str, &str)], event: &EventRecord) -> bool {
        let pairs = conditions.iter();
        let filter = EventFilter {
            conditions: pairs
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..EventFilter::default()
        };
        filter.check().unwrap();
        filter.holds(event)
    }

    #[test]
    fn conditions_choose_as_dockers_do() {
        let event = EventRecord::now(EventKind::Container, "exec_start: ls", "0123456789ab")
            .with("name", "web")
            .with("image", "app:1")
            .with("stage", "test");
        for good in [
            &[("type", "container")][..],
            &[("container", "web"), ("event", "exec_start")],
            &[
                ("container", "0123"),
                ("event", "die"),
                ("event", "exec_start"),
            ],
            &[("image", "app")],
            &[("image", "app:1"), ("label", "stage=test")],
            &[("label", "stage")],
        ] {
            assert!(holds(good, &event), "{good:?}");
        }
        for wrong in [
            &[("type", "volume")][..],
            &[("container", "other")],
            &[("event", "exec")],
            &[("label", "stage=prod")],
            &[("label", "stage"), ("label", "none")],
            &[("volume", "web")],
        ] {
            assert!(!holds(wrong, &event), "{wrong:?}");
        }
        let filter = EventFilter {
            conditions: vec![("nosuch".to_owned(), String::new())],
            ..EventFilter::default()
        };
        assert!(filter.check().is_err());
    }
}
