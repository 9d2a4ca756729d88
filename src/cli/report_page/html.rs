//! The page around steps and layers: style, script, numbers, failure, warnings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rbuild::oci::Digest;
use rbuild::snapshot::Contents;

use super::{Report, Totals, layers, seconds, steps};
use crate::cli::human;
use crate::cli::progress::{base64, visible};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
pub(crate) fn page(report: &Report<'_>, contents: &BTreeMap<usize, Vec<Contents>>) -> String {
    let totals = report.totals();
    let title = escape(report.title());
    let state = if report.failure.is_some() {
        "failed"
    } else {
        "succeeded"
    };
    let mut page = String::with_capacity(64 << 10);
    // Nothing may be loaded, and no script may run but this very one: should a
    // name from outside find its way around the escaping, it is text all the same.
    let script = base64(Digest::of(SCRIPT.as_bytes()).raw());
    let _written = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'sha256-{script}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Build of {title} {state}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>Build of <bdi>{title}</bdi> <span class=\"badge {state}\">{state}</span></h1>\n"
    );
    facts(&mut page, report);
    page.push_str("</header>\n<main>\n");
    numbers(&mut page, report, &totals);
    failure(&mut page, report);
    warnings(&mut page, report);
    steps::table(&mut page, report.record, &totals, contents);
    steps::critical(&mut page, report.record, &totals);
    layers::section(&mut page, report.record, contents);
    page.push_str("</main>\n<footer>Made by rbuild ");
    page.push_str(env!("CARGO_PKG_VERSION"));
    page.push_str("</footer>\n<script>");
    page.push_str(SCRIPT);
    page.push_str("</script>\n</body>\n</html>\n");
    page
}

fn facts(page: &mut String, report: &Report<'_>) {
    let ended = report.ended.strftime("%Y-%m-%d %H:%M:%S UTC");
    page.push_str(&format!("<p class=\"facts\">{ended}"));
    for name in report.names.iter().skip(1) {
        page.push_str(&format!(" · <bdi>{}</bdi>", escape(name)));
    }
    if let Some(image) = &report.image {
        page.push_str(&format!(" · <code>{}</code>", escape(image)));
    }
    page.push_str("</p>\n");
}

fn numbers(page: &mut String, report: &Report<'_>, totals: &Totals) {
    let ran = totals.steps - totals.cached;
    let tiles = [
        ("Time", seconds(report.record.took), String::new()),
        (
            "Steps",
            totals.steps.to_string(),
            format!("{} cached, {ran} not", totals.cached),
        ),
        (
            "Critical path",
            seconds(totals.path_took),
            format!("{} steps", totals.path.len()),
        ),
        (
            "New layers",
            human::size(totals.bytes),
            format!("{} layers", totals.layers),
        ),
        (
            "CPU",
            totals.cpu.map_or_else(|| "-".to_owned(), seconds),
            String::new(),
        ),
        (
            "Memory peak",
            totals
                .memory_peak
                .map_or_else(|| "-".to_owned(), human::size),
            "of one step".to_owned(),
        ),
    ];
    page.push_str("<dl class=\"numbers\">\n");
    for (name, value, more) in tiles {
        page.push_str(&format!("<div><dt>{name}</dt><dd>{value}"));
        if !more.is_empty() {
            page.push_str(&format!("<small>{more}</small>"));
        }
        page.push_str("</dd></div>\n");
    }
    page.push_str("</dl>\n");
}

fn failure(page: &mut String, report: &Report<'_>) {
    if let Some(failure) = report.failure() {
        let failure = escape(&failure);
        page.push_str(&format!(
            "<section class=\"failure\" aria-labelledby=\"failure\">\n<h2 id=\"failure\">Failure</h2>\n\
             <pre tabindex=\"0\">{failure}</pre>\n</section>\n"
        ));
    }
}

fn warnings(page: &mut String, report: &Report<'_>) {
    if report.record.warnings.is_empty() {
        return;
    }
    page.push_str(
        "<section aria-labelledby=\"warnings\">\n<h2 id=\"warnings\">Warnings</h2>\n<ul>\n",
    );
    for warning in &report.record.warnings {
        page.push_str(&format!("<li>{}</li>\n", escape(&visible(warning))));
    }
    page.push_str("</ul>\n</section>\n");
}

/// Text for an element or for an attribute in quotes. Characters that no page
/// may have are replaced.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(char),
            char if char.is_control() => escaped.push('\u{fffd}'),
            char => escaped.push(char),
        }
    }
    escaped
}
