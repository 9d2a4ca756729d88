//! `version`

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show the version
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, output: &mut Output) -> Result<u8, Failure> {
    output.line("Client:")?;
    output.line(format!(" Version:    {}", env!("CARGO_PKG_VERSION")))?;
    output.line(format!(" OS/Arch:    {}", rbuild::oci::Platform::host()))?;
    Ok(0)
}
