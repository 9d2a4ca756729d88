//! `network rm`, `network prune`

use jiff::Timestamp;
use rbuild::engine::{Engine, ErrorKind, Network};

use super::has_label;
use crate::cli::commands::filters;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Remove one or more networks
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not fail for a network that is not there
    #[arg(short, long)]
    force: bool,
    /// The networks, by name or ID
    #[arg(required = true, value_name = "NETWORK")]
    networks: Vec<String>,
}

/// Remove networks that no container uses
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove only what fits: until=, label=, label!=
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut code = 0;
    for text in &args.networks {
        let removed = engine
            .network(text)
            .and_then(|network| engine.network_remove(&network));
        match removed {
            Ok(()) => output.line(text)?,
            Err(error) if args.force && error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                output.failure(&error.into());
                code = 1;
            }
        }
    }
    Ok(code)
}

pub(super) fn prune(args: &PruneArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let warning = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";
    if !args.force && !output.confirm(warning)? {
        return Ok(0);
    }
    prune_unused(engine, &args.filter, output)?;
    Ok(0)
}

/// Removes networks that nobody is on and that the filters let through, and prints them.
pub(crate) fn prune_unused(
    engine: &Engine,
    texts: &[String],
    output: &mut Output,
) -> Result<(), Failure> {
    let mut labels = Vec::new();
    let mut until = None;
    for text in texts {
        let wrong = || Failure::new(1, format!("invalid filter '{text}'"));
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        match key {
            "label" => labels.push((value, true)),
            "label!" => labels.push((value, false)),
            "until" => until = Some(filters::moment(value).ok_or_else(wrong)?),
            _ => return Err(wrong()),
        }
    }
    let fits = |network: &Network| {
        let created = Timestamp::from_nanosecond(i128::from(network.created_at));
        until.is_none_or(|until| created.is_ok_and(|created| created < until))
            && labels
                .iter()
                .all(|(label, wanted)| has_label(network, label) == *wanted)
    };
    let mut removed = Vec::new();
    for network in engine.networks()? {
        if network.is_predefined() || !fits(&network) || engine.network_is_used(&network)? {
            continue;
        }
        // One that somebody joined in the meantime is used after all.
        if engine.network_remove(&network).is_ok() {
            removed.push(network.name);
        }
    }
    if !removed.is_empty() {
        output.line("Deleted Networks:")?;
        for name in removed {
            output.line(name)?;
        }
        output.line("")?;
    }
    Ok(())
}
