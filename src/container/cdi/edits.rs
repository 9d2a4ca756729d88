//! What devices need, in the words of a sandbox.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::document::{self, ContainerEdits, Hook};
use crate::sandbox::{DeviceNode, Mount, MountKind, Reach};

/// The mode of a device whose file says none. Source: runc's.
const MODE: u32 = 0o666;

/// Everything that is added to a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::container) struct Edits {
    /// Variables; they win over the container's own.
    pub(in crate::container) env: Vec<String>,
    /// Mounts and device nodes.
    pub(in crate::container) mounts: Vec<Mount>,
    /// Rules of the device controller.
    pub(in crate::container) rules: Vec<String>,
    /// Groups of the first process.
    pub(in crate::container) groups: Vec<u32>,
    /// Programs to be run, as the runtime specification's `hooks`.
    pub(in crate::container) hooks: Map<String, Value>,
}

impl Edits {
    /// Adds a device's edits, or those that are common to a file's devices.
    pub(super) fn add(&mut self, edits: &ContainerEdits, owner: (u32, u32)) -> Result<(), String> {
        if let Some(what) = edits.unsupported() {
            return Err(format!("{what} are not supported"));
        }
        self.env.extend(edits.env.iter().cloned());
        for node in &edits.device_nodes {
            let (mount, rule) = device(node, owner)?;
            self.mounts.retain(|known| known.target != mount.target);
            self.mounts.push(mount);
            self.rules.push(rule);
        }
        for mount in &edits.mounts {
            self.mounts.push(bind(mount)?);
        }
        for group in &edits.additional_groups {
            // Root's group gives nothing that is meant to be given.
            if *group != 0 && !self.groups.contains(group) {
                self.groups.push(*group);
            }
        }
        for one in &edits.hooks {
            let list = self.hooks.entry(one.name.clone());
            if let Value::Array(list) = list.or_insert_with(|| json!([])) {
                list.push(hook(one));
            }
        }
        Ok(())
    }

    /// Whether a program is allowed less of a device than everything.
    pub(in crate::container) fn withholds(&self) -> bool {
        let access = |rule: &String| rule.rsplit(' ').next().map_or(0, str::len);
        self.rules.iter().any(|rule| access(rule) < 3)
    }
}

fn device(node: &document::DeviceNode, owner: (u32, u32)) -> Result<(Mount, String), String> {
    let host = node.host_path.as_deref().filter(|path| !path.is_empty());
    let host = Path::new(host.unwrap_or(&node.path));
    let wanted = match node.kind.as_deref() {
        Some("u" | "c") => Some('c'),
        Some("b") => Some('b'),
        Some("p") => Some('p'),
        _ => None,
    };
    let (kind, major, minor) = match (wanted, node.major.unwrap_or(0)) {
        (Some('p'), _) => ('p', 0, 0),
        (Some(kind), major) if major != 0 => (kind, major, node.minor.unwrap_or(0)),
        _ => {
            let found = look_at(host)?;
            if wanted.is_some_and(|wanted| wanted != found.0) {
                return Err(format!(
                    "CDI device ({:?}, {:?}), host type mismatch",
                    node.path,
                    host.display().to_string()
                ));
            }
            found
        }
    };
    let permissions = node.permissions.as_deref().filter(|text| !text.is_empty());
    let permissions = permissions.unwrap_or("rwm");
    let mount = Mount {
        kind: MountKind::Device(DeviceNode {
            kind,
            major,
            minor,
            mode: node.file_mode.unwrap_or(MODE) & 0o7777,
            uid: node.uid.unwrap_or(owner.0),
            gid: node.gid.unwrap_or(owner.1),
        }),
        target: PathBuf::from(&node.path),
        read_only: false,
    };
    Ok((mount, format!("{kind} {major}:{minor} {permissions}")))
}

/// What a device of the host is.
fn look_at(path: &Path) -> Result<(char, u32, u32), String> {
    let shown = path.display().to_string();
    let meta = std::fs::metadata(path)
        .map_err(|err| format!("failed to stat CDI host device {shown:?}: {err}"))?;
    let kind = meta.file_type();
    let kind = if kind.is_block_device() {
        'b'
    } else if kind.is_char_device() {
        'c'
    } else if kind.is_fifo() {
        return Ok(('p', 0, 0));
    } else {
        return Err(format!("CDI host device {shown:?} is not a device"));
    };
    let number = meta.rdev();
    Ok((kind, rustix::fs::major(number), rustix::fs::minor(number)))
}

fn bind(mount: &document::Mount) -> Result<Mount, String> {
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    let target = PathBuf::from(&mount.container_path);
    let read_only = has("ro");
    match mount.kind.as_deref() {
        None | Some("" | "none" | "bind") => {}
        Some("tmpfs") => {
            let options = mount.options.join(",");
            return Ok(Mount {
                kind: MountKind::Tmpfs { options },
                target,
                read_only,
            });
        }
        Some(other) => return Err(format!("mounts of type {other:?} are not supported")),
    }
    let kinds = [
        "shared", "slave", "private", "rshared", "rslave", "rprivate",
    ];
    let propagation = kinds.into_iter().find(|kind| has(kind));
    Ok(Mount {
        kind: MountKind::Bind {
            source: PathBuf::from(&mount.host_path),
            propagation: propagation.map(str::to_owned),
            reach: if has("bind") && !has("rbind") {
                Reach::Top
            } else {
                Reach::All
            },
        },
        target,
        read_only,
    })
}

fn hook(hook: &Hook) -> Value {
    let mut value = json!({ "path": hook.path });
    if !hook.args.is_empty() {
        value["args"] = json!(hook.args);
    }
    if !hook.env.is_empty() {
        value["env"] = json!(hook.env);
    }
    if let Some(timeout) = hook.timeout {
        value["timeout"] = json!(timeout);
    }
    value
}
