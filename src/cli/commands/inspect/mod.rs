//! `inspect`, `image inspect`

mod remote;

use std::fmt::Write as _;

use rbuild::engine::{Engine, ErrorKind, ImageDetails};
use rbuild::oci::{ContainerConfig, Platform};
use serde_json::{Map, Value, json};

use super::reach::ReachArgs;
use super::{containers, networks, volume};
use crate::cli::format;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show everything about images or containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `json` or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Show total file sizes of containers
    #[arg(short, long)]
    size: bool,
    /// What to look for: container, image or volume
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Names or IDs
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

/// Show everything about images
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// `json` or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Look at the images on their registries, without pulling them
    #[arg(long)]
    remote: bool,
    /// Of a name or an index of several platforms, the image for this one
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// With --remote: show the manifest or index as it is
    #[arg(long, requires = "remote", conflicts_with = "format")]
    raw: bool,
    #[command(flatten)]
    reach: ReachArgs,
    /// The images, by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    names: Vec<String>,
}

/// Show everything about containers
#[derive(Debug, clap::Args)]
pub(crate) struct ContainerArgs {
    /// `json` or a Go template
    #[arg(short, long)]
    format: Option<String>,
    /// Show total file sizes
    #[arg(short, long)]
    size: bool,
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    names: Vec<String>,
}

/// `inspect`: a container, or else an image.
pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let kind = args.kind.as_deref().filter(|kind| !kind.is_empty());
    let (containers, images, volumes) = match kind {
        None => (true, true, true),
        Some("container") => (true, false, false),
        Some("image") => (false, true, false),
        Some("volume") => (false, false, true),
        Some("network") => {
            return each(&args.names, args.format.as_deref(), output, &|name| {
                networks::document(engine, &engine.network(name)?)
            });
        }
        Some(other @ ("node" | "service" | "plugin" | "secret" | "task")) => {
            let message = format!("inspecting a {other} is not available in this version");
            return Err(Failure::new(1, message));
        }
        Some(other) => {
            return Err(Failure::new(
                1,
                format!("\"{other}\" is not a valid value for --type"),
            ));
        }
    };
    each(&args.names, args.format.as_deref(), output, &|name| {
        if containers {
            match containers::inspect(engine, name, args.size) {
                Ok(document) => return Ok(document),
                Err(error) if images && error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        if images {
            match engine.image_details(name, None) {
                Ok(details) => return Ok(image(&details)),
                // What cannot be the name of an image may be another's.
                Err(error) if volumes && is_other(error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match engine.volume(name) {
            Ok(found) => Ok(volume::document(&found)),
            Err(error) if containers && error.kind() == ErrorKind::NotFound => {
                if let Ok(network) = engine.network(name) {
                    return networks::document(engine, &network);
                }
                Err(Failure::new(1, format!("No such object: {name}")))
            }
            Err(error) => Err(error.into()),
        }
    })
}

fn is_other(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::InvalidInput)
}

/// `image inspect`
pub(crate) fn images(
    args: &ImageArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    if args.remote {
        let asked = remote::Asked {
            platform: args.platform.as_ref(),
            reach: args.reach.reach(),
        };
        if args.raw {
            return remote::raw(&args.names, &asked, engine, output);
        }
        return each(&args.names, args.format.as_deref(), output, &|name| {
            remote::document(name, &asked, engine)
        });
    }
    each(&args.names, args.format.as_deref(), output, &|name| {
        Ok(image(&engine.image_details(name, args.platform.as_ref())?))
    })
}

/// `container inspect`
pub(crate) fn containers(
    args: &ContainerArgs,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    each(&args.names, args.format.as_deref(), output, &|name| {
        Ok(containers::inspect(engine, name, args.size)?)
    })
}

/// `volume inspect`
pub(super) fn volumes(
    names: &[String],
    format: Option<&str>,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    each(names, format, output, &|name| {
        Ok(volume::document(&engine.volume(name)?))
    })
}

/// Prints the documents that could be had, and an error for each of the others.
fn each(
    names: &[String],
    format: Option<&str>,
    output: &mut Output,
    find: &dyn Fn(&str) -> Result<Value, Failure>,
) -> Result<u8, Failure> {
    let mut documents = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match find(name) {
            Ok(document) => documents.push(document),
            Err(failure) => failures.push(failure),
        }
    }
    // A template prints nothing for no document; the list is `[]`, as scripts expect.
    format::documents(output, format, &documents)?;
    for failure in &failures {
        output.failure(failure);
    }
    Ok(u8::from(!failures.is_empty()))
}

/// An image as Docker's `image inspect` shows it.
///
/// Source: Docker Engine API 1.48, "ImageInspect".
fn image(details: &ImageDetails) -> Value {
    let image = &details.image;
    let config = &image.config;
    let (tags, digests): (Vec<_>, Vec<_>) = details
        .names
        .iter()
        .map(|name| (name.digest().is_some(), name.familiar()))
        .partition(|(digested, _)| !digested);
    let names = |names: Vec<(bool, String)>| -> Vec<String> {
        names.into_iter().map(|(_, name)| name).collect()
    };
    let comment = config.history.last().and_then(|h| h.comment.clone());
    let mut document = json!({
        "Id": image.id,
        "RepoTags": names(tags),
        "RepoDigests": names(digests),
        "Parent": "",
        "Comment": comment.unwrap_or_default(),
        "Created": config.created.as_deref().unwrap_or("0001-01-01T00:00:00Z"),
        "DockerVersion": "",
        "Author": config.author.as_deref().unwrap_or(""),
        "Architecture": config.architecture,
    });
    if let Some(variant) = &config.variant {
        document["Variant"] = json!(variant);
    }
    document["Os"] = json!(config.os);
    document["Size"] = json!(details.bytes);
    document["GraphDriver"] = graph_driver(details);
    document["RootFS"] = json!({"Type": "layers", "Layers": config.rootfs.diff_ids});
    let stored = details.stored.map(|moment| moment.to_string());
    document["Metadata"] = json!({"LastTagTime": stored.unwrap_or_default()});
    document["Descriptor"] = json!({
        "mediaType": image.manifest.media_type,
        "digest": image.manifest_digest,
        "size": image.manifest_bytes.len(),
    });
    document["Config"] = container_config(&config.config);
    document
}

/// The configuration, with the members that clients read without asking whether they are there.
fn container_config(config: &ContainerConfig) -> Value {
    let mut document = Map::new();
    document.insert("User".to_owned(), json!(config.user));
    let or_null = |said: bool, value: Value| if said { value } else { Value::Null };
    let env = or_null(!config.env.is_empty(), json!(config.env));
    document.insert("Env".to_owned(), env);
    document.insert("Cmd".to_owned(), json!(config.cmd));
    document.insert("WorkingDir".to_owned(), json!(config.working_dir));
    document.insert("Entrypoint".to_owned(), json!(config.entrypoint));
    let volumes = or_null(!config.volumes.is_empty(), json!(config.volumes));
    document.insert("Volumes".to_owned(), volumes);
    let labels = or_null(!config.labels.is_empty(), json!(config.labels));
    document.insert("Labels".to_owned(), labels);
    if let Ok(Value::Object(stored)) = serde_json::to_value(config) {
        document.extend(stored);
    }
    if config.on_build.is_empty() {
        document.insert("OnBuild".to_owned(), Value::Null);
    }
    Value::Object(document)
}

/// The layers' directories in Docker's words; empty when they are not unpacked.
fn graph_driver(details: &ImageDetails) -> Value {
    let mut data = Map::new();
    if let Some((top, lower)) = details.layer_dirs.split_first() {
        let mut dirs = String::new();
        for dir in lower {
            let separator = if dirs.is_empty() { "" } else { ":" };
            // Writing to a string cannot fail.
            let _infallible = write!(dirs, "{separator}{}", dir.display());
        }
        if !dirs.is_empty() {
            data.insert("LowerDir".to_owned(), json!(dirs));
        }
        data.insert("UpperDir".to_owned(), json!(top));
    }
    json!({"Name": "overlay2", "Data": data})
}
