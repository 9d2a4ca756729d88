//! `search`

use rbuild::engine::{Engine, Found};
use rbuild::registry::SearchHit;
use serde_json::{Value, json};

use super::reach::ReachArgs;
use crate::cli::format;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Widest description in a table.
const WIDTH: usize = 45;

/// Search a registry for repositories
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to look for; `HOST/TERM` looks on another registry than docker.io
    #[arg(value_name = "TERM")]
    term: String,
    /// Only such: `stars=3`, `is-official=true`
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,
    /// Show at most so many, up to 100
    #[arg(long, value_name = "COUNT", default_value_t = 25)]
    limit: i64,
    /// Show whole descriptions
    #[arg(long)]
    no_trunc: bool,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Which of those that were found are wanted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    stars: i64,
    official: Option<bool>,
    automated: Option<bool>,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let wanted = wanted(&args.filter)?;
    let limit = usize::try_from(args.limit)
        .ok()
        .filter(|limit| (1..=100).contains(limit));
    let Some(limit) = limit else {
        let message = format!("limit {} is outside the range of [1, 100]", args.limit);
        return Err(Failure::new(1, message));
    };
    let (host, term) = split(&args.term)?;
    let mut hits = match engine.search(host, term, limit, args.reach.reach())? {
        Found::Searched(hits) => hits,
        Found::Listed(names) => {
            output.message(format!(
                "{host} has no search: these are its repositories with `{term}` in their name"
            ));
            names
                .into_iter()
                .map(|name| SearchHit {
                    name: format!("{host}/{name}"),
                    description: String::new(),
                    star_count: 0,
                    is_official: false,
                    is_automated: false,
                })
                .collect()
        }
    };
    hits.retain(|hit| {
        hit.star_count >= wanted.stars
            && wanted.official.is_none_or(|want| want == hit.is_official)
            && wanted.automated.is_none_or(|want| want == hit.is_automated)
    });
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.star_count));
    hits.truncate(limit);
    let rows: Vec<Value> = hits.iter().map(|hit| row(hit, args)).collect();
    let columns = [
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
    ];
    let titles = [("IsAutomated", "AUTOMATED")];
    format::list(output, args.format.as_deref(), &columns, &titles, &rows)?;
    Ok(0)
}

/// The registry and the word: a first part that can be a host is one.
fn split(text: &str) -> Result<(&str, &str), Failure> {
    if text.contains("://") {
        let message = "invalid repository name: repository name should not have a scheme";
        return Err(Failure::new(1, message));
    }
    let is_host = |host: &str| host == "localhost" || host.contains(['.', ':']);
    Ok(match text.split_once('/') {
        Some(("docker.io" | "index.docker.io", term)) => ("docker.io", term),
        Some((host, term)) if is_host(host) => (host, term),
        _ => ("docker.io", text),
    })
}

fn wanted(filters: &[String]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::default();
    for filter in filters {
        let Some((key, value)) = filter.split_once('=') else {
            return Err(Failure::new(
                1,
                "invalid argument \"".to_owned()
                    + filter
                    + "\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
            ));
        };
        let truth = || match value {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(Failure::new(1, format!("invalid filter '{key}=[{value}]'"))),
        };
        match key {
            "stars" => {
                let wrong = |_| Failure::new(1, format!("invalid filter 'stars={value}'"));
                wanted.stars = wanted.stars.max(value.parse().map_err(wrong)?);
            }
            "is-official" => wanted.official = truth()?,
            "is-automated" => wanted.automated = truth()?,
            _ => return Err(Failure::new(1, format!("invalid filter '{key}'"))),
        }
    }
    Ok(wanted)
}

fn row(hit: &SearchHit, args: &Args) -> Value {
    let text = |text: &str| super::imagetools::clean(text);
    let is_json = args.format.as_deref().map(str::trim) == Some("json");
    let truth = |truth: bool| match (is_json, truth) {
        (true, truth) => truth.to_string(),
        (false, true) => "[OK]".to_owned(),
        (false, false) => String::new(),
    };
    let description = text(&hit.description);
    json!({
        "Name": text(&hit.name),
        "Description": if args.no_trunc { description } else { human::ellipsis(&description, WIDTH) },
        "StarCount": hit.star_count.to_string(),
        "IsOfficial": truth(hit.is_official),
        "IsAutomated": truth(hit.is_automated),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_may_stand_before_the_word() {
        let check = |text: &str, host: &str, term: &str| {
            assert_eq!(split(text).unwrap(), (host, term), "{text}");
        };
        check("busybox", "docker.io", "busybox");
        check("user/app", "docker.io", "user/app");
        check("docker.io/a", "docker.io", "a");
        check("localhost:5000/a/b", "localhost:5000", "a/b");
        check("r.example/a", "r.example", "a");
        assert!(split("https://r.example/a").is_err());
    }

    #[test]
    fn filters_are_dockers() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            wanted(&texts)
        };
        let both = read(&["stars=3", "is-official=true"]).unwrap();
        assert_eq!((both.stars, both.official), (3, Some(true)));
        for wrong in ["stars=x", "is-official=x", "foo=1", "stars"] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
    }
}
