//! The words of `-v` and `--mount`. Pure.

use std::path::{Component, Path, PathBuf};

use super::{Error, MountRequest};

impl MountRequest {
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
        if source.is_empty() {
            return Ok(Self::Volume {
                name: None,
                target,
                read_only: options.read_only,
                copy: options.copy,
            });
        }
        if source.starts_with(['/', '.', '~']) {
            return Ok(Self::Bind {
                source: clean(&directory.join(source)),
                target,
                read_only: options.read_only,
                propagation: options.propagation,
                create: true,
            });
        }
        check_volume_name(source)?;
        Ok(Self::Volume {
            name: Some(source.to_owned()),
            target,
            read_only: options.read_only,
            copy: options.copy,
        })
    }

    /// Parses `--tmpfs`: `/path[:options]`, with Docker's defaults for what is not said.
    pub fn parse_tmpfs(text: &str) -> Result<Self, Error> {
        let (target, options) = text.split_once(':').unwrap_or((text, ""));
        Ok(Self::Tmpfs {
            target: clean_target(target)?,
            options: tmpfs_options(options),
        })
    }

    /// Parses `--mount`: comma-separated `key=value`.
    pub fn parse_mount(text: &str, directory: &Path) -> Result<Self, Error> {
        let mut fields = Fields::default();
        for field in text.split(',') {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (field, None),
            };
            fields.take(&key.to_ascii_lowercase(), value, field)?;
        }
        let target = match &fields.target {
            Some(target) => clean_target(target)?,
            None => return Err(Error::Invalid("target is required".to_owned())),
        };
        match fields.kind.as_deref().unwrap_or("volume") {
            "bind" => {
                let source = fields.source.filter(|source| !source.is_empty());
                let source = source.ok_or_else(|| {
                    Error::Invalid(
                        "invalid mount config for type \"bind\": field Source must not be empty"
                            .to_owned(),
                    )
                })?;
                Ok(Self::Bind {
                    source: clean(&directory.join(source)),
                    target,
                    read_only: fields.read_only,
                    propagation: fields.propagation,
                    create: false,
                })
            }
            "volume" => {
                let name = fields.source.filter(|source| !source.is_empty());
                name.as_deref().map_or(Ok(()), check_volume_name)?;
                Ok(Self::Volume {
                    name,
                    target,
                    read_only: fields.read_only,
                    copy: !fields.no_copy,
                })
            }
            "tmpfs" => Ok(Self::Tmpfs {
                target,
                options: tmpfs_options(&fields.tmpfs.join(",")),
            }),
            kind => Err(Error::Invalid(format!("invalid mount type: {kind}"))),
        }
    }
}

#[derive(Debug, Default)]
struct Fields {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    no_copy: bool,
    propagation: Option<String>,
    tmpfs: Vec<String>,
}

impl Fields {
    fn take(&mut self, key: &str, value: Option<&str>, field: &str) -> Result<(), Error> {
        let invalid =
            || Error::Invalid(format!("invalid field '{field}' must be a key=value pair"));
        let own = || value.map(str::to_owned).ok_or_else(invalid);
        let truth = || match value {
            None | Some("1" | "true" | "True" | "TRUE") => Ok(true),
            Some("0" | "false" | "False" | "FALSE") => Ok(false),
            Some(other) => Err(Error::Invalid(format!("invalid value for {key}: {other}"))),
        };
        match key {
            "type" => self.kind = Some(own()?.to_ascii_lowercase()),
            "src" | "source" => self.source = Some(own()?),
            "dst" | "target" | "destination" => self.target = Some(own()?),
            "ro" | "readonly" => self.read_only = truth()?,
            "volume-nocopy" => self.no_copy = truth()?,
            "bind-propagation" => {
                let value = own()?;
                if !PROPAGATIONS.contains(&value.as_str()) {
                    return Err(Error::Invalid(format!("invalid propagation: {value}")));
                }
                self.propagation = Some(value);
            }
            "tmpfs-size" => self.tmpfs.push(format!("size={}", own()?)),
            "tmpfs-mode" => self.tmpfs.push(format!("mode={}", own()?)),
            "consistency" => {}
            _ => {
                return Err(Error::Invalid(format!(
                    "unexpected key '{key}' in '{field}'"
                )));
            }
        }
        Ok(())
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
        for word in text.split(',').filter(|_| !text.is_empty()) {
            match word {
                "ro" => options.read_only = true,
                "nocopy" => options.copy = false,
                // SELinux relabelling and caching hints change nothing here.
                "rw" | "z" | "Z" | "consistent" | "cached" | "delegated" => {}
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

fn check_volume_name(name: &str) -> Result<(), Error> {
    let mut bytes = name.bytes();
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if bytes.next().is_some_and(|b| b.is_ascii_alphanumeric()) && bytes.all(good) && name.len() > 1
    {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "create {name}: \"{name}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
         use absolute path"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(text: &str) -> Result<MountRequest, String> {
        MountRequest::parse_volume(text, Path::new("/work")).map_err(|err| err.to_string())
    }

    fn bind(source: &str, target: &str, read_only: bool) -> MountRequest {
        MountRequest::Bind {
            source: PathBuf::from(source),
            target: target.to_owned(),
            read_only,
            propagation: None,
            create: true,
        }
    }

    #[test]
    fn host_paths_names_and_anonymous() {
        assert_eq!(volume("/a:/b").unwrap(), bind("/a", "/b", false));
        assert_eq!(volume("/a/:/b/:ro,z").unwrap(), bind("/a", "/b", true));
        assert_eq!(volume("./x:/b").unwrap(), bind("/work/x", "/b", false));
        assert_eq!(volume("..:/b").unwrap(), bind("/", "/b", false));
        let named = |name: Option<&str>| MountRequest::Volume {
            name: name.map(str::to_owned),
            target: "/d".to_owned(),
            read_only: false,
            copy: true,
        };
        assert_eq!(volume("data:/d").unwrap(), named(Some("data")));
        assert_eq!(volume("/d").unwrap(), named(None));
    }

    #[test]
    fn wrong_volumes_are_refused() {
        assert_eq!(volume("/a:/b:nosuch").unwrap_err(), "invalid mode: nosuch");
        assert!(volume("a/../b:/b").unwrap_err().contains("volume name"));
        assert!(volume("/tmp:rel").unwrap_err().contains("must be absolute"));
        assert!(volume("rel").unwrap_err().contains("must be absolute"));
        for text in ["", ":/b", "/a:", "/a:/b:ro:z"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_long_form() {
        let mount = |text: &str| {
            MountRequest::parse_mount(text, Path::new("/")).map_err(|err| err.to_string())
        };
        assert_eq!(
            mount("type=bind,source=/h,target=/c,readonly").unwrap(),
            MountRequest::Bind {
                source: PathBuf::from("/h"),
                target: "/c".to_owned(),
                read_only: true,
                propagation: None,
                create: false,
            }
        );
        assert_eq!(
            mount("type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700").unwrap(),
            MountRequest::Tmpfs {
                target: "/t".to_owned(),
                options: "noexec,size=1m,mode=700".to_owned(),
            }
        );
        assert!(
            mount("type=nosuch,target=/x")
                .unwrap_err()
                .contains("mount type")
        );
        assert!(mount("type=bind,target=/x").is_err());
        assert!(mount("source=/x").is_err());
        assert!(mount("bogus=1,target=/x").is_err());
    }
}
