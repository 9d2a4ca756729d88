//! `images`, `image ls`

use jiff::Timestamp;
use rbuild::engine::{Engine, ImageSummary};
use serde_json::{Value, json};

use super::filters::image_filter;
use super::image_tree;
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
    /// Show what names stand for on each platform
    #[arg(long)]
    tree: bool,
    /// Show only this repository, or this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

/// Docker's word `raw`.
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\n\
                   created_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";
/// What stands where there is no name.
const NONE: &str = "<none>";

const TITLES: [Column; 3] = [
    ("CreatedAt", "CREATED AT"),
    ("Containers", "CONTAINERS"),
    ("Digest", "DIGEST"),
];

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let mut filter = image_filter(&args.filter)?;
    filter.references.extend(args.name.clone());
    if args.tree {
        let refused = [
            ("quiet", args.quiet),
            ("no-trunc", args.no_trunc),
            ("digests", args.digests),
            ("format", args.format.is_some()),
        ];
        if let Some((flag, _)) = refused.iter().find(|(_, given)| *given) {
            let message = format!("--{flag} is not yet supported with --tree");
            return Err(Failure::new(1, message));
        }
        image_tree::print(&engine.image_trees(&filter)?, output)?;
        return Ok(0);
    }
    let images = engine.images(&filter)?;
    if args.quiet && args.format.is_none() {
        for image in &images {
            // One image with several names is one ID each, as Docker prints it.
            let rows = shown_names(&image.names, args.digests).len();
            for _ in 0..rows.max(1) {
                output.line(id(image, args.no_trunc))?;
            }
        }
        return Ok(0);
    }
    let how = Rows {
        whole: args.no_trunc,
        digests: args.digests,
    };
    let now = Timestamp::now();
    let rows: Vec<Value> = images
        .iter()
        .flat_map(|image| rows(image, how, now))
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
    let format = match args.format.as_deref().map(str::trim) {
        Some("raw") if args.quiet => Some("image_id: {{.ID}}"),
        Some("raw") => Some(RAW),
        _ => args.format.as_deref(),
    };
    format::list(output, format, &columns, &TITLES, &rows)?;
    Ok(0)
}

fn id(image: &ImageSummary, whole: bool) -> String {
    if whole {
        image.image.id.to_string()
    } else {
        image.image.id.0.short()
    }
}

/// How rows are made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rows {
    /// Whether IDs are whole.
    whole: bool,
    /// Whether digests have rows of their own.
    digests: bool,
}

/// One row for each tag; one for a repository whose digests are all that is
/// known of it; one without a name for a dangling image.
pub(super) fn rows(image: &ImageSummary, how: Rows, now: Timestamp) -> Vec<Value> {
    let row = |repository: &str, tag: &str, digest: &str| {
        json!({
            "Containers": "N/A",
            "CreatedAt": human::moment(image.created),
            "CreatedSince": human::ago(image.created, now),
            "Digest": digest,
            "ID": id(image, how.whole),
            "Repository": repository,
            "SharedSize": "N/A",
            "Size": human::size(image.bytes),
            "Tag": tag,
            "UniqueSize": "N/A",
            "VirtualSize": human::total_size(image.bytes),
        })
    };
    if image.names.is_empty() {
        return vec![row(NONE, NONE, NONE)];
    }
    let names = shown_names(&image.names, how.digests);
    names
        .iter()
        .map(|(repository, tag, digest)| row(repository, tag, digest))
        .collect()
}

/// Repository, tag and digest of each row. An image has a digest from a registry,
/// beside its tag: they are one row, or with `digests` one for each pair.
fn shown_names(names: &[String], digests: bool) -> Vec<(&str, &str, &str)> {
    let split = |name: &str| -> (usize, Option<usize>) {
        let colon = name.rfind(':').filter(|at| !name[*at..].contains('/'));
        (colon.unwrap_or(name.len()), colon)
    };
    let known: Vec<(&str, &str)> = names
        .iter()
        .filter_map(|name| name.split_once('@'))
        .collect();
    let mut rows = Vec::new();
    let mut tagged: Vec<&str> = Vec::new();
    for name in names.iter().filter(|name| !name.contains('@')) {
        let (end, colon) = split(name);
        let repository = &name[..end];
        let tag = colon.map_or(NONE, |at| &name[at + 1..]);
        tagged.push(repository);
        let before = rows.len();
        if digests {
            let same = known.iter().filter(|(own, _)| *own == repository);
            rows.extend(same.map(|(_, digest)| (repository, tag, *digest)));
        }
        if rows.len() == before {
            rows.push((repository, tag, NONE));
        }
    }
    for (repository, digest) in &known {
        let shown = rows.iter().any(|(own, ..)| own == repository);
        if !tagged.contains(repository) && (digests || !shown) {
            rows.push((repository, NONE, digest));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_beside_a_tag_is_one_row() {
        let names = ["a:1", "a@sha256:x", "h:5/b@sha256:x", "h:5/b@sha256:y"];
        let names = names.map(str::to_owned);
        assert_eq!(
            shown_names(&names, false),
            [("a", "1", NONE), ("h:5/b", NONE, "sha256:x")]
        );
        assert_eq!(
            shown_names(&names, true),
            [
                ("a", "1", "sha256:x"),
                ("h:5/b", NONE, "sha256:x"),
                ("h:5/b", NONE, "sha256:y")
            ]
        );
        let names = ["h:5/b:2".to_owned(), "c".to_owned()];
        let rows = [("h:5/b", "2", NONE), ("c", NONE, NONE)];
        assert_eq!(shown_names(&names, true), rows);
    }
}
