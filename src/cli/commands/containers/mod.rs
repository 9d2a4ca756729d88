//! The container commands.

use rbuild::engine::Engine;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// A verb on containers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {}

/// Runs a verb on containers; returns the exit code.
pub(crate) fn run(command: Command, _engine: &Engine, _output: &mut Output) -> Result<u8, Failure> {
    match command {}
}
