//! The words of `-v`, `--mount` and `--tmpfs`. Pure.

mod fields;

use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::volumes::VolumeRequest;
use fields::Fields;

/// One mount asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountRequest {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        source: PathBuf,
        /// Absolute path in the container.
        target: String,
        /// Whether it is read-only.
        read_only: bool,
        /// Propagation, such as `rshared`; `rprivate` when absent.
        propagation: Option<String>,
        /// Whether a missing source becomes a directory (`-v`) or an error (`--mount`).
        create: bool,
        /// What of the mounts beneath the source.
        #[serde(default)]
        recursive: BindRecursive,
    },
    /// A volume of the host's store; anonymous without a name.
    Volume {
        /// Its name.
        name: Option<String>,
        /// Absolute path in the container.
        target: String,
        /// Whether it is read-only.
        read_only: bool,
        /// Whether an empty volume is filled with what the image has at `target`.
        copy: bool,
        /// The part of the volume that is mounted; all of it when absent.
        #[serde(default)]
        subpath: Option<String>,
        /// Labels of a volume that is made.
        #[serde(default)]
        labels: Vec<(String, String)>,
        /// Options of the driver for a volume that is made.
        #[serde(default)]
        options: Vec<(String, String)>,
    },
    /// Memory.
    Tmpfs {
        /// Absolute path in the container.
        target: String,
        /// Mount options such as `size=64m,mode=1777`.
        options: String,
        /// Whether it is read-only.
        #[serde(default)]
        read_only: bool,
    },
    /// An image's files, read-only.
    Image {
        /// The image as the user wrote it; its ID once the container is made.
        image: String,
        /// Absolute path in the container.
        target: String,
        /// The part of the image that is mounted; all of it when absent.
        subpath: Option<String>,
    },
}

/// What a bind mount takes of the mounts beneath its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BindRecursive {
    /// All of them, read-only where the mount is.
    #[default]
    Enabled,
    /// None of them.
    Disabled,
    /// All of them, writable also where the mount is not.
    Writable,
    /// All of them, read-only.
    Readonly,
}

impl MountRequest {
    /// Where it goes in the container.
    pub fn target(&self) -> &str {
        match self {
            Self::Bind { target, .. }
            | Self::Volume { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Image { target, .. } => target,
        }
    }

    /// Parses `-v`: `/host:/container[:options]`, `name:/container[:options]` or
    /// `/container`. A relative host path starts at `directory`.
    pub fn parse_volume(text: &str, directory: &Path) -> Result<Self, Error> {
        let invalid =
            |why: &str| Error::Invalid(format!("invalid volume specification: '{text}'{why}"));
        let fields: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match fields.as_slice() {
            [target] => ("", *target, ""),
            [source, target] => (*source, *target, ""),
            [source, target, options] => (*source, *target, *options),
            _ => return Err(invalid("")),
        };
        if fields.len() > 1 && source.is_empty() || target.is_empty() {
            return Err(invalid(""));
        }
        let target = clean_target(target)?;
        let options = VolumeOptions::parse(options)?;
        if source.starts_with(['/', '.', '~']) {
            if !options.copy {
                return Err(invalid(
                    ": invalid mount config for type \"bind\": field VolumeOptions must not be specified",
                ));
            }
            return Ok(Self::Bind {
                source: clean(&directory.join(source)),
                target,
                read_only: options.read_only,
                propagation: options.propagation,
                create: true,
                recursive: BindRecursive::Enabled,
            });
        }
        if options.propagation.is_some() {
            return Err(invalid(": a volume has no propagation"));
        }
        let name = (!source.is_empty()).then(|| source.to_owned());
        name.as_deref().map_or(Ok(()), check_volume_name)?;
        Ok(Self::Volume {
            name,
            target,
            read_only: options.read_only,
            copy: options.copy,
            subpath: None,
            labels: Vec::new(),
            options: Vec::new(),
        })
    }

    /// Parses `--tmpfs`: `/path[:options]`, with Docker's defaults for what is not said.
    pub fn parse_tmpfs(text: &str) -> Result<Self, Error> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self::Tmpfs {
            target: clean_target(target)?,
            options: tmpfs_options(options),
            read_only: false,
        })
    }

    /// Parses `--mount`: `key=value` separated by commas, quoted as in CSV.
    pub fn parse_mount(text: &str, directory: &Path) -> Result<Self, Error> {
        let fields = Fields::parse(text)?;
        let target = match &fields.target {
            Some(target) if !target.is_empty() => clean_target(target)?,
            _ => return Err(Error::Invalid("target is required".to_owned())),
        };
        let kind = fields.kind.clone().unwrap_or_else(|| "volume".to_owned());
        fields.check(&kind)?;
        let source = fields.source.filter(|source| !source.is_empty());
        let missing = || {
            Error::Invalid(format!(
                "invalid mount config for type \"{kind}\": field Source must not be empty"
            ))
        };
        match kind.as_str() {
            "bind" => Ok(Self::Bind {
                source: clean(&directory.join(source.ok_or_else(missing)?)),
                target,
                read_only: fields.read_only,
                propagation: fields.propagation,
                create: fields.create_source,
                recursive: fields.recursive,
            }),
            "volume" => {
                source.as_deref().map_or(Ok(()), check_volume_name)?;
                Ok(Self::Volume {
                    name: source,
                    target,
                    read_only: fields.read_only,
                    copy: !fields.no_copy,
                    subpath: fields.subpath,
                    labels: fields.labels,
                    options: fields.options,
                })
            }
            "tmpfs" => Ok(Self::Tmpfs {
                target,
                options: tmpfs_options(&fields.tmpfs.join(",")),
                read_only: fields.read_only,
            }),
            "image" => Ok(Self::Image {
                image: source.ok_or_else(missing)?,
                target,
                subpath: fields.subpath,
            }),
            kind => Err(Error::Invalid(format!("invalid mount type: {kind}"))),
        }
    }

    /// The volume that it is on, if it names one.
    pub(super) fn volume(&self) -> Option<VolumeRequest> {
        match self {
            Self::Volume {
                name: Some(name),
                labels,
                options,
                ..
            } => Some(VolumeRequest {
                name: Some(name.clone()),
                labels: labels.iter().cloned().collect(),
                options: options.iter().cloned().collect(),
            }),
            _ => None,
        }
    }
}

const PROPAGATIONS: [&str; 6] = [
    "shared", "rshared", "slave", "rslave", "private", "rprivate",
];

#[derive(Debug)]
struct VolumeOptions {
    read_only: bool,
    copy: bool,
    propagation: Option<String>,
}

impl VolumeOptions {
    fn parse(text: &str) -> Result<Self, Error> {
        let mut options = Self {
            read_only: false,
            copy: true,
            propagation: None,
        };
        let words = || text.split(',').filter(|_| !text.is_empty());
        // Each may be said in one way only.
        let families: [&[&str]; 5] = [
            &["ro", "rw"],
            &["z", "Z"],
            &["consistent", "cached", "delegated", "default"],
            &["nocopy"],
            &PROPAGATIONS,
        ];
        for family in families {
            if words().filter(|word| family.contains(word)).count() > 1 {
                return Err(Error::Invalid(format!("invalid mode: {text}")));
            }
        }
        for word in words() {
            match word {
                "ro" => options.read_only = true,
                "nocopy" => options.copy = false,
                // SELinux relabelling and caching hints change nothing here.
                "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" | "default" => {}
                word if PROPAGATIONS.contains(&word) => options.propagation = Some(word.to_owned()),
                _ => return Err(Error::Invalid(format!("invalid mode: {text}"))),
            }
        }
        Ok(options)
    }
}

/// Docker's options for a tmpfs, then the user's.
fn tmpfs_options(text: &str) -> String {
    let mut options = vec!["noexec".to_owned()];
    let mut mode = false;
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word {
            "exec" => options.retain(|option| option != "noexec"),
            // Always so, or already so.
            "rw" | "nosuid" | "nodev" | "noexec" => {}
            word => {
                mode |= word.starts_with("mode=");
                options.push(word.to_owned());
            }
        }
    }
    if !mode {
        options.push("mode=1777".to_owned());
    }
    options.join(",")
}

fn clean_target(target: &str) -> Result<String, Error> {
    if !target.starts_with('/') {
        return Err(Error::Invalid(format!(
            "invalid mount path: '{target}' mount path must be absolute"
        )));
    }
    Ok(clean(Path::new(target)).to_string_lossy().into_owned())
}

/// Without `.`, `..` and double slashes, as Go's `filepath.Clean`.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => drop(cleaned.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

/// Refuses what is no name of a volume: one that it cannot have is no path either.
pub(super) fn check_volume_name(name: &str) -> Result<(), Error> {
    const LONGEST: usize = 255;
    let mut bytes = name.bytes();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let fits = (2..=LONGEST).contains(&name.len());
    if bytes.next().is_some_and(|b| b.is_ascii_alphanumeric()) && bytes.all(good) && fits {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
         use absolute path"
    )))
}

#[cfg(test)]
mod tests;
