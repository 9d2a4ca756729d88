//! `ps`, `container ls`

use std::collections::BTreeMap;

use jiff::Timestamp;
use rbuild::engine::{ContainerFilter, ContainerSummary, Engine, ImageFilter};
use serde_json::{Value, json};

use crate::cli::commands::{filters, networks};
use crate::cli::format::{self, Column};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Width of the COMMAND column, as Docker's.
const COMMAND_WIDTH: usize = 20;
/// Width of each name of a mount.
const MOUNT_WIDTH: usize = 15;
const TITLES: [Column; 8] = [
    ("CreatedAt", "CREATED AT"),
    ("Labels", "LABELS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("Size", "SIZE"),
    ("State", "STATE"),
];

/// List containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    all: bool,
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Show the last so many made, in any state
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = -1, allow_hyphen_values = true)]
    last: i64,
    /// Show the last one made, in any state
    #[arg(short, long)]
    latest: bool,
    /// Do not cut anything
    #[arg(long)]
    no_trunc: bool,
    /// Show sizes
    #[arg(short, long)]
    size: bool,
    /// Show only what fits, such as status=exited
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let filter = filter(args)?;
    networks::mend(engine, output);
    let containers = engine.containers(&filter)?;
    let given = args.format.as_deref().map(str::trim);
    let custom = given.filter(|format| !matches!(*format, "" | "table" | "raw"));
    if args.quiet && custom.is_some() {
        let message = "Ignoring custom format, because both --format and --quiet are set.";
        output.warn(message);
    }
    if args.quiet && given != Some("raw") {
        for container in &containers {
            output.line(short(&container.id, args.no_trunc))?;
        }
        return Ok(0);
    }
    let template = given.map(|given| raw(args, given));
    let template = template.as_deref();
    // The whole row as JSON has no sizes unless they are asked for.
    let sizes = args.size || given != Some("json") && format::mentions(template, "Size");
    let images = sizes.then(|| image_sizes(engine)).transpose()?;
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for container in &containers {
        let size = match &images {
            Some(images) => {
                // One that is removed meanwhile takes no room.
                let own = engine.container_size(&container.id).unwrap_or(0);
                let image = images.get(&container.image_id).copied().unwrap_or(0);
                let whole = human::size(own.saturating_add(image));
                format!("{} (virtual {whole})", human::size(own))
            }
            None => human::size(0),
        };
        rows.push(row(container, args.no_trunc, &size, now));
    }
    let mut columns = vec![
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Ports", "PORTS"),
        ("Names", "NAMES"),
    ];
    if args.size {
        columns.push(("Size", "SIZE"));
    }
    format::list(output, template, &columns, &TITLES, &rows)?;
    Ok(0)
}

/// Docker's word `raw` as the template that it stands for.
fn raw(args: &Args, format: &str) -> String {
    if format != "raw" {
        return format.to_owned();
    }
    if args.quiet {
        return "container_id: {{.ID}}".to_owned();
    }
    let size = if args.size { "size: {{.Size}}\n" } else { "" };
    format!(
        "container_id: {{{{.ID}}}}\nimage: {{{{.Image}}}}\ncommand: {{{{.Command}}}}\n\
         created_at: {{{{.CreatedAt}}}}\nstate: {{{{.State}}}}\nstatus: {{{{.Status}}}}\n\
         names: {{{{.Names}}}}\nlabels: {{{{.Labels}}}}\nports: {{{{.Ports}}}}\n{size}"
    )
}

/// Bytes of every image, by its ID.
fn image_sizes(engine: &Engine) -> Result<BTreeMap<String, u64>, Failure> {
    let images = engine.images(&ImageFilter::default())?;
    let sizes = images.into_iter();
    Ok(sizes
        .map(|summary| (summary.image.id.to_string(), summary.bytes))
        .collect())
}

fn filter(args: &Args) -> Result<ContainerFilter, Failure> {
    let last = if args.latest { 1 } else { args.last };
    let last = usize::try_from(last).ok().filter(|last| *last > 0);
    Ok(ContainerFilter {
        all: args.all,
        last,
        conditions: filters::conditions(&args.filter)?,
    })
}

fn short(id: &str, whole: bool) -> &str {
    if whole { id } else { &id[..id.len().min(12)] }
}

/// A row of the listing.
pub(crate) fn row(container: &ContainerSummary, whole: bool, size: &str, now: Timestamp) -> Value {
    let created = Timestamp::from_nanosecond(i128::from(container.created_at)).ok();
    let width = if whole { usize::MAX } else { COMMAND_WIDTH };
    let command = human::ellipsis(&container.command, width);
    let width = if whole { usize::MAX } else { MOUNT_WIDTH };
    let mounts = container.mounts.iter();
    let mounts: Vec<String> = mounts.map(|name| human::ellipsis(name, width)).collect();
    let labels = container
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    json!({
        "Command": human::quoted(&command),
        "CreatedAt": human::moment(created),
        "ID": short(&container.id, whole),
        "Image": container.image,
        "Labels": labels.collect::<Vec<_>>().join(","),
        "LocalVolumes": container.local_volumes.to_string(),
        "Mounts": mounts.join(","),
        "Names": container.name,
        "Networks": container.networks,
        "Platform": Value::Null,
        "Ports": container.ports,
        "RunningFor": human::ago(created, now),
        "Size": size,
        "State": container.state.text(),
        "Status": container.status,
    })
}
