//! `registry rm`

use rbuild::engine::{Engine, Removal};
use rbuild::oci::Reference;

use super::{has_tag, reference};
use crate::cli::commands::reach::ReachArgs;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Remove tags or manifests from a registry
///
/// A tag is removed alone where the registry can do that. Many remove by digest only: then every
/// tag of the same manifest goes with it, which is asked first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not ask when other tags go too
    #[arg(short, long)]
    force: bool,
    /// What to remove
    #[arg(required = true, value_name = "NAME:TAG|NAME@DIGEST")]
    names: Vec<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> u8 {
    let mut code = 0;
    for text in &args.names {
        if let Err(failure) = one(args, text, engine, output) {
            output.failure(&failure);
            code = 1;
        }
    }
    code
}

fn one(args: &Args, text: &str, engine: &Engine, output: &mut Output) -> Result<(), Failure> {
    let name = reference(text)?;
    if !has_tag(text) && name.digest().is_none() {
        let message = format!("`{text}` has neither tag nor digest");
        let hint = format!("write `{}` if that is meant", name.familiar());
        return Err(Failure::new(1, message).with_hint(hint));
    }
    let reach = args.reach.reach();
    let (digest, tags) = match engine.remove_remote(&name, reach)? {
        Removal::Untagged => return output.line(format!("Untagged: {}", name.familiar())),
        Removal::WithManifest { digest, tags } => (digest, tags),
    };
    let asked = name.tag().filter(|_| name.digest().is_none());
    let others: Vec<&str> = tags
        .iter()
        .map(String::as_str)
        .filter(|tag| Some(*tag) != asked)
        .collect();
    if !others.is_empty() && !args.force {
        output.warn(format!(
            "{} takes away manifests, not tags: with {digest} these tags of {} go too: {}",
            name.host(),
            name.familiar_repository(),
            others.join(", ")
        ));
        if !output.confirm("Remove them all?")? {
            let message = format!("{} was not removed", name.familiar());
            return Err(Failure::new(1, message).with_hint("--force removes it without asking"));
        }
    }
    engine.remove_remote_manifest(&name, digest, reach)?;
    gone(&name, &tags, output)?;
    output.line(format!("Deleted: {digest}"))
}

fn gone(name: &Reference, tags: &[String], output: &mut Output) -> Result<(), Failure> {
    for tag in tags {
        output.line(format!("Untagged: {}", name.with_tag(tag).familiar()))?;
    }
    Ok(())
}
