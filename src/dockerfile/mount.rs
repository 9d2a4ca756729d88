//! The values of `RUN --mount` and `RUN --device`.
//!
//! Source: `RUN --mount` in the Dockerfile reference.

use super::{go, quote, suggest};

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// A directory in memory.
    Tmpfs,
    /// A secret of the command line.
    Secret,
    /// An agent of the command line.
    Ssh,
}

impl MountKind {
    const ALL: [(&'static str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    /// Its name in `type=`.
    pub fn name(self) -> &'static str {
        let known = Self::ALL.into_iter().find(|(_, kind)| *kind == self);
        known.map_or("bind", |(name, _)| name)
    }
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Everyone at once.
    Shared,
    /// Everyone has a directory of their own.
    Private,
    /// One after the other.
    Locked,
}

impl Sharing {
    const ALL: [(&'static str, Self); 3] = [
        ("shared", Self::Shared),
        ("private", Self::Private),
        ("locked", Self::Locked),
    ];
}

/// The options of one mount. Options that were not given, or were given empty,
/// are `None`; which default they have depends on the kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// `type`.
    pub kind: MountKind,
    /// `from`: a stage, an image or a named context.
    pub from: Option<String>,
    /// `source`, `src`.
    pub source: Option<String>,
    /// `target`, `dst`, `destination`.
    pub target: Option<String>,
    /// Whether it cannot be written to: the default of all but cache and tmpfs.
    pub read_only: bool,
    /// `size` of a tmpfs.
    pub size_bytes: Option<u64>,
    /// `id`.
    pub id: Option<String>,
    /// `sharing` of a cache.
    pub sharing: Option<Sharing>,
    /// Whether the build fails without the secret or the agent.
    pub required: bool,
    /// `env`: the variable that has the secret.
    pub env: Option<String>,
    /// `mode`.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<u32>,
    /// `gid`.
    pub gid: Option<u32>,
}

/// Reads the value of `--mount`, variables already replaced.
///
/// # Errors
/// The message, in BuildKit's words.
pub fn mount_options(word: &str) -> Result<MountOptions, String> {
    mount_options_with(word, |value| Ok(value.to_owned()))
}

/// Reads the value of `--mount` as written; `expand` replaces the variables of
/// each option's value, so that a comma in a variable splits nothing.
///
/// # Errors
/// The message, in BuildKit's words, or that of `expand`.
pub fn mount_options_with(
    word: &str,
    mut expand: impl FnMut(&str) -> Result<String, String>,
) -> Result<MountOptions, String> {
    let fields =
        csv_fields(word).map_err(|error| format!("failed to parse csv mounts: {error}"))?;
    let mut options = MountOptions::default();
    let mut read_only = None;
    for field in &fields {
        match field.split_once('=') {
            Some((key, value)) => {
                let key = key.to_lowercase();
                let value = expand(value)?;
                options.set(&key, value, field, &mut read_only)?;
            }
            None => options.set_bare(field, &mut read_only)?,
        }
    }
    let writable = matches!(options.kind, MountKind::Cache | MountKind::Tmpfs);
    options.read_only = read_only.unwrap_or(!writable);
    options.check()?;
    Ok(options)
}

/// Checks what can be checked of a `--mount` before variables are known.
pub(super) fn check_unexpanded(word: &str) -> Result<(), String> {
    let fields =
        csv_fields(word).map_err(|error| format!("failed to parse csv mounts: {error}"))?;
    for field in fields {
        let Some((key, value)) = field.split_once('=') else {
            continue;
        };
        let variable = value.find('$').is_some_and(|at| at + 1 != value.len());
        if key.eq_ignore_ascii_case("from") && variable {
            return Err(
                "'from' doesn't support variable expansion, define alias stage instead".to_owned(),
            );
        }
    }
    Ok(())
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountOptions {
    fn set_bare(&mut self, field: &str, read_only: &mut Option<bool>) -> Result<(), String> {
        match field.to_lowercase().as_str() {
            "readonly" | "ro" => *read_only = Some(true),
            "readwrite" | "rw" => *read_only = Some(false),
            "required" => {
                self.only_for("required", &[MountKind::Secret, MountKind::Ssh])?;
                self.required = true;
            }
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        Ok(())
    }

    fn set(
        &mut self,
        key: &str,
        value: String,
        field: &str,
        read_only: &mut Option<bool>,
    ) -> Result<(), String> {
        let invalid = || format!("invalid value for {key}: {value}");
        let number = |radix| {
            go::unsigned(&value, radix).ok_or_else(|| format!("invalid value {value} for {key}"))
        };
        match key {
            "type" => self.kind = named(&value, &MountKind::ALL, "mount type")?,
            "readonly" | "ro" => *read_only = Some(go::boolean(&value).ok_or_else(invalid)?),
            "readwrite" | "rw" => *read_only = Some(!go::boolean(&value).ok_or_else(invalid)?),
            "required" => {
                self.only_for(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.required = go::boolean(&value).ok_or_else(invalid)?;
            }
            "size" => {
                self.only_for(key, &[MountKind::Tmpfs])?;
                self.size_bytes = Some(go::memory_bytes(&value).ok_or_else(invalid)?);
            }
            "sharing" => self.sharing = Some(named(&value, &Sharing::ALL, "sharing value")?),
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            "from" => self.from = given(value),
            "source" | "src" => self.source = given(value),
            "target" | "dst" | "destination" => self.target = given(value),
            "id" => self.id = given(value),
            // An empty name is a choice of its own: that of the default.
            "env" => self.env = Some(value),
            _ => {
                let message = format!("unexpected key '{key}' in '{field}'");
                return Err(with_suggestion(message, key, &KEYS));
            }
        }
        Ok(())
    }

    fn only_for(&self, key: &str, kinds: &[MountKind]) -> Result<(), String> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        let kind = self.kind.name();
        Err(format!("unexpected key '{key}' for mount type '{kind}'"))
    }

    /// Checks what one option means for another.
    fn check(&self) -> Result<(), String> {
        let kind = self.kind;
        if matches!(kind, MountKind::Bind | MountKind::Tmpfs) {
            let given = [
                ("mode", self.mode.is_some()),
                ("uid", self.uid.is_some()),
                ("gid", self.gid.is_some()),
            ];
            if let Some((key, _)) = given.iter().find(|(_, is_given)| *is_given) {
                let kind = quote(kind.name());
                return Err(format!("{key} not allowed for {kind} type mounts"));
            }
        }
        if kind == MountKind::Secret {
            let message = if self.from.is_some() {
                "secret mount should not have a from"
            } else if self.sharing.is_some() {
                "secret mount should not define sharing"
            } else if self.source.is_none() && self.target.is_none() && self.id.is_none() {
                "invalid secret mount. one of source, target required"
            } else if self.source.is_some() && self.id.is_some() {
                "both source and id can't be set"
            } else {
                return Ok(());
            };
            return Err(message.to_owned());
        }
        if self.sharing.is_some() && kind != MountKind::Cache {
            return Err(format!(
                "invalid cache sharing set for {} mount",
                kind.name()
            ));
        }
        Ok(())
    }
}

fn given(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}

fn named<T: Copy>(value: &str, known: &[(&'static str, T)], what: &str) -> Result<T, String> {
    let lower = value.to_lowercase();
    let found = known.iter().find(|(name, _)| *name == lower);
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        let message = format!("unsupported {what} {}", quote(value));
        with_suggestion(message, value, &names)
    })
}

fn with_suggestion(message: String, word: &str, options: &[&str]) -> String {
    match suggest::closest_exact(word, options) {
        Some(option) => format!("{message} (did you mean {option}?)"),
        None => message,
    }
}

/// A device that a step asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// Its CDI name.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
}

/// Reads the value of `--device`.
///
/// # Errors
/// The message, in BuildKit's words.
pub fn device_request(word: &str) -> Result<DeviceRequest, String> {
    let fields =
        csv_fields(word).map_err(|error| format!("failed to parse csv devices: {error}"))?;
    let mut device = DeviceRequest::default();
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => {
                device.required = go::boolean(value)
                    .ok_or_else(|| format!("invalid value for {key}: {value}"))?;
            }
            ("name", Some(_)) if !device.name.is_empty() => {
                return Err(format!("device name already set to {}", device.name));
            }
            ("name", Some(value)) => value.clone_into(&mut device.name),
            _ if device.name.is_empty() => device.name = field,
            (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            (key, Some(_)) => {
                let message = format!("unexpected key '{key}' in '{field}'");
                return Err(with_suggestion(message, key, &["name", "required"]));
            }
        }
    }
    Ok(device)
}

/// Splits one line of comma-separated values.
///
/// # Errors
/// The message of Go.
///
/// Source: RFC 4180; the messages are those of Go's `encoding/csv`.
pub fn csv_fields(line: &str) -> Result<Vec<String>, String> {
    let line = line
        .strip_suffix("\r\n")
        .or_else(|| line.strip_suffix('\n'))
        .unwrap_or(line);
    if line.is_empty() {
        return Err("EOF".to_owned());
    }
    let error = |rest: &str, why: &str| {
        let column = line.len() - rest.len() + 1;
        format!("parse error on line 1, column {column}: {why}")
    };
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(mut quoted) = rest.strip_prefix('"') else {
            let end = rest.find(',').unwrap_or(rest.len());
            if let Some(at) = rest[..end].find('"') {
                return Err(error(&rest[at..], "bare \" in non-quoted field"));
            }
            fields.push(rest[..end].to_owned());
            if end == rest.len() {
                return Ok(fields);
            }
            rest = &rest[end + 1..];
            continue;
        };
        let mut field = String::new();
        loop {
            let Some(end) = quoted.find('"') else {
                return Err(error(quoted, "extraneous or missing \" in quoted-field"));
            };
            field.push_str(&quoted[..end]);
            let quote = &quoted[end..];
            quoted = &quoted[end + 1..];
            match quoted.as_bytes().first() {
                None => {
                    fields.push(field);
                    return Ok(fields);
                }
                Some(b',') => break,
                Some(b'"') => {
                    field.push('"');
                    quoted = &quoted[1..];
                }
                Some(_) => {
                    return Err(error(quote, "extraneous or missing \" in quoted-field"));
                }
            }
        }
        fields.push(field);
        rest = &quoted[1..];
    }
}

#[cfg(test)]
#[path = "tests/mount.rs"]
mod tests;
