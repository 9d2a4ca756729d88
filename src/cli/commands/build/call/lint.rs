//! `--call=check`: the build checks.

use rbuild::build::{self, Checked};
use rbuild::dockerfile::{Diagnostic, Level, Rule};
use serde_json::{Value, json};

use super::json::{base64, location, pretty, set};
use crate::cli::excerpt;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Shows what the checks found. Returns the exit code.
pub(super) fn answer(checked: &Checked, is_json: bool, output: &mut Output) -> Result<u8, Failure> {
    if is_json {
        output.line(pretty(&as_json(checked)))?;
    } else {
        show(checked, output)?;
    }
    let Some(error) = &checked.error else {
        return Ok(u8::from(!checked.warnings.is_empty()));
    };
    match error {
        build::Error::Lint(rules) => {
            let message = format!("lint violation found for rules: {rules}");
            Err(Failure::plain_build(message))
        }
        error => Err(super::super::build_failure(
            error,
            String::new(),
            output.colors(),
        )),
    }
}

fn show(checked: &Checked, output: &mut Output) -> Result<(), Failure> {
    let mut warnings: Vec<&Diagnostic> = checked.warnings.iter().collect();
    warnings.sort_by_key(|warning| warning.span.line(&checked.source.text));
    match warnings.len() {
        0 if checked.error.is_some() => {}
        0 => output.line("Check complete, no warnings found.")?,
        1 => output.line("Check complete, 1 warning has been found!")?,
        count => output.line(format!("Check complete, {count} warnings have been found!"))?,
    }
    for warning in &warnings {
        let Level::Warning(name) = warning.level else {
            continue;
        };
        match Rule::named(name).and_then(Rule::url) {
            Some(url) => output.line(format!("\nWARNING: {name} - {url}"))?,
            None => output.line(format!("\nWARNING: {name}"))?,
        }
        output.line(&warning.message)?;
        if let Some(hint) = &warning.hint {
            output.line(hint)?;
        }
        let source = &checked.source;
        let excerpt = excerpt::marked(&source.name, &source.text, warning.span);
        output.bytes(excerpt.as_bytes())?;
    }
    if checked.error.is_some() && !warnings.is_empty() {
        output.line("")?;
    }
    Ok(())
}

fn as_json(checked: &Checked) -> Value {
    let source = &checked.source;
    let warnings: Vec<Value> = checked
        .warnings
        .iter()
        .filter_map(|warning| {
            let Level::Warning(name) = warning.level else {
                return None;
            };
            let rule = Rule::named(name);
            let mut object = json!({"ruleName": name});
            let description = rule.map_or("", |rule| rule.description);
            set(&mut object, "description", description);
            let url = rule.and_then(Rule::url).unwrap_or_default();
            set(&mut object, "url", url);
            set(&mut object, "detail", warning.message.as_str());
            object["location"] = location(source, warning.span);
            Some(object)
        })
        .collect();
    let mut object = json!({
        "warnings": if warnings.is_empty() { Value::Null } else { Value::Array(warnings) },
        "sources": [{
            "filename": source.name,
            "language": "Dockerfile",
            "data": base64(&source.text),
        }],
    });
    if let Some(error) = &checked.error {
        let text = error.to_string();
        let message = text.strip_prefix("failed to solve: ").unwrap_or(&text);
        let place = error
            .place()
            .and_then(|(_, places)| places.into_iter().next());
        object["buildError"] = json!({
            "message": message,
            "location": place.map_or_else(|| json!({}), |place| location(source, place.span)),
        });
    }
    object
}
