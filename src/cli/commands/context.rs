//! `context`

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rbuild::build::{ContextAnswer, ContextListing};
use rbuild::context::{IgnoreLine, Kind, Surveyed};
use rbuild::engine::Config;
use serde_json::{Value, json};

use super::Open;
use super::build;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// A part of the whole that is worth a line of its own: one in so many.
const WORTH_A_LINE: u64 = 50;
/// Most lines of one directory that are shown for their size alone.
const LINES: usize = 8;

/// Show what goes into a build context, and what is left out by which line
///
/// Takes the flags of `build`, so that it looks at the same context with the same ignore file.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Every file, largest first, instead of a summary
    #[arg(short, long)]
    all: bool,
    /// Say of this path whether the context has it, and which line decided; may be repeated
    #[arg(long, value_name = "PATH")]
    explain: Vec<PathBuf>,
    /// How to show it: text or json
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "text",
        hide_default_value = true
    )]
    #[arg(value_parser = ["text", "json"])]
    format: String,
    #[command(flatten)]
    build: build::Args,
}

pub(super) fn run(
    args: &Args,
    config: &Config,
    open: Open<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    build::prepare(&args.build, config)?;
    let engine = open()?;
    let request = build::read(&args.build, config, &engine)?;
    let json = args.format == "json";
    if !args.explain.is_empty() {
        let answers = engine.context_explained(&request.build, &args.explain)?;
        return explain(&answers, json, output);
    }
    let listing = engine.context(&request.build)?;
    if json {
        output.line(listing_json(&listing))?;
        return Ok(0);
    }
    let survey = &listing.survey;
    totals("CONTEXT", &survey.included, output)?;
    if args.all {
        all(&survey.included, output)?;
    } else {
        summary(&survey.included, output)?;
    }
    if survey.ignored.is_empty() {
        return Ok(0);
    }
    output.line("")?;
    totals("LEFT OUT", &survey.ignored, output)?;
    left_out(&listing, args.all, output)?;
    Ok(0)
}

/// `included: docs/readme: .dockerignore:7 !docs`
fn explain(answers: &[ContextAnswer], json: bool, output: &mut Output) -> Result<u8, Failure> {
    let mut missing = false;
    let mut values = Vec::new();
    for answer in answers {
        missing |= !answer.exists;
        let path = shown(&answer.path);
        let rule = rule(answer.ignore_file.as_deref(), answer.line.as_ref());
        if json {
            values.push(json!({
                "path": path,
                "exists": answer.exists,
                "ignored": answer.is_ignored,
                "rule": rule_json(answer.ignore_file.as_deref(), answer.line.as_ref()),
            }));
            continue;
        }
        let verdict = match (answer.exists, answer.is_ignored) {
            (true, false) => "included",
            (true, true) => "ignored",
            (false, false) => "not there, would be included",
            (false, true) => "not there, would be ignored",
        };
        let why = rule.unwrap_or_else(|| match &answer.ignore_file {
            Some(file) => format!("no line of {file} matches"),
            None => "there is no ignore file".to_owned(),
        });
        output.line(format!("{path}: {verdict}: {why}"))?;
    }
    if json {
        output.line(Value::from(values))?;
    }
    Ok(u8::from(missing))
}

/// `.dockerignore:7 !docs`
fn rule(file: Option<&str>, line: Option<&IgnoreLine>) -> Option<String> {
    let line = line?;
    Some(format!(
        "{}:{} {}",
        file.unwrap_or_default(),
        line.number,
        line.text
    ))
}

fn rule_json(file: Option<&str>, line: Option<&IgnoreLine>) -> Value {
    line.map_or(
        Value::Null,
        |line| json!({"file": file, "line": line.number, "pattern": line.text}),
    )
}

fn listing_json(listing: &ContextListing) -> Value {
    let file = listing.ignore_file.as_deref();
    let list = |items: &[Surveyed]| -> Value {
        let entries: Vec<Value> = items
            .iter()
            .map(|item| {
                json!({
                    "path": shown(&item.path),
                    "type": match item.kind {
                        Kind::File => "file",
                        Kind::Directory => "directory",
                        Kind::Link => "symlink",
                        Kind::Other => "other",
                    },
                    "bytes": item.bytes,
                    "files": item.files,
                    "rule": rule_json(file, item.line.as_ref()),
                })
            })
            .collect();
        let (files, bytes) = sums(items);
        json!({"files": files, "bytes": bytes, "entries": entries})
    };
    json!({
        "context": listing.directory.display().to_string(),
        "ignoreFile": file,
        "included": list(&listing.survey.included),
        "ignored": list(&listing.survey.ignored),
    })
}

fn sums(items: &[Surveyed]) -> (u64, u64) {
    items.iter().fold((0, 0), |(files, bytes), item| {
        (files + item.files, bytes + item.bytes)
    })
}

fn totals(what: &str, items: &[Surveyed], output: &mut Output) -> Result<(), Failure> {
    let (files, bytes) = sums(items);
    let noun = if files == 1 { "file" } else { "files" };
    output.line(format!("{what}: {} in {files} {noun}", human::size(bytes)))
}

/// A name of the context, which may be anything, fit for a terminal.
fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() {
        return ".".to_owned();
    }
    let text = path.to_string_lossy();
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

fn all(items: &[Surveyed], output: &mut Output) -> Result<(), Failure> {
    let mut files: Vec<&Surveyed> = items.iter().filter(|item| item.files > 0).collect();
    files.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    for file in files {
        row(file.bytes, "", &shown(&file.path), output)?;
    }
    Ok(())
}

fn row(bytes: u64, files: &str, name: &str, output: &mut Output) -> Result<(), Failure> {
    let files = if files.is_empty() {
        String::new()
    } else {
        format!("{files:>7}  ")
    };
    output.line(format!("{:>9}  {files}{name}", human::size(bytes)))
}

/// A directory with the sums of what is in it; a file, where it has no children.
#[derive(Debug, Default)]
struct Node {
    bytes: u64,
    files: u64,
    is_dir: bool,
    children: BTreeMap<OsString, Node>,
}

impl Node {
    fn of(items: &[Surveyed]) -> Self {
        let mut root = Self::default();
        for item in items {
            let mut node = &mut root;
            node.bytes += item.bytes;
            node.files += item.files;
            for part in &item.path {
                node = node.children.entry(part.to_owned()).or_default();
                node.bytes += item.bytes;
                node.files += item.files;
            }
            node.is_dir |= item.kind == Kind::Directory;
        }
        root
    }

    /// Its children, largest first.
    fn by_size(&self) -> Vec<(&OsString, &Self)> {
        let mut children: Vec<_> = self.children.iter().collect();
        children.sort_by(|a, b| b.1.bytes.cmp(&a.1.bytes).then_with(|| a.0.cmp(b.0)));
        children
    }
}

/// The tree, cut where it is not worth a line.
fn summary(items: &[Surveyed], output: &mut Output) -> Result<(), Failure> {
    let root = Node::of(items);
    branch(&root, root.bytes / WORTH_A_LINE, 0, output)
}

fn branch(node: &Node, worth: u64, depth: usize, output: &mut Output) -> Result<(), Failure> {
    let indent = "  ".repeat(depth);
    let (mut rest_bytes, mut rest_files, mut rest) = (0, 0, 0_usize);
    for (index, (name, child)) in node.by_size().into_iter().enumerate() {
        // The first level is shown in any case, as far as it goes.
        if index >= LINES || (depth > 0 && child.bytes < worth.max(1)) {
            rest_bytes += child.bytes;
            rest_files += child.files;
            rest += 1;
            continue;
        }
        let slash = if child.is_dir { "/" } else { "" };
        let name = format!("{indent}{}{slash}", shown(Path::new(name)));
        let files = if child.is_dir {
            child.files.to_string()
        } else {
            "-".to_owned()
        };
        row(child.bytes, &files, &name, output)?;
        branch(child, worth, depth + 1, output)?;
    }
    // What is small in a directory is counted on the directory's own line.
    if rest > 0 && depth == 0 {
        let name = format!("{indent}({rest} more)");
        row(rest_bytes, &rest_files.to_string(), &name, output)?;
    }
    Ok(())
}

/// What the ignore file leaves out, largest first, with the line that decided.
fn left_out(listing: &ContextListing, all: bool, output: &mut Output) -> Result<(), Failure> {
    /// Rows without `--all`.
    const ROWS: usize = 20;
    let mut items: Vec<&Surveyed> = listing.survey.ignored.iter().collect();
    items.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    let rows = if all { items.len() } else { ROWS };
    let width = items
        .iter()
        .take(rows)
        .map(|item| shown(&item.path).chars().count() + 1)
        .max()
        .unwrap_or(0)
        .min(48);
    for item in items.iter().take(rows) {
        let slash = if item.kind == Kind::Directory {
            "/"
        } else {
            ""
        };
        let rule = rule(listing.ignore_file.as_deref(), item.line.as_ref()).unwrap_or_default();
        let name = format!("{}{slash}", shown(&item.path));
        let files = if item.kind == Kind::Directory {
            item.files.to_string()
        } else {
            "-".to_owned()
        };
        let name = format!("{name:<width$}   {rule}");
        row(item.bytes, &files, name.trim_end(), output)?;
    }
    if items.len() > rows {
        let rest: Vec<Surveyed> = items[rows..].iter().map(|item| (*item).clone()).collect();
        let (files, bytes) = sums(&rest);
        let name = format!("({} more; --all shows them)", rest.len());
        row(bytes, &files.to_string(), &name, output)?;
    }
    Ok(())
}
