//! `du`, `prune`, `builder pin`: what the build cache holds, and less of it.

use jiff::Timestamp;
use rbuild::engine::{CacheFilter, CacheItem, Engine, PruneOptions};
use serde_json::{Value, json};

use super::filters;
use crate::cli::format::{self, Column};
use crate::cli::human;
use crate::cli::output::{Output, align};
use crate::cli::report::Failure;

const COLUMNS: [Column; 4] = [
    ("ID", "ID"),
    ("Reclaimable", "RECLAIMABLE"),
    ("Size", "SIZE"),
    ("LastUsedAt", "LAST ACCESSED"),
];
const TITLES: [Column; 8] = [
    ("Parents", "PARENTS"),
    ("CreatedAt", "CREATED AT"),
    ("Mutable", "MUTABLE"),
    ("Shared", "SHARED"),
    ("Pinned", "PINNED"),
    ("Description", "DESCRIPTION"),
    ("UsageCount", "USAGE COUNT"),
    ("Type", "TYPE"),
];

/// Show what the build cache holds
#[derive(Debug, clap::Args)]
pub(crate) struct DuArgs {
    /// Show everything about each item
    #[arg(long)]
    verbose: bool,
    /// Only items that fit: until, id, parents, description, type, inuse, mutable, shared, private
    #[arg(long, value_name = "KEY[=VALUE]")]
    filter: Vec<String>,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
    /// A builder by name
    #[arg(long, hide = true, value_name = "NAME")]
    builder: Option<String>,
}

/// Remove from the build cache what was not used for longest
#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Also forget results that images share; their layers stay
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only items that fit: until, id, parents, description, type, inuse, mutable, shared, private
    #[arg(long, value_name = "KEY[=VALUE]")]
    filter: Vec<String>,
    /// Stop when no more than this is left
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    max_used_space: Option<u64>,
    /// Always leave this much
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    reserved_space: Option<u64>,
    /// The same, by its older name
    #[arg(long, hide = true, value_name = "SIZE", value_parser = human::parse_size)]
    keep_storage: Option<u64>,
    /// Stop when this much of the disk is free
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    min_free_space: Option<u64>,
    /// Show everything about each item
    #[arg(long)]
    verbose: bool,
    /// Only show what would go
    #[arg(long)]
    dry_run: bool,
    /// A builder by name
    #[arg(long, hide = true, value_name = "NAME")]
    builder: Option<String>,
}

/// Which items
#[derive(Debug, clap::Args)]
pub(crate) struct PinArgs {
    /// IDs as `du` shows them, or images
    #[arg(required = true, value_name = "ID|IMAGE")]
    items: Vec<String>,
}

/// `du`
pub(crate) fn du(args: &DuArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let filters = read_filters(&args.filter)?;
    let mut items = engine.build_cache()?;
    items.retain(|item| filters.iter().all(|filter| filter.fits(item)));
    items.sort_by_key(|item| (item.used_at, item.created_at, item.id));
    let now = Timestamp::now();
    if let Some(format) = &args.format {
        let rows: Vec<Value> = items.iter().map(|item| row(item, now)).collect();
        format::list(output, Some(format), &COLUMNS, &TITLES, &rows)?;
        return Ok(0);
    }
    show(&items, args.verbose, now, output)?;
    let sum = |fits: &dyn Fn(&CacheItem) -> bool| -> u64 {
        let fitting = items.iter().filter(|item| fits(item));
        fitting.map(|item| item.bytes).sum()
    };
    let shared = sum(&|item| item.is_shared);
    let mut totals = Vec::new();
    if shared > 0 {
        totals.push(("Shared:", shared));
        totals.push(("Private:", sum(&|item| !item.is_shared)));
    }
    totals.push(("Reclaimable:", sum(&CacheItem::is_reclaimable)));
    totals.push(("Total:", sum(&|_| true)));
    let lines: Vec<Vec<String>> = totals
        .into_iter()
        .map(|(name, bytes)| vec![name.to_owned(), human::total_size(bytes)])
        .collect();
    for line in align(&lines) {
        output.line(line)?;
    }
    Ok(0)
}

/// `prune`, `builder prune`
pub(crate) fn prune(args: &PruneArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let what = if args.all {
        "all build cache"
    } else {
        "all dangling build cache"
    };
    let options = PruneOptions {
        all: args.all,
        filters: read_filters(&args.filter)?,
        max_used: args.max_used_space.unwrap_or_default(),
        reserved: args
            .reserved_space
            .or(args.keep_storage)
            .unwrap_or_default(),
        min_free: args.min_free_space.unwrap_or_default(),
        dry_run: args.dry_run,
    };
    let warning = format!("WARNING! This will remove {what}. Are you sure you want to continue?");
    if !args.force && !args.dry_run && !output.confirm(&warning)? {
        return Ok(0);
    }
    let pruned = engine.prune_build_cache(&options)?;
    if !pruned.items.is_empty() {
        show(&pruned.items, args.verbose, Timestamp::now(), output)?;
    }
    let total = human::total_size(pruned.bytes);
    output.line(format!("Total:\t{total}"))?;
    Ok(0)
}

/// `builder pin`, `builder unpin`
pub(crate) fn pin(
    args: &PinArgs,
    keep: bool,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    for id in engine.keep_in_build_cache(&args.items, keep)? {
        output.line(id)?;
    }
    Ok(0)
}

fn read_filters(texts: &[String]) -> Result<Vec<CacheFilter>, Failure> {
    let moment = |text: &str| {
        let moment = filters::moment(text)?;
        i64::try_from(moment.as_nanosecond()).ok()
    };
    let parse = |text: &String| {
        CacheFilter::parse(text, &moment)
            .map_err(|err| Failure::new(1, err.to_string()).because(&err))
    };
    texts.iter().map(parse).collect()
}

fn show(
    items: &[CacheItem],
    verbose: bool,
    now: Timestamp,
    output: &mut Output,
) -> Result<(), Failure> {
    let rows: Vec<Value> = items.iter().map(|item| row(item, now)).collect();
    if !verbose {
        return format::list(output, None, &COLUMNS, &TITLES, &rows);
    }
    for (item, row) in items.iter().zip(&rows) {
        let text = |member: &str| match &row[member] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut lines = vec![("ID:", item.id.to_string())];
        if !item.parents.is_empty() {
            lines.push(("Parent:", item.parents_text()));
        }
        lines.extend([
            ("Created at:", text("CreatedAt")),
            ("Mutable:", text("Mutable")),
            ("Reclaimable:", text("Reclaimable")),
            ("Shared:", text("Shared")),
            ("Pinned:", text("Pinned")),
            ("Size:", human::size(item.bytes)),
            ("Description:", item.description.clone()),
            ("Usage count:", text("UsageCount")),
            ("Last used:", text("LastUsedAt")),
            ("Type:", item.kind.to_string()),
        ]);
        let lines: Vec<Vec<String>> = lines
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        for line in align(&lines) {
            output.line(line)?;
        }
        output.line("")?;
    }
    Ok(())
}

/// An item as listings and templates show it. A star stands after the ID of what
/// may still change and after the size of what an image has too.
fn row(item: &CacheItem, now: Timestamp) -> Value {
    let time = |nanoseconds: i64| Timestamp::from_nanosecond(nanoseconds.into()).ok();
    let star = |is: bool| if is { "*" } else { "" };
    json!({
        "ID": format!("{}{}", item.id, star(item.is_mutable)),
        "Parents": item.parents_text(),
        "CreatedAt": human::moment(time(item.created_at)),
        "Mutable": item.is_mutable,
        "Reclaimable": item.is_reclaimable(),
        "Shared": item.is_shared,
        "Pinned": item.is_kept,
        "Size": format!("{}{}", human::size(item.bytes), star(item.is_shared)),
        "Description": item.description,
        "UsageCount": item.uses,
        "LastUsedAt": human::ago(time(item.used_at), now),
        "Type": item.kind.to_string(),
    })
}
