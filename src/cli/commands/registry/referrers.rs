//! `registry referrers`

use rbuild::engine::Engine;
use rbuild::oci::{Descriptor, Platform, media_type};
use serde_json::{Value, json};

use super::reference;
use crate::cli::commands::imagetools::clean;
use crate::cli::commands::reach::ReachArgs;
use crate::cli::format;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// List what refers to an image: signatures, bills of materials, other artifacts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// Only artifacts of this type
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,
    /// Of an index, what refers to its image for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// `json`, `raw` for the index, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let name = reference(&args.name)?;
    let found = engine.referrers(
        &name,
        args.platform.as_ref(),
        args.artifact_type.as_deref(),
        args.reach.reach(),
    )?;
    if args.format.as_deref() == Some("raw") {
        let document = json!({
            "schemaVersion": 2,
            "mediaType": media_type::INDEX,
            "manifests": found.list,
        });
        output.line(document)?;
        return Ok(0);
    }
    let repository = name.familiar_repository();
    let rows: Vec<Value> = found.list.iter().map(|one| row(&repository, one)).collect();
    let columns = [
        ("Digest", "DIGEST"),
        ("ArtifactType", "ARTIFACT TYPE"),
        ("Size", "SIZE"),
    ];
    let titles = [
        ("Name", "NAME"),
        ("MediaType", "MEDIA TYPE"),
        ("Annotations", "ANNOTATIONS"),
    ];
    format::list(output, args.format.as_deref(), &columns, &titles, &rows)?;
    Ok(0)
}

fn row(repository: &str, one: &Descriptor) -> Value {
    json!({
        "Name": format!("{repository}@{}", one.digest),
        "Digest": one.digest,
        "ArtifactType": clean(one.artifact_type.as_deref().unwrap_or("")),
        "MediaType": clean(&one.media_type),
        "Size": human::size(one.size),
        "Annotations": one.annotations,
    })
}
