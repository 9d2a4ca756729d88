//! How a registry is reached: flags that several commands share.

use rbuild::engine::Reach;

/// Flags of everything that speaks to a registry of the user's choice.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct ReachArgs {
    /// Whether registries must prove who they are; with `false` they may also be without TLS
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_default_value = true)]
    tls_verify: bool,
    /// The same as --tls-verify=false
    #[arg(long)]
    insecure: bool,
}

impl ReachArgs {
    /// What the flags mean.
    pub(crate) fn reach(self) -> Reach {
        Reach {
            insecure: self.insecure || !self.tls_verify,
        }
    }
}
