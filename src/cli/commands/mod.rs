//! One file a command: its arguments, the request to the engine that they mean,
//! and how the result is shown.

mod containers;
mod version;

use rbuild::engine::{Config, Engine};

use super::output::Output;
use super::report::Failure;

/// Opens the engine; commands that need none never touch the disk.
pub(crate) type Open<'a> = &'a dyn Fn() -> Result<Engine, Failure>;

/// Every command.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Version(version::Args),
    /// Work with containers
    #[command(subcommand)]
    Container(containers::Command),
    #[command(flatten)]
    Containers(containers::Command),
}

/// Runs a command; returns the exit code.
pub(crate) fn run(
    command: Command,
    _config: &Config,
    open: Open<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    match command {
        Command::Version(args) => version::run(&args, output),
        Command::Container(command) | Command::Containers(command) => {
            containers::run(command, &open()?, output)
        }
    }
}

/// Verbs have other names inside their management command: `container ls` is `ps`.
const ALIASES: [(&str, &str, &[&str]); 1] = [("container", "ps", &["ls", "list"])];

/// Adds the names that hold only inside a management command.
pub(crate) fn with_aliases(mut program: clap::Command) -> clap::Command {
    for (group, verb, aliases) in ALIASES {
        let has = program
            .find_subcommand(group)
            .is_some_and(|group| group.find_subcommand(verb).is_some());
        if has {
            program = program.mut_subcommand(group, |group| {
                group.mut_subcommand(verb, |verb| verb.visible_aliases(aliases))
            });
        }
    }
    program
}
