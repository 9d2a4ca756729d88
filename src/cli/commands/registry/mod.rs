//! `registry ...`: what lies on registries, and one of our own; one file a verb.

mod attach;
mod referrers;
mod repos;
mod rm;
mod serve;
pub(crate) mod tags;

use clap::Subcommand;
use rbuild::engine::Engine;
use rbuild::oci::{ParseReferenceError, Reference};

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// `registry ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Tags(tags::Args),
    Repos(repos::Args),
    #[command(visible_aliases = ["remove", "untag"])]
    Rm(rm::Args),
    Referrers(referrers::Args),
    Attach(attach::Args),
    Serve(Box<serve::Args>),
}

pub(crate) fn run(verb: &Verb, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    match verb {
        Verb::Tags(args) => tags::run(args, engine, output),
        Verb::Repos(args) => repos::run(args, engine, output),
        Verb::Rm(args) => Ok(rm::run(args, engine, output)),
        Verb::Referrers(args) => referrers::run(args, engine, output),
        Verb::Attach(args) => attach::run(args, engine, output),
        Verb::Serve(args) => serve::run(args, engine, output),
    }
}

/// Reads a name that stands for something on a registry; `docker://` may stand
/// before it, as skopeo has it.
pub(crate) fn reference(text: &str) -> Result<Reference, Failure> {
    text.strip_prefix("docker://")
        .unwrap_or(text)
        .parse()
        .map_err(|err: ParseReferenceError| Failure::new(1, err.to_string()))
}

/// Whether a name was typed with a tag.
pub(crate) fn has_tag(text: &str) -> bool {
    let name = text.split('@').next().unwrap_or(text);
    name.rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'))
}
