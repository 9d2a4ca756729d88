//! `manifest ...`: lists of manifests that are put together here.

mod change;
mod show;

use clap::Subcommand;
use rbuild::engine::{Engine, Error, ListRequest, MemberRequest};
use rbuild::oci::Digest;
use rbuild::transfer::ListChange;

use super::reach::ReachArgs;
use super::registry::reference;
use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::transfer::{Layers, Target, Words};
use crate::cli::values;
use change::ChangeArgs;

/// `manifest ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Create(CreateArgs),
    Annotate(AnnotateArgs),
    Add(AddArgs),
    Remove(RemoveArgs),
    Inspect(show::Args),
    Push(PushArgs),
    Exists(ExistsArgs),
    Ls(LsArgs),
    Rm(RmArgs),
}

/// Make a list of manifests, to be annotated and pushed
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// The name that the list is pushed by
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// What it names: images on registries, or else of the local store
    #[arg(value_name = "MANIFEST")]
    manifests: Vec<String>,
    /// Change a list that is there
    #[arg(short, long)]
    amend: bool,
    /// Take everything that is named by a manifest that is itself a list
    #[arg(long)]
    all: bool,
    /// Annotate the list
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    annotation: Vec<(String, String)>,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Add to what a list tells of an image
#[derive(Debug, clap::Args)]
pub(crate) struct AnnotateArgs {
    /// The list
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// The image in it, by name or digest
    #[arg(value_name = "MANIFEST")]
    manifest: String,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Add an image to a list
#[derive(Debug, clap::Args)]
pub(crate) struct AddArgs {
    /// The list
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// Images on registries, or else of the local store
    #[arg(required = true, value_name = "MANIFEST")]
    manifests: Vec<String>,
    /// Take everything that is named by a manifest that is itself a list
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Take an image out of a list
#[derive(Debug, clap::Args)]
pub(crate) struct RemoveArgs {
    /// The list
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// The image's digest
    digest: Digest,
}

/// Send a list to its registry
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// The list
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
    /// Another name than its own to push it by
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// Remove the local list afterwards
    #[arg(short, long, visible_alias = "rm")]
    purge: bool,
    /// Accepted for compatibility: what a list names is always sent with it
    #[arg(long, hide = true)]
    all: bool,
    /// Show nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Tell by the exit code whether there is a local list of a name
#[derive(Debug, clap::Args)]
pub(crate) struct ExistsArgs {
    /// The list
    #[arg(value_name = "MANIFEST_LIST")]
    list: String,
}

/// Show the names of the local lists
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {}

/// Remove local lists
#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// The lists
    #[arg(required = true, value_name = "MANIFEST_LIST")]
    lists: Vec<String>,
}

pub(crate) fn run(verb: &Verb, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    match verb {
        Verb::Create(args) => create(args, engine, output),
        Verb::Annotate(args) => {
            let change = args.change.change();
            engine.annotate_list(&reference(&args.list)?, &args.manifest, &change)?;
            Ok(0)
        }
        Verb::Add(args) => add(args, engine, output),
        Verb::Remove(args) => {
            let list = reference(&args.list)?;
            engine.remove_from_list(&list, args.digest)?;
            output.line(args.digest)?;
            Ok(0)
        }
        Verb::Inspect(args) => show::run(args, engine, output),
        Verb::Push(args) => push(args, engine, output),
        Verb::Exists(args) => {
            let there = engine.find_list(&reference(&args.list)?)?.is_some();
            Ok(u8::from(!there))
        }
        Verb::Ls(_) => {
            engine
                .list_names()?
                .iter()
                .try_for_each(|name| output.line(name))?;
            Ok(0)
        }
        Verb::Rm(args) => Ok(rm(args, engine, output)),
    }
}

fn create(args: &CreateArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let name = reference(&args.list)?;
    let request = ListRequest {
        name: name.clone(),
        members: args.manifests.clone(),
        amend: args.amend,
        all: args.all,
        annotations: args.annotation.clone(),
    };
    engine
        .create_list(&request, args.reach.reach())
        .map_err(explain)?;
    output.line(format!("Created manifest list {name}"))?;
    Ok(0)
}

fn add(args: &AddArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let list = reference(&args.list)?;
    for manifest in &args.manifests {
        let request = MemberRequest {
            name: manifest.clone(),
            all: args.all,
            change: args.change.change(),
        };
        engine
            .add_to_list(&list, &request, args.reach.reach())
            .map_err(explain)?;
    }
    output.line(&list)?;
    Ok(0)
}

/// Says what helps with a member that is a list itself.
fn explain(error: Error) -> Failure {
    let is_list = error.to_string().ends_with("is a manifest list");
    let failure = Failure::from(error);
    if is_list {
        return failure.with_hint("--all adds every manifest that it names");
    }
    failure
}

fn push(args: &PushArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let name = reference(&args.list)?;
    let target = match &args.target {
        Some(target) => reference(target)?,
        None => name.clone(),
    };
    // What is sent is told on standard error: the digest is what scripts read.
    let layers = Layers::new(Words::Copy, args.quiet, Target::Stderr);
    let pushed = engine.push_list(&name, &target, args.reach.reach(), &layers);
    layers.end();
    let pushed = pushed?;
    if !args.quiet {
        for digest in &pushed.brought {
            let member = target.with_digest(*digest);
            output.line(format!("Pushed ref {member} with digest: {digest}"))?;
        }
    }
    output.line(pushed.digest)?;
    if args.purge {
        engine.remove_list(&name)?;
    }
    Ok(0)
}

fn rm(args: &RmArgs, engine: &Engine, output: &mut Output) -> u8 {
    let mut code = 0;
    for text in &args.lists {
        let removed = reference(text).and_then(|name| Ok(engine.remove_list(&name)?));
        if let Err(failure) = removed {
            output.failure(&failure);
            code = 1;
        }
    }
    code
}

impl ChangeArgs {
    fn change(&self) -> ListChange {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        ListChange {
            os: given(&self.os),
            architecture: given(&self.arch),
            variant: given(&self.variant),
            os_version: given(&self.os_version),
            os_features: self.os_features.clone(),
            annotations: self.annotation.clone(),
        }
    }
}
