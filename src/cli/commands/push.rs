//! `push`, `image push`

use rbuild::engine::Engine;
use rbuild::image::Form;
use rbuild::layer::Codec;
use rbuild::oci::{ParseReferenceError, Reference};

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
    /// How layers that were made here are compressed
    #[arg(long, value_name = "gzip|zstd", default_value = "gzip", value_parser = ["gzip", "zstd"])]
    compression: String,
    /// How strongly
    #[arg(long, value_name = "LEVEL")]
    compression_level: Option<u8>,
    /// Accepted for compatibility: content trust was never made here
    #[arg(long, hide = true)]
    disable_content_trust: bool,
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
    let form = form(args)?;
    for name in &names {
        let layers = Layers::new(Words::Push, args.quiet, Target::Stdout);
        let pushed = engine.push(name, &form, &layers);
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
    let codec = if args.compression == "zstd" {
        let level = level.unwrap_or(3);
        (1..=22).contains(&level).then(|| Codec::Zstd(level.into()))
    } else {
        let level = level.unwrap_or(6);
        (level <= 9).then(|| Codec::Gzip(level.into()))
    };
    let codec = codec.ok_or_else(|| {
        Failure::new(1, "invalid --compression-level").with_hint("gzip takes 0 to 9, zstd 1 to 22")
    })?;
    Ok(Form {
        codec: Some(codec),
        ..Form::default()
    })
}
