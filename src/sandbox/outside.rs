//! Sandboxes that an outside OCI runtime makes, such as crun or runc.
//!
//! The same three processes take part as everywhere, but the init forks nothing
//! itself: it lays the file systems ready in a mount namespace of its own, calls
//! the runtime's `create` and `start`, adopts the first process, waits for it, and
//! calls `delete`. When its parent dies it deletes the container by force. So
//! whoever starts a sandbox sees no difference, and nothing is mounted on the host.
//!
//! Source: runtime-spec 1.2, runtime; the command line that runc and its kin share.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::channel::TaskRef;
use super::failure::{During, Failure, Step};
use super::init::{devices_of_host, masked};
use super::oci::{self, Device, Facts, Further};
use super::spawn::{Filter, Origin, Stdio, command, start};
use super::{
    DeviceNode, Error, ExecSpec, MountKind, NetworkNamespace, ResourceLimits, Running, Seccomp,
    Spec, seccomp,
};

/// The file in a runtime's directory that says which runtime it was.
const NOTE: &str = "runtime.json";

/// An outside runtime, and one container of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// The program.
    pub path: PathBuf,
    /// Its arguments before ours.
    pub args: Vec<String>,
    /// A directory for its state, its bundle and its log; made when it is needed.
    pub dir: PathBuf,
    /// The container's ID.
    pub id: String,
}

/// What only an outside runtime is told of a sandbox.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Programs that it is to run at points of the sandbox' life, as the
    /// specification's `hooks`; null for none.
    pub hooks: Value,
}

/// What the init is to do with a runtime.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Errand {
    /// Make a container and stay with it.
    Create {
        runtime: Runtime,
        spec: Box<Spec>,
        config: String,
    },
    /// Start a further process and stay with it.
    Exec {
        runtime: Runtime,
        process: String,
        command: String,
    },
    /// Call it once; `{}` in the words stands for a file with the document.
    Call {
        runtime: Runtime,
        words: Vec<String>,
        document: Option<String>,
    },
}

impl Errand {
    /// The name of the program.
    pub(super) fn command(&self) -> &str {
        match self {
            Self::Create { spec, .. } => spec.argv.first().map_or("", String::as_str),
            Self::Exec { command, .. } => command,
            Self::Call { .. } => "",
        }
    }
}

/// An outside runtime sets its own filter.
const NO_FILTER: Filter<'_> = Filter {
    seccomp: &Seccomp::Unconfined,
    capabilities: &[],
};

/// Starts a sandbox by an outside runtime. Returns when the program was executed,
/// or why it was not.
pub fn spawn_outside(
    runtime: &Runtime,
    spec: &Spec,
    outside: Outside,
    stdio: Stdio<'_>,
    network: Option<BorrowedFd<'_>>,
) -> Result<Running, Error> {
    let failed = |failure: Failure| failure.into_error("");
    let network = network.filter(|_| spec.network == NetworkNamespace::Passed);
    let mut spec = spec.clone();
    let facts = look_up(&mut spec).map_err(failed)?;
    let further = Further {
        annotations: outside.annotations,
        hooks: outside.hooks,
        network: network.is_some(),
        memory: spec.particulars.ipc != super::Namespace::Own,
        facts: Some(&facts),
    };
    let errand = Errand::Create {
        runtime: runtime.clone(),
        config: oci::config(&spec, &further).to_string(),
        spec: Box::new(spec),
    };
    let task = TaskRef::Outside(&errand);
    let running = start(task, stdio, network, &NO_FILTER, Origin::Executed)?;
    Ok(running.kept_by(runtime.clone()))
}

/// Starts a further process in a sandbox of an outside runtime.
pub fn enter_outside(
    runtime: &Runtime,
    spec: &ExecSpec,
    stdio: Stdio<'_>,
) -> Result<Running, Error> {
    let mut spec = spec.clone();
    let held = hold(&mut spec.capabilities).during("read the capabilities");
    held.map_err(|failure| failure.into_error(""))?;
    let errand = Errand::Exec {
        runtime: runtime.clone(),
        process: oci::of_exec(&spec).to_string(),
        command: spec.argv.first().cloned().unwrap_or_default(),
    };
    let task = TaskRef::Outside(&errand);
    let running = start(task, stdio, None, &NO_FILTER, Origin::Executed)?;
    Ok(running.made_outside())
}

/// Takes what the runtime makes itself out of the specification, and looks the rest up.
fn look_up(spec: &mut Spec) -> Step<Facts> {
    let seccomp = seccomp::as_document(&spec.seccomp, &spec.capabilities)
        .map_err(std::io::Error::other)
        .during("make the system call filter")?;
    hold(&mut spec.capabilities).during("read the capabilities")?;
    let mut devices = Vec::new();
    if spec.particulars.host_devices {
        devices.extend(devices_of_host().iter().map(|node| {
            let (path, node) = node.facts();
            as_device(path, &node)
        }));
    }
    spec.mounts.retain(|mount| {
        let MountKind::Device(node) = &mount.kind else {
            return true;
        };
        // Elsewhere the node would stay in the sandbox' own layer.
        if !mount.target.starts_with("/dev") {
            return true;
        }
        devices.retain(|known: &Device| known.path != mount.target);
        devices.push(as_device(mount.target.clone(), node));
        false
    });
    let is_directory = |kind: &MountKind| match kind {
        MountKind::Bind { source, .. } => source.is_dir(),
        MountKind::Beneath { .. } | MountKind::Tree { .. } => true,
        _ => false,
    };
    let mounts = spec.mounts.iter().enumerate();
    let directories = mounts.filter(|(_, mount)| is_directory(&mount.kind));
    Ok(Facts {
        directories: directories.map(|(number, _)| number).collect(),
        devices,
        masked: masked(),
        seccomp,
    })
}

/// Leaves those capabilities that there are: nobody can give what they lack, and
/// not every runtime passes over it.
fn hold(capabilities: &mut Vec<u8>) -> rustix::io::Result<()> {
    let held = rustix::thread::capabilities(None)?.permitted.bits();
    capabilities.retain(|number| held.checked_shr(u32::from(*number)).unwrap_or(0) & 1 == 1);
    Ok(())
}

fn as_device(path: PathBuf, node: &DeviceNode) -> Device {
    Device {
        path,
        kind: node.kind,
        major: node.major,
        minor: node.minor,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
    }
}

impl Runtime {
    /// The runtime whose container was left in this directory, if there is one.
    pub fn left_in(dir: &Path) -> Option<Self> {
        let text = std::fs::read(dir.join(NOTE)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Leaves the note that [`Runtime::left_in`] reads.
    pub(super) fn leave_note(&self) -> std::io::Result<()> {
        std::fs::write(self.dir.join(NOTE), serde_json::to_vec(self)?)
    }

    /// Stops all processes of the container for a while.
    pub fn pause(&self) -> Result<(), Error> {
        self.call(&["pause", &self.id], None)
    }

    /// Lets them go on.
    pub fn resume(&self) -> Result<(), Error> {
        self.call(&["resume", &self.id], None)
    }

    /// Changes limits of the running container.
    pub fn update(&self, limits: &ResourceLimits) -> Result<(), Error> {
        let document = oci::resources(limits).to_string();
        self.call(&["update", "--resources", "{}", &self.id], Some(document))
    }

    /// Sends a signal to the container's first process.
    pub fn kill(&self, signal: i32) -> Result<(), Error> {
        self.call(&["kill", &self.id, &signal.to_string()], None)
    }

    /// Ends the container with everything in it, and forgets it.
    pub fn delete(&self) -> Result<(), Error> {
        self.call(&["delete", "--force", &self.id], None)
    }

    fn call(&self, words: &[&str], document: Option<String>) -> Result<(), Error> {
        command(&Errand::Call {
            runtime: self.clone(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            document,
        })
    }
}
