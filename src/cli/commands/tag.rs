//! `tag`, `image tag`

use rbuild::engine::Engine;

use crate::cli::report::Failure;

/// Give an image a further name
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image
    source: String,
    /// The new name
    name: String,
}

pub(crate) fn run(args: &Args, engine: &Engine) -> Result<u8, Failure> {
    engine.tag_image(&args.source, &args.name)?;
    Ok(0)
}
