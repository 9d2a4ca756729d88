//! `rmi`, `image rm`

use rbuild::engine::{Engine, ErrorKind, RemoveOptions};
use rbuild::oci::Platform;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Remove images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Remove also what has several names or belongs to a stopped container
    #[arg(short, long)]
    force: bool,
    /// Leave layers that nothing uses any more
    #[arg(long)]
    no_prune: bool,
    /// Remove what the names stand for on this platform alone
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// The images, by name or ID
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let options = RemoveOptions {
        force: args.force,
        keep_layers: args.no_prune,
    };
    let mut code = 0;
    for image in &args.images {
        match engine.remove_image(image, args.platform.as_ref(), options) {
            Ok(removed) => removed.iter().try_for_each(|gone| output.line(gone))?,
            Err(error) => {
                // With --force a missing image is named, but is no failure.
                if !(args.force && error.kind() == ErrorKind::NotFound) {
                    code = 1;
                }
                output.failure(&error.into());
            }
        }
    }
    Ok(code)
}
