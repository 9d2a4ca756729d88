//! `diff`

use rbuild::engine::{Change, Engine};

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show what a container changed of its image's files
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or ID
    container: String,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    for (change, path) in engine.container_diff(&args.container)? {
        let letter = match change {
            Change::Added => 'A',
            Change::Changed => 'C',
            Change::Deleted => 'D',
        };
        output.line(format_args!("{letter} {}", path.display()))?;
    }
    Ok(0)
}
