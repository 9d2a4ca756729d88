//! `events`, `system events`

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use rbuild::engine::{Engine, EventFilter, EventKind, EventRecord};
use serde_json::{Value, json};

use super::filters;
use crate::cli::format;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Show what happens, as it happens
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show only what fits: container, event, image, label, network, scope, type, volume
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
    /// `json` or a Go template
    #[arg(long)]
    format: Option<String>,
    /// Show also what happened from this moment on, such as 10m or 2026-01-02T15:04:05
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// End at this moment
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

pub(crate) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let moment = |text: &Option<String>| -> Result<Option<i64>, Failure> {
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let wrong = || Failure::new(1, format!("invalid time: `{text}`"));
        let moment = filters::moment(text).ok_or_else(wrong)?;
        Ok(i64::try_from(moment.as_nanosecond()).ok())
    };
    let row = match args.format.as_deref().map(str::trim) {
        None | Some("" | "json") => None,
        Some(template) => {
            let parsed = format::Row::parse(template);
            Some(parsed.map_err(|failure| failure.with_code(64))?)
        }
    };
    let as_json = args.format.as_deref().map(str::trim) == Some("json");
    let mut events = engine.events(EventFilter {
        since: moment(&args.since)?,
        until: moment(&args.until)?,
        conditions: filters::conditions(&args.filter)?,
    })?;
    let zone = TimeZone::system();
    while let Some(event) = events.next_event()? {
        match &row {
            Some(template) => output.line(template.render(&document(&event))?)?,
            None if as_json => output.line(document(&event))?,
            None => output.line(line(&event, &zone))?,
        }
        // Whoever listens wants to know now.
        output.flush()?;
    }
    Ok(0)
}

/// An event as Docker's engine tells it.
///
/// Source: Docker Engine API 1.51, "EventMessage".
fn document(event: &EventRecord) -> Value {
    let mut document = json!({
        "Type": event.kind.text(),
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "scope": "local",
        "time": event.time / 1_000_000_000,
        "timeNano": event.time,
    });
    // Members of before Type and Action, which scripts still read.
    if matches!(event.kind, EventKind::Container | EventKind::Image) {
        let mut older = json!({ "status": event.action, "id": event.id });
        if let Some(image) = event.attributes.get("image") {
            older["from"] = json!(image);
        }
        if let (Value::Object(older), Value::Object(newer)) = (&mut older, document) {
            older.extend(newer);
        }
        document = older;
    }
    document
}

/// An event as a line for people.
fn line(event: &EventRecord, zone: &TimeZone) -> String {
    let moment = Timestamp::from_nanosecond(i128::from(event.time)).unwrap_or_default();
    let moment = Zoned::new(moment, zone.clone());
    let zone = match moment.offset().seconds() {
        0 => "Z".to_owned(),
        _ => moment.strftime("%:z").to_string(),
    };
    let mut text = format!(
        "{}{zone} {} {} {}",
        moment.strftime("%Y-%m-%dT%H:%M:%S.%9f"),
        event.kind.text(),
        event.action,
        event.id
    );
    if !event.attributes.is_empty() {
        let attributes = event.attributes.iter();
        let attributes: Vec<String> = attributes
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        text.push_str(&format!(" ({})", attributes.join(", ")));
    }
    text
}
