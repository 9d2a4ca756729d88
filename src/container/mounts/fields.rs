//! The fields of `--mount`.

use std::path::{Component, Path};

use super::{BindRecursive, PROPAGATIONS};
use crate::container::Error;

/// What a `--mount` says.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) kind: Option<String>,
    pub(super) source: Option<String>,
    pub(super) target: Option<String>,
    pub(super) read_only: bool,
    pub(super) no_copy: bool,
    pub(super) create_source: bool,
    pub(super) propagation: Option<String>,
    pub(super) recursive: BindRecursive,
    pub(super) subpath: Option<String>,
    pub(super) labels: Vec<(String, String)>,
    pub(super) options: Vec<(String, String)>,
    pub(super) tmpfs: Vec<String>,
    /// The families of keys that were used: `bind`, `volume`, `tmpfs`, `image`.
    families: Vec<&'static str>,
}

impl Fields {
    /// Reads the fields.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let mut fields = Self::default();
        for field in csv(text)? {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field.as_str(), None),
            };
            fields.take(&key.trim().to_ascii_lowercase(), value, &field)?;
        }
        Ok(fields)
    }

    /// Refuses keys that belong to another type, and those that need each other.
    pub(super) fn check(&self, kind: &str) -> Result<(), Error> {
        let invalid = |message: String| Err(Error::Invalid(message));
        if let Some(other) = self.families.iter().find(|family| **family != kind) {
            return invalid(format!(
                "cannot mix '{other}-*' options with mount type '{kind}'"
            ));
        }
        if kind == "tmpfs" && self.source.is_some() {
            return invalid(
                "invalid mount config for type \"tmpfs\": field Source must not be specified"
                    .to_owned(),
            );
        }
        let word = match self.recursive {
            BindRecursive::Enabled | BindRecursive::Disabled => return Ok(()),
            BindRecursive::Writable => "writable",
            BindRecursive::Readonly => "readonly",
        };
        if !self.read_only {
            return invalid(format!(
                "option 'bind-recursive={word}' requires 'readonly' to be specified in conjunction"
            ));
        }
        if word == "readonly" && self.propagation.as_deref() != Some("rprivate") {
            return invalid(
                "option 'bind-recursive=readonly' requires 'bind-propagation=rprivate' to be \
                 specified in conjunction"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Notes to which type the key belongs.
    fn note_family(&mut self, key: &str) {
        for family in ["bind", "volume", "tmpfs", "image"] {
            let own = key
                .strip_prefix(family)
                .is_some_and(|rest| rest.starts_with('-'));
            if own && !self.families.contains(&family) {
                self.families.push(family);
            }
        }
    }

    fn take(&mut self, key: &str, value: Option<&str>, field: &str) -> Result<(), Error> {
        let invalid =
            || Error::Invalid(format!("invalid field '{field}' must be a key=value pair"));
        let own = || value.map(str::to_owned).ok_or_else(invalid);
        let wrong = |value: &str| Error::Invalid(format!("invalid value for {key}: {value}"));
        let truth = || truth(value).ok_or_else(|| wrong(value.unwrap_or_default()));
        self.note_family(key);
        let pair = || -> Result<(String, String), Error> {
            let value = own()?;
            let (name, value) = value.split_once('=').unwrap_or((&value, ""));
            Ok((name.to_owned(), value.to_owned()))
        };
        match key {
            "type" => self.kind = Some(own()?.to_ascii_lowercase()),
            "src" | "source" => self.source = Some(own()?),
            "dst" | "target" | "destination" => self.target = Some(own()?),
            "ro" | "readonly" => self.read_only = truth()?,
            "volume-nocopy" => self.no_copy = truth()?,
            "volume-label" => self.labels.push(pair()?),
            "volume-opt" => self.options.push(pair()?),
            "volume-driver" => match own()?.as_str() {
                "" | "local" => {}
                other => {
                    return Err(Error::Invalid(format!(
                        "error looking up volume plugin {other}: plugin \"{other}\" not found"
                    )));
                }
            },
            "volume-subpath" | "image-subpath" => self.subpath = Some(subpath(&own()?)?),
            "bind-create-src" => self.create_source = truth()?,
            "bind-nonrecursive" => {
                if truth()? {
                    self.recursive = BindRecursive::Disabled;
                }
            }
            "bind-recursive" => self.recursive = recursive(&own()?)?,
            "bind-propagation" => {
                let value = own()?.to_ascii_lowercase();
                if !PROPAGATIONS.contains(&value.as_str()) {
                    return Err(Error::Invalid(format!("invalid propagation: {value}")));
                }
                self.propagation = Some(value);
            }
            "tmpfs-size" => {
                let value = own()?;
                let bytes = binary_size(&value).ok_or_else(|| wrong(&value))?;
                self.tmpfs.push(format!("size={bytes}"));
            }
            "tmpfs-mode" => {
                let value = own()?;
                let mode = u32::from_str_radix(&value, 8).map_err(|_| wrong(&value))?;
                self.tmpfs.push(format!("mode={mode:o}"));
            }
            "consistency" => drop(own()?),
            _ => {
                return Err(Error::Invalid(format!(
                    "unexpected key '{key}' in '{field}'"
                )));
            }
        }
        Ok(())
    }
}

fn truth(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Some(true),
        Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Some(false),
        Some(_) => None,
    }
}

fn recursive(value: &str) -> Result<BindRecursive, Error> {
    Ok(match value {
        "enabled" => BindRecursive::Enabled,
        "disabled" => BindRecursive::Disabled,
        "writable" => BindRecursive::Writable,
        "readonly" => BindRecursive::Readonly,
        other => {
            return Err(Error::Invalid(format!(
                "invalid value for bind-recursive: {other} (must be \"enabled\", \"disabled\", \
                 \"writable\", or \"readonly\")"
            )));
        }
    })
}

/// A path that stays beneath where it starts.
fn subpath(text: &str) -> Result<String, Error> {
    let inside = Path::new(text)
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if inside {
        return Ok(text.to_owned());
    }
    Err(Error::Invalid(format!(
        "invalid mount config: subpath must be a relative path within the volume: {text}"
    )))
}

/// Bytes in binary units: `64m`, `1g`, `512`.
fn binary_size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    digits
        .trim_end()
        .parse::<u64>()
        .ok()?
        .checked_mul(1 << shift)
}

/// One line of comma-separated values; a value in double quotes may have commas.
fn csv(text: &str) -> Result<Vec<String>, Error> {
    let wrong = || Error::Invalid(format!("invalid mount specification: {text}"));
    let mut values = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (value, after) = rest.split_once(',').unzip();
            values.push(value.unwrap_or(rest).to_owned());
            let Some(after) = after else {
                return Ok(values);
            };
            rest = after;
            continue;
        };
        let mut value = String::new();
        let mut chars = quoted.char_indices().peekable();
        let end = loop {
            match chars.next() {
                Some((_, '"')) if chars.next_if(|(_, next)| *next == '"').is_some() => {
                    value.push('"');
                }
                Some((at, '"')) => break at + 1,
                Some((_, char)) => value.push(char),
                None => return Err(wrong()),
            }
        };
        values.push(value);
        rest = match quoted[end..].strip_prefix(',') {
            Some(after) => after,
            None if quoted[end..].is_empty() => return Ok(values),
            None => return Err(wrong()),
        };
    }
}
