//! One process tree in namespaces, from a complete specification.
//!
//! RUN steps and containers share it. It knows neither images nor containers:
//! everything is decided in [`Spec`], nothing is left to look up. The namespaces
//! are entered by re-executing this program as a small single-threaded init
//! (`argv[0]` = [`INIT_ARGV0`]) that gets the specification through a socket.
//!
//! Three processes take part. The *parent* ([`spawn`]) may have any number of
//! threads and never forks. The *init* stays in the host's namespaces, forks the
//! *first process* into new ones, waits for it and removes its cgroup; when the
//! parent dies, however it dies, the init sees their socket close and kills the
//! first process, and when the init dies, the kernel does. The first process
//! builds its root file system, gives up its privileges and becomes the program.
//! All mounts are made in its mount namespace and end with it.
//!
//! Devices: nothing that can be mounted or written inside takes device nodes,
//! but for the few of `/dev`, each a mount of its own, so that no cgroup
//! controller is needed to keep the host's disks away from `mknod`. Whoever is
//! given `CAP_SYS_ADMIN` is spared that; it could undo it.
//!
//! It needs Linux 5.12 (`mount_setattr`); overlays of many layers need 6.8.

mod channel;
mod enter;
mod failure;
mod init;
mod inside;
mod oci;
mod outside;
mod reaper;
mod running;
mod seccomp;
mod spawn;
mod spec;

pub use enter::{ExecSpec, enter};
pub use init::{IPC_SYSCTLS, main as init_main};
pub use inside::{Inside, Place};
pub use outside::{Outside, Runtime, enter_outside, spawn_outside};
pub use reaper::main as reaper_main;
pub use running::{Exit, Killer, Running};
pub use spawn::{Error, ReadyInit, Stdio, check_profile, spawn, spawn_forked};
pub use spec::{
    DeviceNode, IdMap, Mount, MountKind, Namespace, NetworkNamespace, Overlay, Particulars, Reach,
    Rlimit, RootFs, Seccomp, SecretBytes, Spec, Terminal,
};

pub use crate::sys::cgroup::{DeviceRate, Limits as ResourceLimits, RateKind};
pub use crate::sys::process::set_program;

/// The name under which this program starts itself as a sandbox's init.
pub const INIT_ARGV0: &str = "rbuild-init";

/// The name under which this program runs as the first process of a sandbox, where
/// [`Particulars::init`] asks for it; Docker's name for the same.
pub const REAPER_ARGV0: &str = "/sbin/docker-init";

/// Docker's default capabilities, by their numbers in linux/capability.h: CHOWN,
/// DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE,
/// NET_RAW, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
pub const DEFAULT_CAPABILITIES: [u8; 14] = [0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31];
