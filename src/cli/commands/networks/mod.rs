//! `network ...`

mod connect;
mod create;
mod inspect;
mod ls;
mod remove;

use clap::Subcommand;
use rbuild::engine::{Engine, Network};

use crate::cli::output::Output;
use crate::cli::report::Failure;

pub(crate) use inspect::document;
pub(crate) use remove::prune_unused;

/// `network ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Box<create::Args>),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Inspect(inspect::Args),
    #[command(visible_alias = "remove")]
    Rm(remove::Args),
    Connect(Box<connect::ConnectArgs>),
    Disconnect(connect::DisconnectArgs),
    Prune(remove::PruneArgs),
}

/// Runs a verb on networks.
pub(crate) fn run(command: Command, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    if matches!(command, Command::Ls(_) | Command::Inspect(_)) {
        mend(engine, output);
    }
    match command {
        Command::Create(args) => create::run(&args, engine, output),
        Command::Ls(args) => ls::run(&args, engine, output),
        Command::Inspect(args) => inspect::run(&args, engine, output),
        Command::Rm(args) => remove::run(&args, engine, output),
        Command::Connect(args) => connect::connect(&args, engine),
        Command::Disconnect(args) => connect::disconnect(&args, engine),
        Command::Prune(args) => remove::prune(&args, engine, output),
    }
}

/// Mends what was removed from this host of networks that are in use, and tells of
/// it. Done by the verbs that people look with when something does not work.
pub(crate) fn mend(engine: &Engine, output: &mut Output) {
    for sentence in engine.mend_networks() {
        output.warn(sentence);
    }
}

/// Whether a network has this label, `NAME` or `NAME=VALUE`.
fn has_label(network: &Network, wanted: &str) -> bool {
    let labels = &network.spec.labels;
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|own| own == value),
        None => labels.contains_key(wanted),
    }
}
