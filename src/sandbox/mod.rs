//! One process tree in namespaces, from a complete specification.
//!
//! RUN steps and containers share it. It knows neither images nor containers:
//! everything is decided in [`Spec`], nothing is left to look up. The namespaces
//! are entered by re-executing this program as a small single-threaded init
//! (`argv[0]` = [`INIT_ARGV0`]) that gets the specification through a socket.

mod enter;
mod init;
mod spawn;
mod spec;

pub use enter::{ExecSpec, enter};
pub use init::main as init_main;
pub use spawn::{Error, Exit, Killer, Running, Stdio, spawn};
pub use spec::{
    DeviceAccess, IdMap, Mount, MountKind, NetworkNamespace, Overlay, ResourceLimits, Rlimit,
    RootFs, Seccomp, Spec, Terminal,
};

/// The name under which this program starts itself as a sandbox's init.
pub const INIT_ARGV0: &str = "rbuild-init";
