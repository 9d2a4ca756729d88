//! Further contexts and platforms.

use rbuild::build::BuildRequest;
use rbuild::engine::Config;

use crate::cli::report::Failure;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Contexts {}

impl Contexts {
    /// Puts what was asked for into the request.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "no flags yet"
    )]
    pub(super) fn apply(&self, _build: &mut BuildRequest, _config: &Config) -> Result<(), Failure> {
        Ok(())
    }
}
