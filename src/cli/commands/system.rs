//! `system df`, `system prune`, `image prune`, `info`

use rbuild::engine::{Config, DiskUsage, Engine, ImageFilter, PruneOptions, Usage};
use rbuild::oci::Platform;
use serde_json::{Value, json};

use super::containers;
use super::filters::image_filter;
use crate::cli::format;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Flags of every prune.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Remove everything that is not in use
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Remove only what fits: until, label
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// Remove volumes too (accepted for compatibility)
    #[arg(long, hide = true)]
    volumes: bool,
}

/// Show what the data root holds
#[derive(Debug, clap::Args)]
pub(crate) struct DfArgs {
    /// Show each image and container
    #[arg(short, long)]
    verbose: bool,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
}

/// Show where data lives and how much there is
#[derive(Debug, clap::Args)]
pub(crate) struct InfoArgs {
    /// `json` or a Go template
    #[arg(short, long)]
    format: Option<String>,
}

/// `image prune`
pub(crate) fn prune_images(
    args: &PruneArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let what = if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let warning = format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
    if !args.force && !output.confirm(&warning)? {
        return Ok(0);
    }
    let freed = images(args, engine, output)?;
    total(freed, output)
}

/// `container prune`
pub(crate) fn prune_containers(
    args: &PruneArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let warning =
        "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";
    if !args.force && !output.confirm(warning)? {
        return Ok(0);
    }
    total(
        containers::prune_stopped(engine, &args.filter, output)?,
        output,
    )
}

/// `system prune`
pub(crate) fn prune_system(
    args: &PruneArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let images_text = if args.all {
        "all images without at least one container associated to them"
    } else {
        "all dangling images"
    };
    let warning = format!(
        "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  - {images_text}\n  - unused build cache\n\nAre you sure you want to continue?"
    );
    if !args.force && !output.confirm(&warning)? {
        return Ok(0);
    }
    let mut freed = containers::prune_stopped(engine, &args.filter, output)?;
    freed += images(args, engine, output)?;
    engine.prune_networks()?;
    // A filter names what may go; results of steps have no labels.
    if args.filter.is_empty() {
        let options = PruneOptions {
            all: args.all,
            ..PruneOptions::default()
        };
        freed += engine.prune_build_cache(&options)?.bytes;
    }
    total(freed, output)
}

fn images(args: &PruneArgs, engine: &Engine, output: &mut Output) -> Result<u64, Failure> {
    let filter: ImageFilter = image_filter(&args.filter)?;
    let pruned = engine.prune_images(args.all, &filter)?;
    if !pruned.removed.is_empty() {
        output.line("Deleted Images:")?;
        for gone in &pruned.removed {
            output.line(gone)?;
        }
        output.line("")?;
    }
    Ok(pruned.bytes)
}

fn total(bytes: u64, output: &mut Output) -> Result<u8, Failure> {
    output.line(format!(
        "Total reclaimed space: {}",
        human::total_size(bytes)
    ))?;
    Ok(0)
}

/// `system df`
pub(crate) fn df(args: &DfArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let usage = engine.disk_usage()?;
    let DiskUsage {
        images,
        containers,
        build_cache,
    } = usage;
    let rows = [
        row("Images", images),
        row("Containers", containers),
        row("Local Volumes", Usage::default()),
        row("Build Cache", build_cache),
    ];
    let columns = [
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ];
    format::list(output, args.format.as_deref(), &columns, &[], &rows)?;
    if args.verbose {
        containers::df_verbose(engine, output)?;
    }
    Ok(0)
}

fn row(kind: &str, usage: Usage) -> Value {
    let share = match usage.bytes {
        0 => String::new(),
        bytes => format!(
            " ({}%)",
            u128::from(usage.reclaimable) * 100 / u128::from(bytes)
        ),
    };
    json!({
        "Active": usage.active.to_string(),
        "Reclaimable": human::total_size(usage.reclaimable) + &share,
        "Size": human::total_size(usage.bytes),
        "TotalCount": usage.total.to_string(),
        "Type": kind,
    })
}

/// `info`, `system info`
pub(crate) fn info(
    args: &InfoArgs,
    config: &Config,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let usage = engine.disk_usage()?;
    let system = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let host = Platform::host();
    let document = json!({
        "Containers": usage.containers.total,
        "ContainersRunning": usage.containers.active,
        "ContainersStopped": usage.containers.total - usage.containers.active,
        "Images": usage.images.total,
        "Driver": "overlay",
        "KernelVersion": text(system.release()),
        "OSType": host.os,
        "Architecture": text(system.machine()),
        "NCPU": std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        "Name": text(system.nodename()),
        "DockerRootDir": config.data,
        "ServerVersion": env!("CARGO_PKG_VERSION"),
    });
    if let Some(format) = &args.format {
        format::document(output, format, &document)?;
        return Ok(0);
    }
    for (label, member) in [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Kernel Version", "KernelVersion"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Name", "Name"),
        ("Data Root", "DockerRootDir"),
    ] {
        let value = match &document[member] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        output.line(format!("{label}: {value}"))?;
    }
    Ok(0)
}
