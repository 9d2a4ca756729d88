//! The container commands.

mod attach;
mod commit;
mod copy;
mod create;
mod detach;
mod diff;
mod each;
mod exec;
mod export;
mod flags;
mod life;
mod logs;
mod parse;
mod port;
mod prune;
mod ps;
mod resources;
mod run;
mod start;
mod stats;
mod stream;
pub(super) mod terminal;
mod top;

use rbuild::engine::{self, Engine};
use serde_json::Value;

use crate::cli::output::Output;
use crate::cli::report::Failure;

pub(crate) use prune::prune_stopped;
pub(crate) use ps::row;

/// A verb on containers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Args>),
    Create(Box<create::Args>),
    Start(start::Args),
    Stop(each::StopArgs),
    Restart(each::RestartArgs),
    Kill(each::KillArgs),
    Rm(each::RmArgs),
    Rename(each::RenameArgs),
    Wait(each::WaitArgs),
    Ps(ps::Args),
    Logs(logs::Args),
    Port(port::Args),
    Exec(exec::Args),
    Attach(attach::Args),
    Pause(each::PauseArgs),
    Unpause(each::UnpauseArgs),
    Update(Box<each::UpdateArgs>),
    Top(top::Args),
    Stats(stats::Args),
    Diff(diff::Args),
    Cp(copy::Args),
    Commit(commit::Args),
    Export(export::Args),
}

/// One of the verbs that scripts and people wait for most, with its arguments and without any other verb.
pub(super) fn alone(verb: &str) -> Option<clap::Command> {
    let (name, augment): (&'static str, fn(clap::Command) -> clap::Command) = match verb {
        "run" => ("run", <run::Args as clap::Args>::augment_args),
        "create" => ("create", <create::Args as clap::Args>::augment_args),
        "start" => ("start", <start::Args as clap::Args>::augment_args),
        "stop" => ("stop", <each::StopArgs as clap::Args>::augment_args),
        "kill" => ("kill", <each::KillArgs as clap::Args>::augment_args),
        "rm" => ("rm", <each::RmArgs as clap::Args>::augment_args),
        "wait" => ("wait", <each::WaitArgs as clap::Args>::augment_args),
        "ps" => ("ps", <ps::Args as clap::Args>::augment_args),
        "logs" => ("logs", <logs::Args as clap::Args>::augment_args),
        "exec" => ("exec", <exec::Args as clap::Args>::augment_args),
        "cp" => ("cp", <copy::Args as clap::Args>::augment_args),
        _ => return None,
    };
    Some(augment(clap::Command::new(name)))
}

/// Runs a verb on containers; returns the exit code.
pub(crate) fn run(command: Command, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    match command {
        Command::Run(args) => run::run(&args, engine, output),
        Command::Create(args) => create::run(&args, engine, output),
        Command::Start(args) => start::run(&args, engine, output),
        Command::Stop(args) => each::stop(&args, engine, output),
        Command::Restart(args) => each::restart(&args, engine, output),
        Command::Kill(args) => each::kill(&args, engine, output),
        Command::Rm(args) => each::rm(&args, engine, output),
        Command::Rename(args) => each::rename(&args, engine),
        Command::Wait(args) => each::wait(&args, engine, output),
        Command::Ps(args) => ps::run(&args, engine, output),
        Command::Logs(args) => logs::run(&args, engine, output),
        Command::Port(args) => port::run(&args, engine, output),
        Command::Exec(args) => exec::run(&args, engine, output),
        Command::Attach(args) => attach::run(&args, engine, output),
        Command::Pause(args) => each::pause(&args, engine, output),
        Command::Unpause(args) => each::unpause(&args, engine, output),
        Command::Update(args) => each::update(&args, engine, output),
        Command::Top(args) => top::run(&args, engine, output),
        Command::Stats(args) => stats::run(&args, engine, output),
        Command::Diff(args) => diff::run(&args, engine, output),
        Command::Cp(args) => copy::run(&args, engine, output),
        Command::Commit(args) => commit::run(&args, engine, output),
        Command::Export(args) => export::run(&args, engine, output),
    }
}

/// A container as Docker's `container inspect` shows it.
pub(crate) fn inspect(engine: &Engine, name: &str, size: bool) -> Result<Value, engine::Error> {
    let mut document = engine.container_inspect(name)?;
    if size {
        let own = engine.container_size(name)?;
        let image = document["Image"].as_str().unwrap_or_default();
        // An image that was removed by force takes no room that is known.
        let below = engine
            .image_details(image, None)
            .map_or(0, |details| details.bytes);
        document["SizeRw"] = Value::from(own);
        document["SizeRootFs"] = Value::from(own.saturating_add(below));
    }
    Ok(document)
}
