//! Which volumes are wanted. Pure.

use super::Volume;
use crate::container::Error;

/// `key=value` in Docker's words; values of one key are alternatives, labels
/// must all be there.
#[derive(Debug, Clone, Default)]
pub struct VolumeFilter {
    /// The conditions.
    pub conditions: Vec<(String, String)>,
}

impl VolumeFilter {
    pub(super) fn check(&self) -> Result<(), Error> {
        const KEYS: [&str; 5] = ["dangling", "driver", "label", "label!", "name"];
        for (key, value) in &self.conditions {
            if !KEYS.contains(&key.as_str()) {
                return Err(Error::Invalid(format!("invalid filter '{key}'")));
            }
            if key == "dangling" && truth(value).is_none() {
                return Err(Error::Invalid(format!("invalid filter 'dangling={value}'")));
            }
        }
        Ok(())
    }

    fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let conditions = self.conditions.iter();
        conditions
            .filter(move |(known, _)| known == key)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn asks_for_uses(&self) -> bool {
        self.values("dangling").next().is_some()
    }

    pub(super) fn holds(&self, volume: &Volume, in_use: bool) -> bool {
        let any = |key, test: &dyn Fn(&str) -> bool| {
            let mut values = self.values(key).peekable();
            values.peek().is_none() || values.any(test)
        };
        let labelled = |wanted: &str| match wanted.split_once('=') {
            Some((name, value)) => volume.labels.get(name).is_some_and(|own| own == value),
            None => volume.labels.contains_key(wanted),
        };
        any("name", &|name| volume.name.contains(name))
            && any("driver", &|driver| driver == "local")
            && any("dangling", &|value| truth(value) == Some(!in_use))
            && self.values("label").all(labelled)
            && !self.values("label!").any(labelled)
    }
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}
