//! `config.json` of the OCI runtime specification, from a sandbox' own
//! specification. Pure: what is looked up comes in [`Facts`].
//!
//! What the sandbox mounts lies ready when the runtime looks at it: the root file
//! system and a place for each mount, the network namespace and this program, all
//! beneath one directory ([`Stage`]). So the document needs no path of the host
//! that only our own process could resolve safely.
//!
//! Source: runtime-spec 1.2, config and config-linux.

mod linux;
mod mounts;
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

pub(super) use linux::resources;
pub(super) use process::of_exec;

use super::Spec;

/// The version of the specification that the documents are of.
const VERSION: &str = "1.1.0";

/// A device node that is to be in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    /// Its path inside.
    pub(super) path: PathBuf,
    /// `c`, `b` or `p`.
    pub(super) kind: char,
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// What was looked up on this machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// Device nodes beneath `/dev` beside those that every sandbox has.
    pub(super) devices: Vec<Device>,
    /// Paths that are not to be seen.
    pub(super) masked: Vec<String>,
    /// The numbers of the mounts that are directories of the host.
    pub(super) directories: Vec<usize>,
    /// The system call filter, in the specification's form.
    pub(super) seccomp: Option<Value>,
}

/// Where things lie ready, beneath one directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage<'a>(pub(super) &'a Path);

impl Stage<'_> {
    /// The root file system.
    pub(super) fn root(self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// The mount of this number in the specification.
    pub(super) fn mount(self, number: usize) -> PathBuf {
        self.0.join(number.to_string())
    }

    /// The network namespace.
    pub(super) fn network(self) -> PathBuf {
        self.0.join("network")
    }

    /// Shared memory that is not the sandbox' own.
    pub(super) fn memory(self) -> PathBuf {
        self.0.join("shm")
    }

    /// This program, as an init.
    pub(super) fn init(self) -> PathBuf {
        self.0.join("init")
    }
}

/// What only an outside runtime is told.
#[derive(Debug, Clone, Default)]
pub(super) struct Further<'a> {
    pub(super) annotations: BTreeMap<String, String>,
    /// `hooks` of the document; null for none.
    pub(super) hooks: Value,
    /// Whether a network namespace lies ready.
    pub(super) network: bool,
    /// Whether shared memory lies ready.
    pub(super) memory: bool,
    pub(super) facts: Option<&'a Facts>,
}

/// Makes the document.
pub(super) fn config(spec: &Spec, further: &Further<'_>) -> Value {
    let stage = Stage(&spec.rootfs.mountpoint);
    let nothing = Facts::default();
    let facts = further.facts.unwrap_or(&nothing);
    let mut config = Map::new();
    let mut put = |name: &str, value: Value| drop(config.insert(name.to_owned(), value));
    put("ociVersion", json!(VERSION));
    put("process", process::of_first(spec));
    put(
        "root",
        json!({ "path": stage.root(), "readonly": spec.read_only }),
    );
    if let Some(name) = &spec.hostname {
        put("hostname", json!(name));
    }
    if let Some(name) = &spec.particulars.domain_name {
        put("domainname", json!(name));
    }
    put("mounts", mounts::mounts(spec, stage, further.memory, facts));
    if !further.hooks.is_null() {
        put("hooks", further.hooks.clone());
    }
    if !further.annotations.is_empty() {
        put("annotations", json!(further.annotations));
    }
    put("linux", linux::linux(spec, stage, further.network, facts));
    Value::Object(config)
}

#[cfg(test)]
mod tests;
