//! `history`, `image history`

use jiff::Timestamp;
use rbuild::engine::{Engine, HistoryEntry};
use rbuild::oci::Platform;
use serde_json::{Value, json};

use crate::cli::format;
use crate::cli::human;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show how an image was made
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sizes and times for people
    #[arg(
        short = 'H',
        long,
        default_value = "true",
        default_missing_value = "true"
    )]
    #[arg(num_args = 0..=1, require_equals = true, hide_default_value = true)]
    human: String,
    /// Do not cut texts and IDs
    #[arg(long)]
    no_trunc: bool,
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// `json`, `table TEMPLATE` or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Of a name of several platforms, the image for this one
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,
    /// The image
    image: String,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let human = match args.human.as_str() {
        "true" | "1" | "t" => true,
        "false" | "0" | "f" => false,
        other => {
            return Err(Failure::new(
                1,
                format!("invalid value `{other}` for --human"),
            ));
        }
    };
    let entries = engine.image_history(&args.image, args.platform.as_ref())?;
    if args.quiet {
        for entry in &entries {
            output.line(id(entry, args.no_trunc))?;
        }
        return Ok(0);
    }
    let now = Timestamp::now();
    let rows: Vec<Value> = entries
        .iter()
        .map(|entry| row(entry, args.no_trunc, human, now))
        .collect();
    let created = if human { "CreatedSince" } else { "CreatedAt" };
    let columns = [
        ("ID", "IMAGE"),
        (created, if human { "CREATED" } else { "CREATED AT" }),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ];
    let titles = [("CreatedAt", "CREATED AT"), ("CreatedSince", "CREATED")];
    format::list(output, args.format.as_deref(), &columns, &titles, &rows)?;
    Ok(0)
}

fn id(entry: &HistoryEntry, whole: bool) -> String {
    match entry.image {
        None => "<missing>".to_owned(),
        Some(id) if whole => id.to_string(),
        Some(id) => id.0.short(),
    }
}

fn row(entry: &HistoryEntry, whole: bool, human: bool, now: Timestamp) -> Value {
    // Docker cuts the instruction to this width.
    const WIDTH: usize = 45;
    let history = &entry.history;
    let created: Option<Timestamp> = history
        .created
        .as_deref()
        .and_then(|text| text.parse().ok())
        .filter(|moment: &Timestamp| moment.as_second() > 0);
    let by = history.created_by.as_deref().unwrap_or("");
    let by = by.strip_prefix("/bin/sh -c #(nop) ").unwrap_or(by);
    let by = by.replace(['\n', '\t'], " ");
    let date = created.map(|moment| moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let date = date.unwrap_or_default();
    json!({
        "Comment": history.comment.as_deref().unwrap_or(""),
        "CreatedAt": date,
        "CreatedBy": if whole { by } else { human::ellipsis(&by, WIDTH) },
        "CreatedSince": if human { human::ago(created, now) } else { date.clone() },
        "ID": id(entry, whole),
        "Size": if human { human::size(entry.bytes) } else { entry.bytes.to_string() },
    })
}
