//! The JSON schema of `config.json`, and whether a document fits it.
//!
//! Stricter than the schema in one way: members that it does not name are mistakes
//! where it names any, so that a misspelt one is found.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

const FILES: [&str; 4] = [
    "config-schema.json",
    "config-linux.json",
    "defs.json",
    "defs-linux.json",
];

/// Asserts that a document is a `config.json` of the runtime specification.
#[track_caller]
pub(super) fn assert_conforms(document: &Value) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/oci-runtime");
    let read = |name: &str| {
        let text = std::fs::read(dir.join(name)).unwrap();
        (name.to_owned(), serde_json::from_slice(&text).unwrap())
    };
    let mut check = Check {
        files: FILES.map(read).into(),
        problems: Vec::new(),
    };
    let whole = check.files[FILES[0]].clone();
    check.value(FILES[0], &whole, document, "");
    assert!(check.problems.is_empty(), "{:#?}", check.problems);
}

struct Check {
    files: BTreeMap<String, Value>,
    problems: Vec<String>,
}

impl Check {
    fn value(&mut self, file: &str, schema: &Value, value: &Value, place: &str) {
        if let Some(reference) = schema["$ref"].as_str() {
            let (other, pointer) = reference.split_once('#').unwrap();
            let other = if other.is_empty() { file } else { other };
            let target = self
                .files
                .get(other)
                .and_then(|whole| whole.pointer(pointer));
            let target = target
                .unwrap_or_else(|| panic!("{place}: no {reference}"))
                .clone();
            return self.value(other, &target, value, place);
        }
        self.plain(schema, value, place);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            // Each names only its own members.
            let before = self.problems.len();
            self.value(file, part, value, place);
            let unknown = |text: &String| text.contains("is not named");
            let kept: Vec<String> = self
                .problems
                .drain(before..)
                .filter(|one| !unknown(one))
                .collect();
            self.problems.extend(kept);
        }
        if let Some(choices) = schema["anyOf"].as_array() {
            let before = self.problems.len();
            let fits = choices.iter().any(|choice| {
                self.problems.truncate(before);
                self.value(file, choice, value, place);
                self.problems.len() == before
            });
            if fits {
                self.problems.truncate(before);
            }
        }
        let named = schema["properties"].as_object();
        let patterns = schema["patternProperties"].as_object();
        let more = &schema["additionalProperties"];
        for (name, member) in value.as_object().into_iter().flatten() {
            let place = format!("{place}/{name}");
            let pattern = patterns.and_then(|all| all.values().next());
            let rule = named.and_then(|all| all.get(name)).or(pattern);
            match rule.or(more.is_object().then_some(more)) {
                Some(rule) => {
                    let rule = rule.clone();
                    self.value(file, &rule, member, &place);
                }
                None if named.is_some() => self.problems.push(format!("{place} is not named")),
                None => {}
            }
        }
        if let Some(rule) = schema.get("items") {
            for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                self.value(file, rule, item, &format!("{place}/{number}"));
            }
        }
    }

    /// What a value is by itself.
    fn plain(&mut self, schema: &Value, value: &Value, place: &str) {
        let mut wrong = |why: String| self.problems.push(format!("{place}: {value} {why}"));
        if let Some(kind) = schema["type"].as_str() {
            let fits = match kind {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "integer" => value.is_u64() || value.is_i64(),
                "number" => value.is_number(),
                other => panic!("no type is called {other}"),
            };
            if !fits {
                wrong(format!("is no {kind}"));
            }
        }
        if let Some(choices) = schema["enum"].as_array()
            && !choices.contains(value)
        {
            wrong(format!("is none of {choices:?}"));
        }
        if let (Some(pattern), Some(text)) = (schema["pattern"].as_str(), value.as_str())
            && !regex::Regex::new(pattern).unwrap().is_match(text)
        {
            wrong(format!("does not match {pattern}"));
        }
        if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
            && number < least
        {
            wrong(format!("is less than {least}"));
        }
        if let (Some(most), Some(number)) = (schema["maximum"].as_f64(), value.as_f64())
            && number > most
        {
            wrong(format!("is more than {most}"));
        }
        if let (Some(least), Some(list)) = (schema["minItems"].as_u64(), value.as_array())
            && (list.len() as u64) < least
        {
            wrong(format!("has fewer than {least} items"));
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                wrong(format!("lacks {name}"));
            }
        }
    }
}
