//! `ps`, `container ls`

use jiff::Timestamp;
use rbuild::engine::{ContainerFilter, ContainerSummary, Engine};
use serde_json::{Value, json};

use crate::cli::format::{self, Column};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Width of the COMMAND column, as Docker's.
const COMMAND_WIDTH: usize = 20;
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
    let containers = engine.containers(&filter)?;
    if args.quiet && args.format.is_none() {
        for container in &containers {
            output.line(short(&container.id, args.no_trunc))?;
        }
        return Ok(0);
    }
    let template = args.format.as_deref();
    let sizes = args.size || format::mentions(template, "Size");
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for container in &containers {
        let size = if sizes {
            human::size(engine.container_size(&container.id)?)
        } else {
            String::new()
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

fn filter(args: &Args) -> Result<ContainerFilter, Failure> {
    let condition = |text: &String| match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_lowercase(), value.trim().to_owned())),
        None => Err(Failure::new(
            1,
            format!("invalid argument \"{text}\": bad format of filter (expected name=value)"),
        )),
    };
    let last = if args.latest { 1 } else { args.last };
    let last = usize::try_from(last).ok().filter(|last| *last > 0);
    Ok(ContainerFilter {
        all: args.all,
        last,
        conditions: args
            .filter
            .iter()
            .map(condition)
            .collect::<Result<_, _>>()?,
    })
}

fn short(id: &str, whole: bool) -> &str {
    if whole { id } else { &id[..id.len().min(12)] }
}

fn row(container: &ContainerSummary, whole: bool, size: &str, now: Timestamp) -> Value {
    let created = Timestamp::from_nanosecond(i128::from(container.created_at)).ok();
    let width = if whole { usize::MAX } else { COMMAND_WIDTH };
    let command = human::ellipsis(&container.command, width);
    let labels = container
        .labels
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    json!({
        "Command": format!("\"{command}\""),
        "CreatedAt": human::moment(created),
        "ID": short(&container.id, whole),
        "Image": container.image,
        "Labels": labels.collect::<Vec<_>>().join(","),
        "LocalVolumes": "0",
        "Mounts": container.mounts.join(","),
        "Names": container.name,
        "Networks": container.networks,
        "Ports": container.ports,
        "RunningFor": human::ago(created, now),
        "Size": size,
        "State": container.state.text(),
        "Status": container.status,
    })
}
