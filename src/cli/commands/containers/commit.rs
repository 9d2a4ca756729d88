//! `commit`

use rbuild::engine::{CommitOptions, Engine};
use rbuild::oci::Reference;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Make an image of what a container has become
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who made it
    #[arg(short, long)]
    author: Option<String>,
    /// Apply a Dockerfile instruction, such as `CMD ["sh"]`
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// A comment for the history
    #[arg(short, long)]
    message: Option<String>,
    /// Pause the container meanwhile
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pause: bool,
    /// Do not pause it
    #[arg(long)]
    no_pause: bool,
    /// The container, by name or ID
    container: String,
    /// The name to give
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<Reference>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let options = CommitOptions {
        name: args.name.clone(),
        author: args.author.clone(),
        message: args.message.clone(),
        pause: args.pause && !args.no_pause,
    };
    let id = engine.container_commit(&args.container, options, &args.change)?;
    output.line(id)?;
    Ok(0)
}
