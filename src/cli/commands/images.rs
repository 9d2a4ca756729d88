//! `images`, `image ls`

use jiff::Timestamp;
use rbuild::engine::{Engine, ImageSummary};
use serde_json::{Value, json};

use super::filters::image_filter;
use crate::cli::format::{self, Column};
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// List images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show also images that are only parts of others (there are none)
    #[arg(short, long)]
    all: bool,
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Do not cut IDs
    #[arg(long)]
    no_trunc: bool,
    /// Show only what fits: reference, dangling, label, before, since, until
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Show only this repository, or this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

const TITLES: [Column; 3] = [
    ("CreatedAt", "CREATED AT"),
    ("Containers", "CONTAINERS"),
    ("Digest", "DIGEST"),
];

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut filter = image_filter(&args.filter)?;
    filter.references.extend(args.name.clone());
    let images = engine.images(&filter)?;
    if args.quiet && args.format.is_none() {
        let mut shown = Vec::new();
        for image in &images {
            // One image with several names is one ID each, as Docker prints it.
            for _ in 0..image.names.len().max(1) {
                shown.push(id(image, args.no_trunc));
            }
        }
        for id in shown {
            output.line(id)?;
        }
        return Ok(0);
    }
    let now = Timestamp::now();
    let rows: Vec<Value> = images
        .iter()
        .flat_map(|image| rows(image, args.no_trunc, now))
        .collect();
    let mut columns = vec![("Repository", "REPOSITORY"), ("Tag", "TAG")];
    if args.digests {
        columns.push(("Digest", "DIGEST"));
    }
    columns.extend([
        ("ID", "IMAGE ID"),
        ("CreatedSince", "CREATED"),
        ("Size", "SIZE"),
    ]);
    format::list(output, args.format.as_deref(), &columns, &TITLES, &rows)?;
    Ok(0)
}

fn id(image: &ImageSummary, whole: bool) -> String {
    if whole {
        image.image.id.to_string()
    } else {
        image.image.id.0.short()
    }
}

/// One row for each name; one without a name for a dangling image.
fn rows(image: &ImageSummary, whole: bool, now: Timestamp) -> Vec<Value> {
    let row = |repository: &str, tag: &str, digest: &str| {
        json!({
            "Containers": "N/A",
            "CreatedAt": human::moment(image.created),
            "CreatedSince": human::ago(image.created, now),
            "Digest": digest,
            "ID": id(image, whole),
            "Repository": repository,
            "SharedSize": "N/A",
            "Size": human::size(image.bytes),
            "Tag": tag,
            "UniqueSize": "N/A",
        })
    };
    let none = "<none>";
    if image.names.is_empty() {
        return vec![row(none, none, none)];
    }
    image
        .names
        .iter()
        .map(|name| match name.split_once('@') {
            Some((repository, digest)) => row(repository, none, digest),
            None => match name.rsplit_once(':') {
                Some((repository, tag)) if !tag.contains('/') => row(repository, tag, none),
                _ => row(name, none, none),
            },
        })
        .collect()
}
