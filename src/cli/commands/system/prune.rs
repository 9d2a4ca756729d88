//! `system prune`, `image prune`, `container prune`

use rbuild::engine::{Engine, ImageFilter, PruneOptions, Removed};

use crate::cli::commands::filters::{self, image_filter};
use crate::cli::commands::{containers, networks, volume};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Flags of `image prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagePruneArgs {
    /// Remove also images with a name that no container uses
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: PruneArgs,
}

/// Flags of every prune.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove only what fits: until, label
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// Flags of `system prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct SystemPruneArgs {
    /// Remove every image that no container uses, and the whole build cache
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    common: PruneArgs,
    /// Remove volumes without a name of their own too
    #[arg(long)]
    volumes: bool,
}

const QUESTION: &str = "Are you sure you want to continue?";

/// `image prune`
pub(crate) fn prune_images(
    args: &ImagePruneArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let filter = image_filter(&args.common.filter)?;
    let what = if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let warning = format!("WARNING! This will remove {what}.\n{QUESTION}");
    if !args.common.force && !output.confirm(&warning)? {
        return Ok(0);
    }
    let freed = images(args.all, &filter, engine, output)?;
    total(freed, output)
}

/// `container prune`
pub(crate) fn prune_containers(
    args: &PruneArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let warning = format!("WARNING! This will remove all stopped containers.\n{QUESTION}");
    if !args.force && !output.confirm(&warning)? {
        return Ok(0);
    }
    let freed = containers::prune_stopped(engine, &args.filter, output)?;
    total(freed, output)
}

/// `system prune`
pub(crate) fn prune_system(
    args: &SystemPruneArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let filters = &args.common.filter;
    let image_filter = image_filter(filters)?;
    if args.volumes && image_filter.until.is_some() {
        let message = "The \"until\" filter is not supported with \"--volumes\"";
        return Err(Failure::new(1, message));
    }
    if !args.common.force && !output.confirm(&question(args))? {
        return Ok(0);
    }
    let mut freed = containers::prune_stopped(engine, filters, output)?;
    networks::prune_unused(engine, filters, output)?;
    // The default bridge has no labels and no age that anybody set.
    if filters.is_empty() {
        engine.prune_networks()?;
    }
    if args.volumes {
        freed += volume::sweep(false, filters::conditions(filters)?, engine, output)?;
    }
    freed += images(args.all, &image_filter, engine, output)?;
    // A filter names what may go; results of steps have no labels.
    if filters.is_empty() {
        let options = PruneOptions {
            all: args.all,
            ..PruneOptions::default()
        };
        let pruned = engine.prune_build_cache(&options)?;
        if !pruned.items.is_empty() {
            output.line("Deleted build cache objects:")?;
            for item in &pruned.items {
                output.line(item.id)?;
            }
            output.line("")?;
        }
        freed += pruned.bytes;
    }
    total(freed, output)
}

fn question(args: &SystemPruneArgs) -> String {
    let mut warnings = vec![
        "all stopped containers",
        "all networks not used by at least one container",
    ];
    if args.volumes {
        warnings.push("all anonymous volumes not used by at least one container");
    }
    warnings.extend(if args.all {
        [
            "all images without at least one container associated to them",
            "all build cache",
        ]
    } else {
        ["all dangling images", "unused build cache"]
    });
    let list =
        |lines: &[&str]| -> String { lines.iter().flat_map(|line| ["\n  - ", line]).collect() };
    let mut text = format!("WARNING! This will remove:{}\n", list(&warnings));
    if !args.common.filter.is_empty() {
        let filters: Vec<&str> = args.common.filter.iter().map(String::as_str).collect();
        text += &format!(
            "\n  Items to be pruned will be filtered with:{}\n",
            list(&filters)
        );
    }
    text + "\n" + QUESTION
}

fn images(
    all: bool,
    filter: &ImageFilter,
    engine: &Engine,
    output: &mut Output,
) -> Result<u64, Failure> {
    let pruned = engine.prune_images(all, filter)?;
    if !pruned.removed.is_empty() {
        output.line("Deleted Images:")?;
        for gone in &pruned.removed {
            output.line(match gone {
                Removed::Untagged(name) => format!("untagged: {}", name.familiar()),
                Removed::Deleted(id) => format!("deleted: {id}"),
            })?;
        }
        output.line("")?;
    }
    Ok(pruned.bytes)
}

/// The last line of every prune.
pub(crate) fn total(bytes: u64, output: &mut Output) -> Result<u8, Failure> {
    output.line(format!(
        "Total reclaimed space: {}",
        human::total_size(bytes)
    ))?;
    Ok(0)
}
