//! `registry rm`

use rbuild::engine::{Engine, Removal};
use rbuild::oci::{Digest, Reference};
use rbuild::transfer::TagsOf;

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
    if !args.force && !may(&name, digest, &tags, output)? {
        let message = format!("{} was not removed", name.familiar());
        return Err(Failure::new(1, message).with_hint("--force removes it without asking"));
    }
    engine.remove_remote_manifest(&name, digest, reach)?;
    gone(&name, &tags.leading, output)?;
    output.line(format!("Deleted: {digest}"))
}

/// Tells what else goes with a manifest, and asks when there is something.
fn may(
    name: &Reference,
    digest: Digest,
    tags: &TagsOf,
    output: &mut Output,
) -> Result<bool, Failure> {
    let asked = name.tag().filter(|_| name.digest().is_none());
    let others: Vec<&str> = tags
        .leading
        .iter()
        .map(String::as_str)
        .filter(|tag| Some(*tag) != asked)
        .collect();
    let repository = name.familiar_repository();
    if !others.is_empty() {
        let (host, others) = (name.host(), others.join(", "));
        output.warn(format!(
            "{host} takes away manifests, not tags: with {digest} these tags of {repository} go too: {others}"
        ));
    }
    if !tags.within.is_empty() {
        let within = tags.within.join(", ");
        output.warn(format!(
            "these tags of {repository} are lists that name {digest}, and are broken without it: {within}"
        ));
    }
    if others.is_empty() && tags.within.is_empty() {
        return Ok(true);
    }
    output.confirm("Remove it?")
}

fn gone(name: &Reference, tags: &[String], output: &mut Output) -> Result<(), Failure> {
    for tag in tags {
        output.line(format!("Untagged: {}", name.with_tag(tag).familiar()))?;
    }
    Ok(())
}
