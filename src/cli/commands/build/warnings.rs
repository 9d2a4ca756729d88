//! The warnings of a build, once it is over.

use anstyle::Style;
use rbuild::build::{BuildRequest, Checked};
use rbuild::dockerfile::{Level, Rule};
use rbuild::engine::Engine;

use crate::cli::excerpt;
use crate::cli::output::Output;

/// Shows the warnings in a line each or, expanded, with what they are about and
/// the lines that they are for.
pub(super) fn show(
    warnings: &[String],
    is_expanded: bool,
    request: &BuildRequest,
    engine: &Engine,
    style: Style,
    output: &mut Output,
) {
    if warnings.is_empty() {
        return;
    }
    let count = match warnings.len() {
        1 => "1 warning".to_owned(),
        count => format!("{count} warnings"),
    };
    let more = if is_expanded {
        ""
    } else {
        " (use --debug to expand)"
    };
    output.message(format!("\n {style}{count} found{more}:{style:#}"));
    // Places are not a part of the events; who wants them waits a little.
    let checked = is_expanded.then(|| engine.check(request).ok()).flatten();
    for warning in warnings {
        output.message(format!(" - {warning}"));
        if let Some(checked) = &checked {
            expand(warning, checked, output);
        }
    }
}

fn expand(warning: &str, checked: &Checked, output: &mut Output) {
    let mut found = checked.warnings.iter();
    let Some(found) = found.find(|found| checked.short(found) == warning) else {
        return;
    };
    if let Level::Warning(name) = found.level
        && let Some(rule) = Rule::named(name)
    {
        output.message(rule.description);
        if let Some(url) = rule.url() {
            output.message(format!("More info: {url}"));
        }
    }
    let source = &checked.source;
    output.message(excerpt::marked(&source.name, &source.text, found.span));
}
