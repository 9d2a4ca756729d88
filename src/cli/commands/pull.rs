//! `pull`, `image pull`

use rbuild::engine::Engine;
use rbuild::oci::{ParseReferenceError, Platform, Reference};

use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::transfer::{Layers, Words};

/// Get an image from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// Get it for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Show nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let reference: Reference = args
        .name
        .parse()
        .map_err(|err: ParseReferenceError| Failure::new(1, err.to_string()))?;
    let tag = reference
        .tag()
        .map_or_else(|| reference.familiar(), str::to_owned);
    if !args.quiet {
        if reference.digest().is_none() && !args.name.ends_with(&format!(":{tag}")) {
            output.line(format!("Using default tag: {tag}"))?;
        }
        output.line(format!("{tag}: Pulling from {}", reference.path()))?;
        output.flush()?;
    }
    let layers = Layers::new(Words::Pull, args.quiet);
    let pulled = engine.pull(&reference, args.platform.as_ref(), &layers);
    layers.end();
    let pulled = pulled?;
    if !args.quiet {
        let name = reference.familiar();
        output.line(format!("Digest: {}", pulled.digest))?;
        output.line(if pulled.was_current {
            format!("Status: Image is up to date for {name}")
        } else {
            format!("Status: Downloaded newer image for {name}")
        })?;
    }
    output.line(&reference)?;
    Ok(0)
}
