//! `pull`, `image pull`

use rbuild::engine::Engine;
use rbuild::oci::{ParseReferenceError, Platform, Reference};

use super::reach::ReachArgs;
use crate::cli::output::Output;
use crate::cli::report::Failure;
use crate::cli::transfer::{self, Target};

/// Get an image from a registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    name: String,
    /// Get every tag of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Accepted for compatibility: content trust was never made here
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Get it for this platform
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// Show nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let reference: Reference = args
        .name
        .parse()
        .map_err(|err: ParseReferenceError| Failure::new(1, err.to_string()))?;
    let tagged = args
        .name
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains(':'));
    if args.all_tags {
        return all_tags(args, &reference, tagged, engine, output);
    }
    if !args.quiet && !tagged && reference.digest().is_none() {
        output.line("Using default tag: latest")?;
        output.flush()?;
    }
    transfer::pull(
        engine,
        &reference,
        args.platform.as_ref(),
        args.reach.reach(),
        args.quiet,
        Target::Stdout,
    )?;
    output.line(&reference)?;
    Ok(0)
}

/// Gets every tag of the repository.
fn all_tags(
    args: &Args,
    reference: &Reference,
    tagged: bool,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    if tagged || reference.digest().is_some() {
        return Err(Failure::new(1, "tag can't be used with --all-tags/-a"));
    }
    let tags = engine.remote_tags(reference, args.reach.reach())?;
    for tag in tags {
        let one = reference.with_tag(&tag);
        transfer::pull(
            engine,
            &one,
            args.platform.as_ref(),
            args.reach.reach(),
            args.quiet,
            Target::Stdout,
        )?;
    }
    output.line(reference.repository())?;
    Ok(0)
}
