//! `system df`

use jiff::Timestamp;
use rbuild::engine::{
    CacheItem, ContainerFilter, DiskUsage, Engine, ImageUsage, Usage, Volume, VolumeFilter,
};
use serde_json::{Value, json};

use crate::cli::commands::{containers, images, volume};
use crate::cli::format::{self, Column};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show what the data root holds
#[derive(Debug, clap::Args)]
pub(crate) struct DfArgs {
    /// Show each image, container, volume and item of the build cache
    #[arg(short, long)]
    verbose: bool,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
}

const COLUMNS: [Column; 5] = [
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// `system df`
pub(crate) fn df(args: &DfArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    if args.verbose {
        return verbose(args.format.as_deref(), engine, output);
    }
    let DiskUsage {
        images,
        containers,
        volumes,
        build_cache,
    } = engine.disk_usage()?;
    let rows = [
        row("Images", images),
        row("Containers", containers),
        row("Local Volumes", volumes),
        row("Build Cache", build_cache),
    ];
    format::list(output, args.format.as_deref(), &COLUMNS, &[], &rows)?;
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

/// Everything that `-v` shows.
struct Sections {
    images: Vec<Value>,
    containers: Vec<Value>,
    volumes: Vec<Value>,
    cache: Vec<Value>,
    cache_bytes: u64,
}

const IMAGES: [Column; 8] = [
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("Size", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
];
const CONTAINERS: [Column; 8] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Size", "SIZE"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("Names", "NAMES"),
];
const VOLUMES: [Column; 3] = [
    ("Name", "VOLUME NAME"),
    ("Links", "LINKS"),
    ("Size", "SIZE"),
];
const CACHE: [Column; 7] = [
    ("ID", "CACHE ID"),
    ("CacheType", "CACHE TYPE"),
    ("Size", "SIZE"),
    ("CreatedSince", "CREATED"),
    ("LastUsedSince", "LAST USED"),
    ("UsageCount", "USAGE"),
    ("Shared", "SHARED"),
];

fn verbose(format: Option<&str>, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let sections = sections(engine)?;
    if let Some(format) = format.filter(|format| !format.is_empty()) {
        let document = json!({
            "BuildCache": sections.cache,
            "Containers": sections.containers,
            "Images": sections.images,
            "Volumes": sections.volumes,
        });
        format::document(output, format, &document)?;
        return Ok(0);
    }
    output.line("Images space usage:\n")?;
    format::list(output, None, &IMAGES, &[], &sections.images)?;
    output.line("\nContainers space usage:\n")?;
    format::list(output, None, &CONTAINERS, &[], &sections.containers)?;
    output.line("\nLocal Volumes space usage:\n")?;
    format::list(output, None, &VOLUMES, &[], &sections.volumes)?;
    let bytes = human::total_size(sections.cache_bytes);
    output.line(format!("\nBuild cache usage: {bytes}\n"))?;
    format::list(output, None, &CACHE, &[], &sections.cache)?;
    Ok(0)
}

fn sections(engine: &Engine) -> Result<Sections, Failure> {
    let now = Timestamp::now();
    let usage = engine.image_usage()?;
    let filter = ContainerFilter {
        all: true,
        ..ContainerFilter::default()
    };
    let mut rows = Vec::new();
    for container in engine.containers(&filter)? {
        // One that is removed meanwhile takes no room.
        let bytes = engine.container_size(&container.id).unwrap_or(0);
        rows.push(containers::row(&container, false, &human::size(bytes), now));
    }
    let uses = engine.volume_uses()?;
    let volumes = engine.volumes(&VolumeFilter::default())?;
    let cache = engine.build_cache()?;
    Ok(Sections {
        images: usage
            .iter()
            .flat_map(|usage| image_rows(usage, now))
            .collect(),
        containers: rows,
        volumes: volumes
            .iter()
            .map(|found| volume_row(engine, found, uses.get(&found.name).map_or(0, Vec::len)))
            .collect(),
        cache_bytes: cache
            .iter()
            .filter(|item| !item.is_shared)
            .map(|item| item.bytes)
            .sum(),
        cache: cache.iter().map(|item| cache_row(item, now)).collect(),
    })
}

fn volume_row(engine: &Engine, found: &Volume, links: usize) -> Value {
    let bytes = engine.volume_size(found).unwrap_or(0);
    volume::row(found, Some((links, bytes)))
}

fn image_rows(usage: &ImageUsage, now: Timestamp) -> Vec<Value> {
    let mut rows = images::rows(&usage.summary, images::Rows::default(), now);
    for row in &mut rows {
        row["SharedSize"] = json!(human::size(usage.shared_bytes));
        row["UniqueSize"] = json!(human::size(
            usage.summary.bytes.saturating_sub(usage.shared_bytes)
        ));
        row["Containers"] = json!(usage.containers.to_string());
    }
    rows
}

fn cache_row(item: &CacheItem, now: Timestamp) -> Value {
    let time = |nanoseconds: i64| Timestamp::from_nanosecond(nanoseconds.into()).ok();
    json!({
        "CacheType": item.kind.to_string(),
        "CreatedAt": human::moment(time(item.created_at)),
        "CreatedSince": human::ago(time(item.created_at), now),
        "Description": item.description,
        "ID": item.id.to_string(),
        "InUse": item.in_use.to_string(),
        "LastUsedAt": human::moment(time(item.used_at)),
        "LastUsedSince": human::ago(time(item.used_at), now),
        "Parent": item.parents_text(),
        "Shared": item.is_shared.to_string(),
        "Size": human::size(item.bytes),
        "UsageCount": item.uses.to_string(),
    })
}
