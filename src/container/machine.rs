//! What a machine offers containers beside its kernel: outside runtimes, and
//! devices that files of their vendors describe.
//!
//! Both come from a file in the form of Docker's `daemon.json`, of which these
//! members count: `runtimes`, `default-runtime`, `cdi-spec-dirs`. It is read when
//! somebody needs it. crun and runc need not be in it: they are found in the PATH.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Error;
use super::cdi::{self, Registry};
use crate::sys::command;

/// The name of the runtime that this program is itself.
pub(super) const BUILT_IN: &str = "rbuild";
/// Runtimes that need no entry in the file.
const FOUND: [&str; 2] = ["crun", "runc"];
/// What containerd calls its way of running runc.
const CONTAINERD_RUNC: &str = "io.containerd.runc.v2";
/// Longest file that is read.
const FILE_LIMIT: u64 = 1 << 20;

/// Where to look for what a machine offers.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// The file; one that is missing says nothing.
    pub settings: PathBuf,
    /// The directories of programs, as in `PATH`.
    pub path: Option<String>,
}

/// What the file says, and what was found.
#[derive(Debug, Clone)]
pub struct Offers {
    named: BTreeMap<String, Program>,
    default: String,
    directories: Vec<PathBuf>,
    path: Option<String>,
}

/// An outside runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// Its arguments before all others.
    #[serde(default)]
    pub args: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Settings {
    runtimes: BTreeMap<String, Entry>,
    default_runtime: Option<String>,
    cdi_spec_dirs: Option<Vec<PathBuf>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    path: String,
    #[serde(default)]
    runtime_args: Vec<String>,
    #[serde(default)]
    runtime_type: String,
}

impl Machine {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Settings`] for a file that cannot be read or understood.
    pub fn offers(&self) -> Result<Offers, Error> {
        let settings = read(&self.settings).map_err(|source| Error::Settings {
            path: self.settings.clone(),
            source,
        })?;
        let mut named = BTreeMap::new();
        for (name, entry) in settings.runtimes {
            let wrong = |why: &str| Error::Settings {
                path: self.settings.clone(),
                source: io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("runtime {name:?}: {why}"),
                ),
            };
            if name == BUILT_IN {
                return Err(wrong("the name is reserved"));
            }
            if !entry.runtime_type.is_empty() && entry.runtime_type != CONTAINERD_RUNC {
                return Err(wrong(
                    "only programs with runc's command line are supported",
                ));
            }
            let path = match entry.path.as_str() {
                "" => return Err(wrong("it has no path")),
                plain if !plain.contains('/') => {
                    let found = command::find(plain, self.path.as_deref());
                    found.unwrap_or_else(|| PathBuf::from(plain))
                }
                path => PathBuf::from(path),
            };
            let args = entry.runtime_args;
            named.insert(name, Program { path, args });
        }
        let default = settings.default_runtime.filter(|name| !name.is_empty());
        let offers = Offers {
            named,
            default: default.unwrap_or_else(|| BUILT_IN.to_owned()),
            directories: settings
                .cdi_spec_dirs
                .unwrap_or_else(|| cdi::DIRECTORIES.map(PathBuf::from).into()),
            path: self.path.clone(),
        };
        offers.program(&offers.default)?;
        Ok(offers)
    }
}

fn read(path: &Path) -> io::Result<Settings> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_LIMIT).read_to_string(&mut text)?,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(err) => return Err(err),
    };
    Ok(serde_json::from_str(&text)?)
}

impl Offers {
    /// The name of the runtime that is meant by `asked`, or by nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not there.
    pub fn runtime(&self, asked: &str) -> Result<String, Error> {
        let name = if asked.is_empty() {
            &self.default
        } else {
            asked
        };
        self.program(name)?;
        Ok(name.to_owned())
    }

    /// The program of a runtime; `None` for this program itself.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that is not there.
    pub fn program(&self, name: &str) -> Result<Option<Program>, Error> {
        if matches!(name, "" | BUILT_IN) {
            return Ok(None);
        }
        if let Some(program) = self.named.get(name) {
            return Ok(Some(program.clone()));
        }
        let plain = if name == CONTAINERD_RUNC {
            "runc"
        } else {
            name
        };
        let found = if plain.starts_with('/') {
            Some(PathBuf::from(plain)).filter(|path| path.is_file())
        } else {
            FOUND
                .contains(&plain)
                .then(|| command::find(plain, self.path.as_deref()))
                .flatten()
        };
        let unknown = || Error::Invalid(format!("unknown or invalid runtime name: {name}"));
        let path = found.ok_or_else(unknown)?;
        Ok(Some(Program {
            path,
            args: Vec::new(),
        }))
    }

    /// The runtime of containers that ask for none.
    pub fn default_runtime(&self) -> &str {
        &self.default
    }

    /// Every runtime by name, with its program; this program has none.
    pub fn runtimes(&self) -> BTreeMap<String, Option<Program>> {
        let found = FOUND.iter().filter_map(|name| {
            let program = self.program(name).ok()??;
            Some(((*name).to_owned(), Some(program)))
        });
        let mut all: BTreeMap<String, Option<Program>> = found.collect();
        all.insert(BUILT_IN.to_owned(), None);
        let named = self.named.iter();
        all.extend(named.map(|(name, program)| (name.clone(), Some(program.clone()))));
        all
    }

    /// The directories of devices' files.
    pub fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// The devices in them.
    pub fn devices(&self) -> Registry {
        Registry::read(&self.directories)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(text: &str) -> Result<Offers, Error> {
        let dir = tempfile::tempdir().unwrap();
        let settings = dir.path().join("daemon.json");
        std::fs::write(&settings, text).unwrap();
        let machine = Machine {
            settings,
            path: None,
        };
        machine.offers()
    }

    #[test]
    fn runtimes_come_from_the_file() {
        let text = r#"{"runtimes":{"mine":{"path":"/bin/true","runtimeArgs":["-x"]}},
            "default-runtime":"mine","cdi-spec-dirs":["/c"],"log-level":"debug"}"#;
        let offers = offers(text).unwrap();
        assert_eq!(offers.runtime("").unwrap(), "mine");
        assert_eq!(offers.runtime("rbuild").unwrap(), "rbuild");
        let program = offers.program("mine").unwrap().unwrap();
        assert_eq!(program.args, ["-x"]);
        assert_eq!(offers.program("rbuild").unwrap(), None);
        assert_eq!(offers.directories(), [PathBuf::from("/c")]);
        let unknown = offers.runtime("nosuch").unwrap_err().to_string();
        assert_eq!(unknown, "unknown or invalid runtime name: nosuch");
        assert!(offers.runtime("/bin/sh").is_ok());
        assert!(offers.runtime("/no/such").is_err());
    }

    #[test]
    fn wrong_files_are_told() {
        for text in [
            "{",
            r#"{"runtimes":{"rbuild":{"path":"/x"}}}"#,
            r#"{"runtimes":{"a":{}}}"#,
            r#"{"runtimes":{"a":{"runtimeType":"io.containerd.kata.v2"}}}"#,
            r#"{"default-runtime":"nosuch"}"#,
        ] {
            assert!(offers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_file_says_nothing() {
        let offers = Machine::default().offers().unwrap();
        assert_eq!(offers.default_runtime(), BUILT_IN);
        assert!(offers.runtimes().contains_key(BUILT_IN));
    }
}
