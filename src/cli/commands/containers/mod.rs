//! The container commands.

use rbuild::engine::{self, Engine};
use serde_json::Value;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// A verb on containers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {}

/// Runs a verb on containers; returns the exit code.
pub(crate) fn run(command: Command, _engine: &Engine, _output: &mut Output) -> Result<u8, Failure> {
    match command {}
}

/// A container as Docker's `container inspect` shows it.
pub(crate) fn inspect(_engine: &Engine, name: &str, _size: bool) -> Result<Value, engine::Error> {
    Err(engine::Error::Container(
        rbuild::container::Error::NotFound(name.to_owned()),
    ))
}

/// Removes stopped containers that the filters let through, prints them, and
/// returns the bytes freed.
pub(crate) fn prune_stopped(
    _engine: &Engine,
    _filters: &[String],
    _output: &mut Output,
) -> Result<u64, Failure> {
    Ok(0)
}

/// Prints the containers' part of `system df -v`.
pub(crate) fn df_verbose(_engine: &Engine, _output: &mut Output) -> Result<(), Failure> {
    Ok(())
}
