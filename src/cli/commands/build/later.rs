//! Flags of later versions: known, and refused by name rather than ignored.

use crate::cli::report::Failure;

/// Flags that are not available yet.
#[derive(Debug, clap::Args)]
pub(crate) struct Later {
    /// A file or variable for `RUN --mount=type=secret`
    #[arg(long, hide = true, value_name = "SECRET")]
    secret: Vec<String>,
    /// An SSH agent for `RUN --mount=type=ssh`
    #[arg(long, hide = true, value_name = "ID")]
    ssh: Vec<String>,
    /// A further context by name
    #[arg(long, hide = true, value_name = "NAME=VALUE")]
    build_context: Vec<String>,
    /// Stages that may not come from the cache
    #[arg(long, hide = true, value_name = "STAGES")]
    no_cache_filter: Vec<String>,
    /// Where to take cache from
    #[arg(long, hide = true, value_name = "SOURCE")]
    cache_from: Vec<String>,
    /// Where to put cache
    #[arg(long, hide = true, value_name = "TARGET")]
    cache_to: Vec<String>,
    /// Extra rights
    #[arg(long, hide = true, value_name = "ENTITLEMENT")]
    pub(super) allow: Vec<String>,
    /// The parent of the steps' cgroups
    #[arg(long, hide = true, value_name = "PATH")]
    cgroup_parent: Option<String>,
    /// Policies
    #[arg(long, hide = true, value_name = "POLICY")]
    policy: Vec<String>,
    /// Memory and swap
    #[arg(long, hide = true, value_name = "SIZE")]
    memory_swap: Option<String>,
    /// Relative share of CPU time
    #[arg(short, long, hide = true, value_name = "SHARES")]
    cpu_shares: Option<u64>,
    /// CPUs that may be used
    #[arg(long, hide = true, value_name = "CPUS")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that may be used
    #[arg(long, hide = true, value_name = "NODES")]
    cpuset_mems: Option<String>,
    /// Security options
    #[arg(long, hide = true, value_name = "OPTION")]
    security_opt: Vec<String>,
}

impl Later {
    /// Refuses the first flag that is set.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        let set = [
            ("secret", !self.secret.is_empty()),
            ("ssh", !self.ssh.is_empty()),
            ("build-context", !self.build_context.is_empty()),
            ("no-cache-filter", !self.no_cache_filter.is_empty()),
            ("cache-from", !self.cache_from.is_empty()),
            ("cache-to", !self.cache_to.is_empty()),
            (
                "allow",
                self.allow
                    .iter()
                    .any(|granted| granted != "buildx.local.delete"),
            ),
            ("cgroup-parent", self.cgroup_parent.is_some()),
            ("policy", !self.policy.is_empty()),
            ("memory-swap", self.memory_swap.is_some()),
            ("cpu-shares", self.cpu_shares.is_some()),
            ("cpuset-cpus", self.cpuset_cpus.is_some()),
            ("cpuset-mems", self.cpuset_mems.is_some()),
            ("security-opt", !self.security_opt.is_empty()),
        ];
        match set.iter().find(|(_, set)| *set) {
            Some((flag, _)) => Err(unavailable(&format!("--{flag}"))),
            None => Ok(()),
        }
    }
}

/// The failure for something that this version does not have.
pub(super) fn unavailable(what: &str) -> Failure {
    Failure::new(1, format!("`{what}` is not available in this version"))
}
