//! `manifest inspect`

use rbuild::engine::Engine;
use rbuild::oci::{Reference, media_type};
use rbuild::registry::Fetched;
use rbuild::transfer::{List, Member, Source, index};
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::commands::reach::ReachArgs;
use crate::cli::commands::registry::reference;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show a manifest or a list of manifests
///
/// A local list is shown as it would be pushed; anything else is asked of its registry.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The list, or the manifest
    #[arg(value_name = "NAME")]
    name: String,
    /// An image in the list, by name or digest
    #[arg(value_name = "MANIFEST")]
    manifest: Option<String>,
    /// Show the manifests of all images with their descriptors
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let name = reference(&args.name)?;
    let local = engine.find_list(&name)?;
    match (&args.manifest, local) {
        (Some(text), local) => {
            let missing = || Failure::new(1, format!("No such manifest: {text}"));
            let mut list = local.ok_or_else(missing)?;
            let member = list.find(text).ok_or_else(missing)?.clone();
            let fetched = fetch(args, engine, &member)?;
            if args.verbose {
                let one = verbose(&member.name, &member.entry, &fetched);
                output.line(indented(&one, b"\t")?)?;
            } else {
                document(&fetched, output)?;
            }
        }
        (None, Some(list)) => whole(args, engine, &list, output)?,
        (None, None) => remote(args, engine, &name, output)?,
    }
    Ok(0)
}

/// A local list.
fn whole(args: &Args, engine: &Engine, list: &List, output: &mut Output) -> Result<(), Failure> {
    if args.verbose {
        let mut all = Vec::new();
        for member in &list.members {
            let fetched = fetch(args, engine, member)?;
            all.push(verbose(&member.name, &member.entry, &fetched));
        }
        return output.line(indented(&Value::from(all), b"\t")?);
    }
    let entries: Vec<Value> = list
        .members
        .iter()
        .map(|member| member.entry.clone())
        .collect();
    let (_, bytes) = index(&entries, &list.annotations);
    output.bytes(&bytes)?;
    output.line("")
}

/// What a registry has by the name.
fn remote(
    args: &Args,
    engine: &Engine,
    name: &Reference,
    output: &mut Output,
) -> Result<(), Failure> {
    let reach = args.reach.reach();
    let missing = |error: rbuild::engine::Error| match &error {
        rbuild::engine::Error::Registry(registry) if registry.is_not_found() => {
            Failure::new(1, format!("no such manifest: {name}"))
        }
        _ => error.into(),
    };
    let fetched = engine.remote_manifest(name, None, reach).map_err(missing)?;
    if !args.verbose {
        return document(&fetched, output);
    }
    let parsed: Value = serde_json::from_slice(&fetched.bytes).unwrap_or_default();
    let Some(entries) = parsed["manifests"].as_array() else {
        let mut entry = json!({
            "mediaType": fetched.media_type,
            "digest": fetched.digest,
            "size": fetched.bytes.len(),
        });
        if let Some(config) = engine.remote_image(name, None, reach)?.config {
            entry["platform"] = json!({"architecture": config.architecture, "os": config.os});
        }
        let one = verbose(&name.to_string(), &entry, &fetched);
        return output.line(indented(&one, b"\t")?);
    };
    let mut all = Vec::new();
    for entry in entries {
        let digest = entry["digest"].as_str().and_then(|text| text.parse().ok());
        let Some(digest) = digest else { continue };
        let one = name.with_digest(digest);
        let fetched = engine.remote_manifest(&one, None, reach)?;
        let shown = match name.tag() {
            Some(tag) => format!("{}:{tag}@{digest}", name.repository()),
            None => one.to_string(),
        };
        all.push(verbose(&shown, entry, &fetched));
    }
    output.line(indented(&Value::from(all), b"\t")?)
}

/// The manifest of a member.
fn fetch(args: &Args, engine: &Engine, member: &Member) -> Result<Fetched, Failure> {
    match (&member.source, member.digest()) {
        (Source::Registry(repository), Some(digest)) => {
            let name = reference(repository)?.with_digest(digest);
            Ok(engine.remote_manifest(&name, None, args.reach.reach())?)
        }
        (Source::Store(id), _) => {
            let image = engine.image(&id.to_string())?;
            let kind = image.manifest.media_type.clone();
            Ok(Fetched {
                digest: image.manifest_digest,
                media_type: kind.unwrap_or_else(|| media_type::MANIFEST.to_owned()),
                bytes: image.manifest_bytes,
            })
        }
        (Source::Registry(_), None) => {
            Err(Failure::new(1, format!("{} has no digest", member.name)))
        }
    }
}

/// An image with its descriptor and its manifest, as Docker's client shows it.
fn verbose(name: &str, descriptor: &Value, fetched: &Fetched) -> Value {
    use base64::Engine as _;
    let parsed: Value = serde_json::from_slice(&fetched.bytes).unwrap_or_default();
    let kind = if fetched.media_type == media_type::DOCKER_MANIFEST {
        "SchemaV2Manifest"
    } else {
        "OCIManifest"
    };
    let raw = base64::engine::general_purpose::STANDARD.encode(&fetched.bytes);
    let mut shown = json!({"Ref": name, "Descriptor": descriptor, "Raw": raw});
    shown[kind] = parsed;
    shown
}

/// A document, indented by tabs; a list by three spaces, as Docker's client has it.
fn document(fetched: &Fetched, output: &mut Output) -> Result<(), Failure> {
    let wrong = |err: serde_json::Error| Failure::new(1, format!("it is no JSON: {err}"));
    let parsed: Value = serde_json::from_slice(&fetched.bytes).map_err(wrong)?;
    let is_list = parsed.get("manifests").is_some();
    output.line(indented(&parsed, if is_list { b"   " } else { b"\t" })?)
}

fn indented(value: &Value, indent: &[u8]) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(indent);
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value
        .serialize(&mut serializer)
        .map_err(|err| Failure::new(1, format!("cannot write JSON: {err}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
