//! `top`

use rbuild::engine::Engine;

use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show the processes of a container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or ID, and words of ps such as -o pid,args
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "CONTAINER [PS OPTIONS]")]
    words: Vec<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let Some((container, options)) = args.words.split_first() else {
        return Err(Failure::new(1, "\"top\" requires at least 1 argument"));
    };
    let (titles, rows) = engine.container_top(container, options)?;
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    output.wide_table(&titles, &rows)?;
    Ok(0)
}
