//! `--call=targets`: the stages.

use rbuild::build::Checked;
use rbuild::dockerfile::Stage;
use serde_json::{Value, json};

use super::json::{base64, location, pretty, set};
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Lists the stages; the last one is built by default.
pub(super) fn answer(checked: &Checked, is_json: bool, output: &mut Output) -> Result<(), Failure> {
    let stages = &checked.dockerfile.stages;
    let is_last = |index: usize| index + 1 == stages.len();
    if is_json {
        let targets = stages.iter().enumerate();
        let targets: Vec<Value> = targets
            .map(|(index, stage)| as_json(checked, stage, is_last(index)))
            .collect();
        let sources = [base64(&checked.source.text)];
        return output.line(pretty(&json!({"targets": targets, "sources": sources})));
    }
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (index, stage) in stages.iter().enumerate() {
        let shown = match (name(stage), is_last(index)) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push(vec![shown, stage.description.clone().unwrap_or_default()]);
    }
    output.table(&["TARGET", "DESCRIPTION"], &rows)
}

fn name(stage: &Stage) -> &str {
    let name = stage.from.value.name.as_ref();
    name.map_or("", |name| name.text.as_str())
}

fn as_json(checked: &Checked, stage: &Stage, is_last: bool) -> Value {
    let from = &stage.from.value;
    let mut target = json!({});
    set(&mut target, "name", name(stage));
    set(&mut target, "default", is_last);
    set(&mut target, "description", stage.description.as_deref());
    set(&mut target, "base", from.base.text.as_str());
    let platform = from.platform.as_ref().map(|word| word.text.as_str());
    set(&mut target, "platform", platform);
    target["location"] = location(&checked.source, stage.from.span);
    target
}
