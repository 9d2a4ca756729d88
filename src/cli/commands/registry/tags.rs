//! `registry tags`, `image tags`

use rbuild::engine::{Engine, fits};
use serde_json::{Value, json};

use super::{has_tag, reference};
use crate::cli::commands::reach::ReachArgs;
use crate::cli::format;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// List the tags of a repository on its registry
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Only tags that fit: `name=PATTERN` with `*` and `?`, or the pattern alone
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Show at most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// `json`, `table TEMPLATE` or a Go template of `.Repository` and `.Tag`; one tag a line by default
    #[arg(long)]
    format: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let repository = reference(&args.repository)?;
    if has_tag(&args.repository) || repository.digest().is_some() {
        let message = format!("`{}` is more than a repository", args.repository);
        let hint = format!(
            "write `{}` for the repository",
            repository.familiar_repository()
        );
        return Err(Failure::new(1, message).with_hint(hint));
    }
    let patterns = patterns(&args.filter)?;
    let mut tags = engine.remote_tags(&repository, args.reach.reach())?;
    tags.retain(|tag| patterns.is_empty() || patterns.iter().any(|one| fits(one, tag)));
    tags.truncate(args.limit.unwrap_or(usize::MAX));
    let name = repository.familiar_repository();
    let rows: Vec<Value> = tags
        .iter()
        .map(|tag| json!({"Repository": name, "Tag": tag}))
        .collect();
    let format = args.format.as_deref().unwrap_or("{{.Tag}}");
    let columns = [("Repository", "REPOSITORY"), ("Tag", "TAG")];
    format::list(output, Some(format), &columns, &[], &rows)?;
    Ok(0)
}

fn patterns(filters: &[String]) -> Result<Vec<&str>, Failure> {
    filters
        .iter()
        .map(|filter| match filter.split_once('=') {
            None => Ok(filter.as_str()),
            Some(("name" | "tag", pattern)) => Ok(pattern),
            Some(_) => Err(Failure::new(1, format!("invalid filter '{filter}'"))),
        })
        .collect()
}
