//! Flags of later versions: known, and refused by name rather than ignored.

use crate::cli::report::Failure;

/// Flags that are not available yet.
#[derive(Debug, clap::Args)]
pub(crate) struct Later {
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
    /// Where the result goes
    #[arg(short, long, hide = true, value_name = "OUTPUT")]
    output: Vec<String>,
    /// Push the image
    #[arg(long, hide = true)]
    push: bool,
    /// Attestations
    #[arg(long, hide = true, value_name = "ATTESTATION")]
    attest: Vec<String>,
    /// A list of the image's software
    #[arg(long, hide = true, value_name = "VALUE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    sbom: Option<String>,
    /// How the image was made
    #[arg(long, hide = true, value_name = "VALUE", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true")]
    provenance: Option<String>,
    /// Annotations of the manifest
    #[arg(long, hide = true, value_name = "KEY=VALUE")]
    annotation: Vec<String>,
    /// Where facts about the build go
    #[arg(long, hide = true, value_name = "FILE")]
    metadata_file: Option<String>,
    /// One layer for all
    #[arg(long, hide = true)]
    squash: bool,
    /// Policies
    #[arg(long, hide = true, value_name = "POLICY")]
    policy: Vec<String>,
}

impl Later {
    /// Refuses the first flag that is set. `--sbom=false` and `--provenance=false`
    /// ask for what happens anyway.
    pub(crate) fn refuse(&self) -> Result<(), Failure> {
        let wanted = |value: &Option<String>| value.as_ref().is_some_and(|v| v != "false");
        let set = [
            ("build-context", !self.build_context.is_empty()),
            ("no-cache-filter", !self.no_cache_filter.is_empty()),
            ("cache-from", !self.cache_from.is_empty()),
            ("cache-to", !self.cache_to.is_empty()),
            ("output", !self.output.is_empty()),
            ("push", self.push),
            ("attest", !self.attest.is_empty()),
            ("sbom", wanted(&self.sbom)),
            ("provenance", wanted(&self.provenance)),
            ("annotation", !self.annotation.is_empty()),
            ("metadata-file", self.metadata_file.is_some()),
            ("squash", self.squash),
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
