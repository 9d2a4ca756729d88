//! The specification of a sandbox: all decided, nothing left to look up.
//!
//! It carries what the OCI runtime specification's `config.json` carries, so
//! that a bundle for another runtime can be written from it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::ResourceLimits;

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
    /// What few sandboxes need.
    #[serde(default)]
    pub particulars: Particulars,
}

/// What few sandboxes need: the default is a sandbox that shares nothing.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Particulars {
    /// Whose processes it sees. Where they are not its own alone, it needs a
    /// cgroup, by which its processes are found at its end.
    pub processes: Namespace,
    /// Whose IPC objects and shared memory it sees.
    pub ipc: Namespace,
    /// Whether there is no `/dev/shm`.
    pub no_shm: bool,
    /// Whether it sees the host's cgroups as they are.
    pub host_cgroups: bool,
    /// NIS domain name.
    pub domain_name: Option<String>,
    /// Whether this program is the first process, starts the program and collects
    /// what that leaves behind.
    pub init: bool,
    /// How readily the kernel kills it for want of memory, -1,000 to 1,000.
    pub oom_score_adj: Option<i32>,
    /// Whether it has every device of the host.
    pub host_devices: bool,
    /// Whether device nodes made inside work. Only where a cgroup restricts devices:
    /// they stay without use otherwise.
    pub device_nodes: bool,
    /// AppArmor profile of the program.
    pub apparmor: Option<String>,
    /// SELinux label of the program.
    pub label: Option<String>,
    /// The cgroup that it has or may be put into later, beneath each controller's root:
    /// processes that are frozen in there do not die before they are let go.
    pub later_cgroup: Option<String>,
}

/// Which namespace of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Namespace {
    /// One of the sandbox's own.
    #[default]
    Own,
    /// The host's.
    Host,
    /// That of a process, by its pid on the host.
    Of(i32),
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
    /// A device node.
    Device(DeviceNode),
    /// A tmpfs with mount options such as `size=64m,mode=1777`, always nosuid and nodev.
    Tmpfs {
        /// Options.
        options: String,
    },
}

/// A device node that is made for the sandbox: its owner and mode are the sandbox' own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// `c` for characters, `b` for blocks, `p` for a pipe.
    pub kind: char,
    /// Its number's first part.
    pub major: u32,
    /// Its number's second part.
    pub minor: u32,
    /// Its mode.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
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
    /// A profile in Docker's JSON form.
    Profile(String),
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
