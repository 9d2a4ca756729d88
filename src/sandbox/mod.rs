//! One process tree in namespaces, from a complete specification.
//!
//! RUN steps and containers share it. It knows neither images nor containers:
//! everything is decided in [`Spec`], nothing is left to look up. The namespaces
//! are entered by re-executing this program as a small single-threaded init
//! (`argv[0]` = [`INIT_ARGV0`]) that gets the specification through a socket.

mod channel;
mod enter;
mod identity;
mod init;
mod rootfs;
mod seccomp;
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

/// Docker's default capabilities, by their numbers in linux/capability.h: CHOWN,
/// DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
/// NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
pub const DEFAULT_CAPABILITIES: [u8; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];
