//! `push`, `image push`

use rbuild::engine::Engine;
use rbuild::image::{Form, MediaTypes};
use rbuild::layer::Codec;
use rbuild::oci::{ParseReferenceError, Platform, Reference};
use rbuild::transfer::PushOptions;

use super::reach::ReachArgs;
use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::transfer::{Layers, Target, Words};

/// Send an image to a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by the name that it is to have there
    #[arg(value_name = "NAME[:TAG]")]
    name: String,
    /// Send every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Show nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Send the image for this platform alone
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// How layers that were made here are compressed
    #[arg(
        long, value_name = "gzip|zstd|uncompressed", default_value = "gzip",
        visible_alias = "compression-format",
        value_parser = ["gzip", "zstd", "uncompressed", "estargz", "zstd:chunked"]
    )]
    compression: String,
    /// How strongly
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<u8>,
    /// Compress layers that came from elsewhere anew as well
    #[arg(long)]
    force_compression: bool,
    /// Whose media types to write: those that the image has are kept otherwise
    #[arg(short, long, value_name = "oci|v2s2", value_parser = ["oci", "v2s2"])]
    format: Option<String>,
    /// Accepted for compatibility: content trust was never made here
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let reference: Reference = args
        .name
        .parse()
        .map_err(|err: ParseReferenceError| Failure::new(1, err.to_string()))?;
    if reference.digest().is_some() {
        return Err(Failure::new(1, "cannot push a digest reference"));
    }
    let tagged = args
        .name
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'));
    if args.all_tags && tagged {
        return Err(Failure::new(1, "tag can't be used with --all-tags/-a"));
    }
    let names = if args.all_tags {
        engine.local_tags(&reference)?
    } else {
        vec![reference.clone()]
    };
    if names.is_empty() {
        let repository = reference.familiar_repository();
        let message = format!("An image does not exist locally with the tag: {repository}");
        return Err(Failure::new(1, message));
    }
    if !args.quiet {
        if !args.all_tags && !tagged {
            output.line("Using default tag: latest")?;
        }
        output.line(format!(
            "The push refers to repository [{}]",
            reference.repository()
        ))?;
        output.flush()?;
    }
    let options = PushOptions {
        form: form(args)?,
        by_digest: false,
    };
    for name in &names {
        let layers = Layers::new(Words::Push, args.quiet, Target::Stdout);
        let (platform, reach) = (args.platform.as_ref(), args.reach.reach());
        let pushed = engine.push(name, platform, &options, reach, &layers);
        layers.end();
        let pushed = pushed?;
        let tag = name.tag().unwrap_or("latest");
        if !args.quiet {
            output.line(format!(
                "{tag}: digest: {} size: {}",
                pushed.digest, pushed.size
            ))?;
        }
    }
    if args.quiet {
        output.line(&reference)?;
    }
    Ok(0)
}

fn form(args: &Args) -> Result<Form, Failure> {
    let level = args.compression_level;
    let wrong = |message: String, hint: &'static str| Err(Failure::new(1, message).with_hint(hint));
    let codec = match (args.compression.as_str(), level) {
        ("gzip", None) => Some(Codec::GZIP),
        ("gzip", Some(level @ 0..=9)) => Some(Codec::Gzip(level.into())),
        ("zstd", None) => Some(Codec::ZSTD),
        ("zstd", Some(level @ 1..=22)) => Some(Codec::Zstd(level.into())),
        ("uncompressed", None) => None,
        (other @ ("estargz" | "zstd:chunked"), _) => {
            return wrong(
                format!("compression `{other}` is not supported"),
                "`gzip` and `zstd` are read everywhere where it is",
            );
        }
        (other, Some(level)) => {
            return wrong(
                format!("invalid compression level {level} for {other}"),
                "gzip takes 0 to 9, zstd 1 to 22",
            );
        }
        (other, None) => return wrong(format!("unknown compression `{other}`"), ""),
    };
    Ok(Form {
        codec,
        force: args.force_compression,
        types: match args.format.as_deref() {
            None => MediaTypes::Kept,
            Some(format) => MediaTypes::docker_if(format == "v2s2"),
        },
        ..Form::default()
    })
}
