//! `imagetools create`, `imagetools inspect`

use std::collections::BTreeMap;

use clap::Subcommand;
use rbuild::engine::{CombineRequest, Engine};
use rbuild::oci::{Digest, Index, Platform, Reference};
use rbuild::transfer::Remote;
use serde_json::{Value, json};

use super::reach::ReachArgs;
use super::registry::reference;
use crate::cli::format;
use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::transfer::{Layers, Target, Words};

/// `imagetools ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Create(CreateArgs),
    Inspect(InspectArgs),
}

/// Make an image on a registry from others
#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// What it is made of: names, or digests in the target's repository
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,
    /// The name that it gets
    #[arg(short, long, value_name = "NAME")]
    tag: Vec<String>,
    /// Add to what the name stands for now
    #[arg(long)]
    append: bool,
    /// Show the index instead of sending it
    #[arg(long)]
    dry_run: bool,
    /// Annotate the index: `KEY=VALUE` or `index:KEY=VALUE`
    #[arg(long, value_name = "ANNOTATION")]
    annotation: Vec<String>,
    /// Take these platforms of the sources alone
    #[arg(short, long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<Platform>,
    /// Whether a single source that is no index becomes one
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    prefer_index: bool,
    /// Read a source's descriptor from a file
    #[arg(short, long, value_name = "FILE")]
    file: Vec<std::path::PathBuf>,
    /// Accepted for compatibility: progress is lines, or bars on a terminal
    #[arg(long, value_name = "TYPE", hide = true)]
    progress: Option<String>,
    /// Accepted for compatibility: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Show what a name on a registry leads to
#[derive(Debug, clap::Args)]
pub(crate) struct InspectArgs {
    /// The name
    name: String,
    /// A Go template of `.Name`, `.Manifest` and `.Image`
    #[arg(long)]
    format: Option<String>,
    /// Show the manifest or index as it is
    #[arg(long)]
    raw: bool,
    /// Accepted for compatibility: there is one builder
    #[arg(long, value_name = "NAME", hide = true)]
    builder: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(verb: &Verb, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    match verb {
        Verb::Create(args) => create(args, engine, output),
        Verb::Inspect(args) => inspect(args, engine, output),
    }
}

fn create(args: &CreateArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    if args.tag.is_empty() && !args.dry_run {
        return Err(Failure::new(
            1,
            "can't push with no tags specified, please set --tag or --dry-run",
        ));
    }
    let targets: Result<Vec<Reference>, Failure> =
        args.tag.iter().map(|text| reference(text)).collect();
    let targets = targets?;
    let mut sources = Vec::new();
    for file in &args.file {
        sources.push(described(file, &targets)?);
    }
    for text in &args.sources {
        sources.push(source(text, &targets)?);
    }
    let request = CombineRequest {
        sources,
        append: args.append,
        platforms: args.platform.clone(),
        annotations: annotations(&args.annotation)?,
        prefer_index: args.prefer_index,
        targets,
    };
    let reach = args.reach.reach();
    let combined = engine.combine_images(&request, reach)?;
    if args.dry_run {
        output.bytes(&combined.bytes)?;
        return Ok(0);
    }
    let layers = Layers::new(Words::Copy, false, Target::Stderr);
    let pushed = engine.push_combined(&combined, &request.targets, reach, &layers);
    layers.end();
    pushed?;
    for target in &request.targets {
        output.message(format!(
            "pushed {} to {}",
            combined.digest,
            target.familiar()
        ));
    }
    Ok(0)
}

/// A source by name, or by a digest in the first target's repository.
fn source(text: &str, targets: &[Reference]) -> Result<Reference, Failure> {
    match text.parse::<Digest>() {
        Ok(digest) => in_target(digest, targets),
        Err(_) => reference(text),
    }
}

/// A source by its descriptor in a file.
fn described(file: &std::path::Path, targets: &[Reference]) -> Result<Reference, Failure> {
    let wrong = |why: String| Failure::new(1, format!("{}: {why}", file.display()));
    let text = std::fs::read(file).map_err(|err| wrong(err.to_string()))?;
    let document: Value = serde_json::from_slice(&text).map_err(|err| wrong(err.to_string()))?;
    let digest = document["digest"]
        .as_str()
        .and_then(|text| text.parse().ok());
    in_target(
        digest.ok_or_else(|| wrong("no descriptor".to_owned()))?,
        targets,
    )
}

fn in_target(digest: Digest, targets: &[Reference]) -> Result<Reference, Failure> {
    let first = targets.first().ok_or_else(|| {
        Failure::new(1, format!("the repository of {digest} is not known"))
            .with_hint("name it as REPOSITORY@DIGEST, or give --tag")
    })?;
    Ok(first.with_digest(digest))
}

fn annotations(texts: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    texts
        .iter()
        .map(|text| {
            let wrong = || {
                Failure::new(
                    1,
                    format!("invalid annotation `{text}`, expected key=value"),
                )
            };
            let (key, value) = text.split_once('=').ok_or_else(wrong)?;
            match key.split_once(':') {
                Some(("index", key)) => Ok((key.to_owned(), value.to_owned())),
                Some((kind, _)) if kind.starts_with("manifest") || kind.starts_with("index-") => {
                    Err(
                        Failure::new(1, format!("`{kind}` annotations are not supported here"))
                            .with_hint("those of the index are: index:KEY=VALUE"),
                    )
                }
                _ => Ok((key.to_owned(), value.to_owned())),
            }
        })
        .collect()
}

fn inspect(args: &InspectArgs, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let name = reference(&args.name)?;
    let reach = args.reach.reach();
    if args.raw {
        let manifest = engine.remote_manifest(&name, None, reach)?;
        output.bytes(&manifest.bytes)?;
        return Ok(0);
    }
    let Some(format) = &args.format else {
        let manifest = engine.remote_manifest(&name, None, reach)?;
        output.line(format!("Name:      {name}"))?;
        output.line(format!("MediaType: {}", manifest.media_type))?;
        output.line(format!("Digest:    {}", manifest.digest))?;
        if let Ok(index) = serde_json::from_slice::<Index>(&manifest.bytes) {
            members(&name, &index, output)?;
        }
        return Ok(0);
    };
    let remote = engine.remote_image(&name, None, reach)?;
    let document = document(&name, &remote);
    if format == "json" {
        output.line(&document)?;
    } else {
        format::documents(output, Some(&go_names(format)), &[document])?;
    }
    Ok(0)
}

/// A template with the members of a descriptor as JSON has them, where it is
/// written with the names that Go has for them.
fn go_names(template: &str) -> String {
    let names = ["Digest", "MediaType", "Size", "Manifests", "Annotations"];
    names.iter().fold(template.to_owned(), |text, name| {
        let own = format!("{}{}", name[..1].to_ascii_lowercase(), &name[1..]);
        text.replace(&format!(".Manifest.{name}"), &format!(".Manifest.{own}"))
    })
}

fn members(name: &Reference, index: &Index, output: &mut Output) -> Result<(), Failure> {
    output.line("           ")?;
    output.line("Manifests: ")?;
    for (at, entry) in index.manifests.iter().enumerate() {
        if at > 0 {
            output.line("             ")?;
        }
        output.line(format!("  Name:        {name}@{}", entry.digest))?;
        output.line(format!("  MediaType:   {}", entry.media_type))?;
        if let Some(platform) = &entry.platform {
            output.line(format!("  Platform:    {platform}"))?;
            if let Some(version) = &platform.os_version {
                output.line(format!("  OSVersion:   {version}"))?;
            }
        }
        if let Some(kind) = &entry.artifact_type {
            output.line(format!("  ArtifactType: {kind}"))?;
        }
        if !entry.annotations.is_empty() {
            output.line("  Annotations: ")?;
            for (key, value) in &entry.annotations {
                output.line(format!("    {key}: {}", clean(value)))?;
            }
        }
    }
    Ok(())
}

/// Text of others without what would steer a terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn document(name: &Reference, remote: &Remote) -> Value {
    let mut manifest: Value = serde_json::from_slice(&remote.named.bytes).unwrap_or_default();
    manifest["digest"] = json!(remote.named.digest);
    manifest["size"] = json!(remote.named.bytes.len());
    json!({
        "Name": name.to_string(),
        "Manifest": manifest,
        "Image": remote.config,
    })
}
