//! `--call`: questions about a Dockerfile that need no build.

use rbuild::build::BuildRequest;
use rbuild::dockerfile::{Arg, Diagnostic, Level, Parsed, Stage};
use rbuild::engine::{DockerfileText, Engine};
use serde_json::{Value, json};

use super::later::unavailable;
use crate::cli::excerpt;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Where the pages of the rules are.
const RULES: &str = "https://docs.docker.com/go/dockerfile/rule";

/// Answers a question: `check`, `targets` or `outline`, with `,format=json`.
pub(super) fn run(
    question: &str,
    request: &BuildRequest,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let (question, options) = question.split_once(',').unwrap_or((question, ""));
    let json = match options {
        "" | "format=text" => false,
        "format=json" => true,
        other => {
            let message = format!("invalid value `{other}` for --call: expected `format=json`");
            return Err(Failure::new(1, message));
        }
    };
    if !matches!(question, "check" | "lint" | "targets" | "outline") {
        return Err(unavailable(&format!("--call={question}")));
    }
    let source = engine.dockerfile_text(request)?;
    let parsed = engine.check(request, &source)?;
    if question == "check" || question == "lint" {
        return check(&source, &parsed, json, output);
    }
    refuse_errors(&source, &parsed)?;
    match (question, json) {
        ("targets", true) => output.line(targets_json(&source, &parsed))?,
        ("targets", false) => targets(&parsed, output)?,
        (_, json) => outline(request, &parsed, json, output)?,
    }
    Ok(0)
}

fn errors(parsed: &Parsed) -> Vec<Diagnostic> {
    let errors = parsed.diagnostics.iter();
    errors
        .filter(|diagnostic| diagnostic.level == Level::Error)
        .cloned()
        .collect()
}

fn refuse_errors(source: &DockerfileText, parsed: &Parsed) -> Result<(), Failure> {
    let errors = errors(parsed);
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let line = first.span.line(&source.text);
    let why = format!("dockerfile parse error on line {line}: {}", first.message);
    let excerpt = excerpt::diagnostics(&source.name, &source.text, &errors, false);
    Err(Failure::build(why).with_excerpt(excerpt))
}

fn check(
    source: &DockerfileText,
    parsed: &Parsed,
    json: bool,
    output: &mut Output,
) -> Result<u8, Failure> {
    let warnings: Vec<(&Diagnostic, &str)> = parsed
        .diagnostics
        .iter()
        .filter_map(|diagnostic| match diagnostic.level {
            Level::Warning(rule) => Some((diagnostic, rule)),
            Level::Error => None,
        })
        .collect();
    if json {
        output.line(check_json(source, &warnings))?;
        refuse_errors(source, parsed)?;
        return Ok(u8::from(!warnings.is_empty()));
    }
    refuse_errors(source, parsed)?;
    match warnings.len() {
        0 => output.line("Check complete, no warnings found.")?,
        1 => output.line("Check complete, 1 warning has been found!")?,
        count => output.line(format!("Check complete, {count} warnings have been found!"))?,
    }
    for (warning, rule) in &warnings {
        output.line(format!("\nWARNING: {rule} - {}", page(rule)))?;
        output.line(&warning.message)?;
        if let Some(hint) = &warning.hint {
            output.line(hint)?;
        }
        let excerpt = excerpt::marked(&source.name, &source.text, warning.span);
        output.bytes(excerpt.as_bytes())?;
    }
    Ok(u8::from(!warnings.is_empty()))
}

/// The page of a rule: `StageNameCasing` is `stage-name-casing`.
fn page(rule: &str) -> String {
    let chars: Vec<char> = rule.chars().collect();
    let mut words = String::new();
    for (index, char) in chars.iter().enumerate() {
        let after_lower = index > 0 && chars[index - 1].is_ascii_lowercase();
        let before_lower = chars.get(index + 1).is_some_and(char::is_ascii_lowercase);
        if char.is_ascii_uppercase() && (after_lower || (index > 0 && before_lower)) {
            words.push('-');
        }
        words.push(char.to_ascii_lowercase());
    }
    format!("{RULES}/{words}/")
}

fn check_json(source: &DockerfileText, warnings: &[(&Diagnostic, &str)]) -> Value {
    let warnings: Vec<Value> = warnings
        .iter()
        .map(|(warning, rule)| {
            json!({
                "ruleName": rule,
                "url": page(rule),
                "detail": warning.message,
                "location": location(source, warning.span),
            })
        })
        .collect();
    json!({"warnings": warnings, "sources": [source_json(source)]})
}

fn source_json(source: &DockerfileText) -> Value {
    json!({"filename": source.name, "language": "Dockerfile"})
}

fn location(source: &DockerfileText, span: rbuild::dockerfile::Span) -> Value {
    json!({
        "sourceIndex": 0,
        "ranges": [{
            "start": {"line": span.line(&source.text)},
            "end": {"line": excerpt::last_line(&source.text, span)},
        }],
    })
}

fn name(stage: &Stage) -> &str {
    let name = stage.from.value.name.as_ref();
    name.map_or("", |name| name.text.as_str())
}

fn targets_json(source: &DockerfileText, parsed: &Parsed) -> Value {
    let stages = &parsed.dockerfile.stages;
    let targets: Vec<Value> = stages
        .iter()
        .enumerate()
        .map(|(index, stage)| {
            let mut target = json!({"name": name(stage)});
            if index + 1 == stages.len() {
                target["default"] = Value::from(true);
            }
            if let Some(description) = &stage.description {
                target["description"] = Value::from(description.as_str());
            }
            target["base"] = Value::from(stage.from.value.base.text.as_str());
            if let Some(platform) = &stage.from.value.platform {
                target["platform"] = Value::from(platform.text.as_str());
            }
            target["location"] = location(source, stage.from.span);
            target
        })
        .collect();
    json!({"targets": targets, "sources": [source_json(source)]})
}

fn targets(parsed: &Parsed, output: &mut Output) -> Result<(), Failure> {
    let stages = &parsed.dockerfile.stages;
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let last = index + 1 == stages.len();
        let shown = match (name(stage), last) {
            ("", true) => "default".to_owned(),
            ("", false) => continue,
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push(vec![shown, stage.description.clone().unwrap_or_default()]);
    }
    output.table(&["TARGET", "DESCRIPTION"], &rows)
}

/// The build arguments that reach the target, with their defaults as written.
fn outline(
    request: &BuildRequest,
    parsed: &Parsed,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let stages = &parsed.dockerfile.stages;
    let wanted = request.target.as_deref();
    let target = match wanted {
        None => stages.len().checked_sub(1),
        Some(text) => stages
            .iter()
            .rposition(|stage| name(stage).eq_ignore_ascii_case(text))
            .or_else(|| text.parse().ok().filter(|index| *index < stages.len())),
    };
    let Some(target) = target else {
        let wanted = wanted.unwrap_or("");
        let message = format!("target stage \"{wanted}\" could not be found");
        return Err(Failure::new(1, message));
    };
    let args = reached_args(parsed, target);
    let value = |arg: &Arg| {
        let given = request.build_args.get(&arg.name.text).cloned();
        let default = || arg.default.as_ref().map(|word| word.text.clone());
        given.or_else(default).unwrap_or_default()
    };
    let shown = match name(&stages[target]) {
        "" => "default",
        name => name,
    };
    if json {
        let args: Vec<Value> = args
            .iter()
            .map(|arg| {
                json!({
                    "name": arg.name.text,
                    "description": arg.description.as_deref().unwrap_or(""),
                    "value": value(arg),
                })
            })
            .collect();
        return output.line(json!({"name": shown, "args": args}));
    }
    output.line(format!("TARGET:      {shown}"))?;
    if let Some(description) = &stages[target].description {
        output.line(format!("DESCRIPTION: {description}"))?;
    }
    output.line("")?;
    let rows: Vec<Vec<String>> = args
        .iter()
        .map(|arg| {
            let description = arg.description.clone().unwrap_or_default();
            vec![arg.name.text.clone(), value(arg), description]
        })
        .collect();
    output.table(&["BUILD ARG", "VALUE", "DESCRIPTION"], &rows)
}

/// Global arguments, and those of the stages that the target is based on; each name once.
fn reached_args(parsed: &Parsed, target: usize) -> Vec<Arg> {
    let dockerfile = &parsed.dockerfile;
    let mut args: Vec<Arg> = Vec::new();
    let mut add = |arg: &Arg| {
        if !args.iter().any(|known| known.name.text == arg.name.text) {
            args.push(arg.clone());
        }
    };
    for arg in dockerfile.global_args.iter().flat_map(|line| &line.value) {
        add(arg);
    }
    let mut next = Some(target);
    while let Some(index) = next {
        let stage = &dockerfile.stages[index];
        for instruction in &stage.instructions {
            if let rbuild::dockerfile::Instruction::Arg(list) = &instruction.value {
                list.iter().for_each(&mut add);
            }
        }
        let base = &stage.from.value.base.text;
        // Only stages above count, so this ends.
        next = dockerfile.stages[..index]
            .iter()
            .rposition(|stage| name(stage).eq_ignore_ascii_case(base) && !base.is_empty());
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_named_in_kebab_case() {
        let end = |rule| page(rule).trim_start_matches(RULES).to_owned();
        assert_eq!(end("StageNameCasing"), "/stage-name-casing/");
        assert_eq!(end("JSONArgsRecommended"), "/json-args-recommended/");
        assert_eq!(end("UndefinedArgInFrom"), "/undefined-arg-in-from/");
    }
}
