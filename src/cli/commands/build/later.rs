//! Flags of later versions: known, and refused by name rather than ignored.

use crate::cli::report::Failure;

/// Flags that are not available yet.
#[derive(Debug, clap::Args)]
pub(crate) struct Later {
    /// Policies
    #[arg(long, hide = true, value_name = "POLICY")]
    policy: Vec<String>,
}

impl Later {
    /// Refuses the first flag that is set.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        let set = [
            ("policy", !self.policy.is_empty()),
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
