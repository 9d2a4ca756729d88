//! `registry attach`

use std::path::Path;

use rbuild::engine::Engine;
use rbuild::oci::Platform;
use rbuild::transfer::{Artifact, ArtifactFile};

use super::reference;
use crate::cli::commands::reach::ReachArgs;
use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::transfer::{Layers, Target, Words};
use crate::cli::values;

/// Attach files to an image on its registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// What kind of thing the files are, as a media type
    #[arg(long, value_name = "TYPE")]
    artifact_type: String,
    /// Of an index, attach to its image for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Annotate the artifact
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    annotation: Vec<(String, String)>,
    /// The files, each with its media type; without files the annotations are all there is
    #[arg(value_name = "FILE[:TYPE]")]
    files: Vec<String>,
    /// Show nothing but the artifact's name
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let name = reference(&args.name)?;
    if !is_media_type(&args.artifact_type) {
        let message = format!("`{}` is no artifact type", args.artifact_type);
        let hint = "a media type is expected, such as application/vnd.cyclonedx+json";
        return Err(Failure::new(1, message).with_hint(hint));
    }
    let artifact = Artifact {
        artifact_type: args.artifact_type.clone(),
        files: args.files.iter().map(|text| file(text)).collect(),
        annotations: args.annotation.iter().cloned().collect(),
    };
    let layers = Layers::new(Words::Push, args.quiet, Target::Stdout);
    let attached = engine.attach_artifact(
        &name,
        args.platform.as_ref(),
        &artifact,
        args.reach.reach(),
        &layers,
    );
    layers.end();
    let attached = attached?;
    let own = name.with_digest(attached.digest).familiar();
    if args.quiet {
        output.line(own)?;
    } else {
        output.line(format!(
            "Attached to {}",
            name.with_digest(attached.subject).familiar()
        ))?;
        output.line(format!("Digest: {}", attached.digest))?;
    }
    Ok(0)
}

/// `FILE` or `FILE:TYPE`; a file that has a colon in its name wins.
fn file(text: &str) -> ArtifactFile {
    match text.rsplit_once(':') {
        Some((path, kind)) if is_media_type(kind) && !Path::new(text).exists() => ArtifactFile {
            path: path.into(),
            media_type: kind.to_owned(),
        },
        _ => ArtifactFile {
            path: text.into(),
            media_type: guess(text).to_owned(),
        },
    }
}

fn guess(path: &str) -> &'static str {
    let ending = Path::new(path)
        .extension()
        .and_then(|ending| ending.to_str());
    match ending {
        Some("json") => "application/json",
        Some("txt") => "text/plain",
        Some("md") => "text/markdown",
        Some("xml") => "application/xml",
        Some("gz") => "application/gzip",
        Some("tar") => "application/x-tar",
        _ => "application/octet-stream",
    }
}

/// `type/subtype` of RFC 6838.
fn is_media_type(text: &str) -> bool {
    let good = |part: &str| {
        let first = part.bytes().next();
        first.is_some_and(|byte| byte.is_ascii_alphanumeric())
            && part.len() <= 127
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    text.split_once('/')
        .is_some_and(|(kind, rest)| good(kind) && good(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_have_their_type_after_a_colon() {
        let check = |text: &str, path: &str, kind: &str| {
            let file = file(text);
            assert_eq!((file.path, file.media_type.as_str()), (path.into(), kind));
        };
        check("a.json", "a.json", "application/json");
        check("a:text/x", "a", "text/x");
        check("a:b", "a:b", "application/octet-stream");
        check("d/a:1.txt", "d/a:1.txt", "text/plain");
        assert!(!is_media_type("a") && !is_media_type("/b") && !is_media_type("a/b/c"));
    }
}
