//! `registry repos`

use rbuild::engine::{Engine, fits};
use serde_json::{Value, json};

use crate::cli::commands::login::host;
use crate::cli::commands::reach::ReachArgs;
use crate::cli::format;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// List the repositories of a registry, where it tells them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The registry
    #[arg(value_name = "HOST")]
    host: String,
    /// Only repositories that fit a pattern with `*` and `?`
    #[arg(short, long, value_name = "PATTERN")]
    filter: Vec<String>,
    /// Show at most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// `json`, `table TEMPLATE` or a Go template of `.Name`; one name a line by default
    #[arg(long)]
    format: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let host = host(Some(&args.host));
    let mut names = engine.remote_repositories(&host, args.reach.reach())?;
    names.retain(|name| {
        args.filter.is_empty() || args.filter.iter().any(|pattern| fits(pattern, name))
    });
    names.truncate(args.limit.unwrap_or(usize::MAX));
    let rows: Vec<Value> = names.iter().map(|name| json!({"Name": name})).collect();
    let format = args.format.as_deref().unwrap_or("{{.Name}}");
    format::list(output, Some(format), &[("Name", "NAME")], &[], &rows)?;
    Ok(0)
}
