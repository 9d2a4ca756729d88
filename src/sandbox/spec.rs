//! The specification of a sandbox: all decided, nothing left to look up.
//!
//! It carries what the OCI runtime specification's `config.json` carries, so
//! that a bundle for another runtime can be written from it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything about one sandbox. Serialised: it travels to the init process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// The root file system.
    pub rootfs: RootFs,
    /// Mounts made inside after the standard ones (`/proc`, `/dev`, `/sys`, `/dev/shm`, ...), in order.
    pub mounts: Vec<Mount>,
    /// The argument vector; the first one is looked up in the sandbox's `PATH` unless it has a slash.
    pub argv: Vec<String>,
    /// The whole environment, `NAME=value`.
    pub env: Vec<String>,
    /// The working directory; created (0755, root) if missing when `create_cwd`.
    pub cwd: PathBuf,
    /// Whether a missing working directory is made.
    pub create_cwd: bool,
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Host name inside; the host's UTS namespace is shared when absent.
    pub hostname: Option<String>,
    /// Which network namespace.
    pub network: NetworkNamespace,
    /// Capabilities kept, as numbers of linux/capability.h (bounding set; permitted and effective too for root).
    pub capabilities: Vec<u8>,
    /// Whether privileges may never be gained again (`no_new_privs`).
    pub no_new_privileges: bool,
    /// System call filter.
    pub seccomp: Seccomp,
    /// Whether `/proc` and `/sys` have Docker's masked and read-only paths.
    pub mask_paths: bool,
    /// Whether the root file system is mounted read-only.
    pub read_only: bool,
    /// Resource limits of the process.
    pub rlimits: Vec<Rlimit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_bytes: u64,
    /// Sysctls set inside, by dotted name.
    pub sysctls: Vec<(String, String)>,
    /// Terminal size and allocation, for a terminal.
    pub terminal: Option<Terminal>,
    /// Path of the cgroup beneath each controller's root, such as `rbuild/<id>`; none when absent.
    pub cgroup: Option<String>,
    /// Limits set in that cgroup.
    pub resources: ResourceLimits,
    /// Whether everything is killed when the process that started it dies.
    pub die_with_parent: bool,
}

/// The root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootFs {
    /// Where it is mounted, an existing directory; seen only in the sandbox's mount namespace.
    pub mountpoint: PathBuf,
    /// Its layers.
    pub overlay: Overlay,
}

/// An overlayfs mount.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Overlay {
    /// Read-only layers, top first; at least one (the stubs).
    pub lower: Vec<PathBuf>,
    /// The writable layer.
    pub upper: PathBuf,
    /// overlayfs' scratch directory.
    pub work: PathBuf,
    /// Whether the kernel may skip syncing the upper layer when it is unmounted.
    pub volatile: bool,
}

/// One mount inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Mount {
    /// What.
    pub kind: MountKind,
    /// Where, resolved inside the root; the mount point is made (a file for a
    /// file, a directory for a directory) if missing.
    pub target: PathBuf,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum MountKind {
    /// A file or directory of the host, with what is mounted beneath it; `propagation` is `rprivate`
    /// unless named (`shared`, `rshared`, `slave`, `rslave`, `private`).
    Bind {
        /// Path on the host.
        source: PathBuf,
        /// Propagation.
        propagation: Option<String>,
        /// What of the mounts beneath.
        reach: Reach,
    },
    /// A path beneath a directory of the host. Links in it are followed beneath that
    /// directory and lead nowhere else, also when somebody changes them meanwhile.
    Beneath {
        /// The directory.
        root: PathBuf,
        /// The path; empty for the directory itself.
        path: PathBuf,
    },
    /// A path inside layers of its own, as overlayfs shows them. Links in the path
    /// are followed inside the layers and lead nowhere else.
    Tree {
        /// The layers; what is written goes into the upper one.
        overlay: Overlay,
        /// The path from the layers' root; empty for all of them.
        path: PathBuf,
    },
    /// A file in memory.
    File {
        /// Its content.
        content: SecretBytes,
        /// Its mode.
        mode: u32,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// A file system of the host's kernel, always nosuid and nodev.
    FileSystem {
        /// Its type, such as `ext4` or `tmpfs`.
        kind: String,
        /// What it is on.
        device: String,
        /// Mount options, separated by commas.
        options: String,
        /// The path in it; empty for all of it.
        path: PathBuf,
    },
    /// A tmpfs with mount options such as `size=64m,mode=1777`, always nosuid and nodev.
    Tmpfs {
        /// Options.
        options: String,
    },
}

/// What a bind mount takes of the mounts beneath its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reach {
    /// All, read-only where the mount is.
    #[default]
    All,
    /// All, and only the topmost is read-only where the mount is.
    TopReadOnly,
    /// None.
    Top,
}

/// Bytes that no message shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretBytes(pub Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Which network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NetworkNamespace {
    /// The host's.
    Host,
    /// A new one with only loopback, brought up.
    Isolated,
    /// A prepared one, whose descriptor is passed beside the specification.
    Passed,
}

/// System call filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    /// None.
    Unconfined,
    /// Docker's default profile for the capabilities in the specification.
    Default,
}

/// A user-namespace mapping line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMap {
    /// First ID inside.
    pub inside: u32,
    /// First ID outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A resource limit, by its number in sys/resource.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// Soft limit; `u64::MAX` for none.
    pub soft: u64,
    /// Hard limit; `u64::MAX` for none.
    pub hard: u64,
}

/// A terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Rows; 0 leaves the kernel's default.
    pub rows: u16,
    /// Columns; 0 leaves the kernel's default.
    pub columns: u16,
}

/// What a cgroup limits. `None` leaves it alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory and swap together, in bytes; `u64::MAX` for any amount of swap. As
    /// much swap as memory when absent.
    pub memory_swap_bytes: Option<u64>,
    /// CPU time in units of 10^-9 CPU (`--cpus 0.5` is 500,000,000).
    pub nano_cpus: Option<u64>,
    /// Share of CPU time where others want it too: 2 to 262,144, the usual is 1,024.
    pub cpu_shares: Option<u64>,
    /// Processors that may be used, as in `0-2,4`.
    pub cpuset_cpus: Option<String>,
    /// Memory nodes that may be used, as in `0,1`.
    pub cpuset_mems: Option<String>,
    /// Number of processes and threads.
    pub pids: Option<u64>,
}

/// Which devices may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceAccess {
    /// Docker's default list.
    Default,
    /// Every device.
    All,
}
