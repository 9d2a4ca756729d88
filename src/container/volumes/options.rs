//! The options of the local driver: what a volume is when it is no directory of
//! its own. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::container::Error;

/// What the containers of a volume mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::container) enum Backing {
    /// The volume's own directory.
    Directory,
    /// A path of the host.
    Bind {
        /// The path.
        path: PathBuf,
        /// Whether it is read-only.
        read_only: bool,
    },
    /// A file system.
    FileSystem {
        /// Its type, such as `tmpfs`, `nfs`, `ext4`.
        kind: String,
        /// What it is on.
        device: String,
        /// Mount options.
        options: String,
    },
}

/// Checks the options of a new volume.
///
/// Source: moby `daemon/volume/local`, Unix.
pub(super) fn check(options: &BTreeMap<String, String>) -> Result<(), Error> {
    for key in options.keys() {
        if !["type", "o", "device", "size"].contains(&key.as_str()) {
            return Err(Error::Invalid(format!("invalid option: \"{key}\"")));
        }
    }
    let missing = |key: &str| {
        let wanted = options.contains_key(key);
        wanted.then(|| Error::Invalid(format!("missing required option: \"{key}\"")))
    };
    if options.contains_key("size") {
        return Err(Error::Invalid(
            "quota size requested but no quota support".to_owned(),
        ));
    }
    let has = |key: &str| options.get(key).is_some_and(|value| !value.is_empty());
    if missing("o")
        .or(missing("type"))
        .or(missing("device"))
        .is_some()
    {
        for key in ["device", "type"] {
            if !has(key) {
                return Err(Error::Invalid(format!(
                    "missing required option: \"{key}\""
                )));
            }
        }
    }
    Ok(())
}

/// What a volume with these options is.
pub(in crate::container) fn backing(options: &BTreeMap<String, String>) -> Backing {
    let text = |key: &str| options.get(key).cloned().unwrap_or_default();
    let (kind, device, flags) = (text("type"), text("device"), text("o"));
    if device.is_empty() {
        return Backing::Directory;
    }
    let has = |flag: &str| flags.split(',').any(|word| word == flag);
    if has("bind") || has("rbind") {
        return Backing::Bind {
            path: PathBuf::from(device),
            read_only: has("ro"),
        };
    }
    Backing::FileSystem {
        kind,
        device,
        options: flags,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn options_that_go_together() {
        for good in [
            &[][..],
            &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=5m")],
            &[("type", "none"), ("device", "/srv"), ("o", "bind")],
        ] {
            check(&options(good)).unwrap();
        }
        for (wrong, message) in [
            (&[("nosuch", "1")][..], "invalid option: \"nosuch\""),
            (&[("type", "nfs")], "missing required option: \"device\""),
            (&[("device", "/srv")], "missing required option: \"type\""),
            (&[("o", "ro")], "missing required option: \"device\""),
        ] {
            assert_eq!(check(&options(wrong)).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn a_bind_is_no_file_system() {
        let bind = options(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]);
        assert_eq!(
            backing(&bind),
            Backing::Bind {
                path: PathBuf::from("/srv"),
                read_only: true
            }
        );
        assert_eq!(backing(&options(&[])), Backing::Directory);
    }
}
