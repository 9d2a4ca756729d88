//! `--call=subrequests.describe`: what can be asked.

use serde_json::{Value, json};

use super::json::pretty;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// A name and what it is.
type Named = (&'static str, &'static str);

/// What can be asked beside the checks, as BuildKit lists it: name, description,
/// options.
const REQUESTS: [(&str, &str, &[Named]); 3] = [
    (
        "outline",
        "List all parameters current build target supports",
        &[("target", "Target build stage")],
    ),
    ("targets", "List all targets current build supports", &[]),
    (
        "subrequests.describe",
        "List available subrequest types",
        &[],
    ),
];

/// The version of all these answers.
const VERSION: &str = "1.0.0";

/// Lists what can be asked.
pub(super) fn answer(is_json: bool, output: &mut Output) -> Result<(), Failure> {
    if !is_json {
        let row = |(name, description, _): &(&str, &str, _)| {
            vec![
                (*name).to_owned(),
                VERSION.to_owned(),
                (*description).to_owned(),
            ]
        };
        let rows: Vec<_> = REQUESTS.iter().map(row).collect();
        return output.table(&["NAME", "VERSION", "DESCRIPTION"], &rows);
    }
    let named = |(name, description): &Named| json!({"name": name, "description": description});
    let requests: Vec<Value> = REQUESTS
        .iter()
        .map(|(name, description, options)| {
            let options: Vec<Value> = options.iter().map(named).collect();
            json!({
                "name": format!("frontend.{name}"),
                "version": VERSION,
                "type": "rpc",
                "description": description,
                "opts": if options.is_empty() { Value::Null } else { Value::Array(options) },
                "inputs": null,
                "metadata": [named(&("result.json", "")), named(&("result.txt", ""))],
                "refs": null,
            })
        })
        .collect();
    output.line(pretty(&Value::Array(requests)))
}
