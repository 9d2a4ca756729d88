//! JSON against a JSON Schema: the keywords that our own schemas use.
//!
//! Stricter than the standard in one way: members that `properties` does not
//! name are mistakes, so that whatever is written is also described.

use serde_json::Value;

/// Asserts that `value` is what `schema` describes.
#[track_caller]
pub(crate) fn assert_fits(schema: &Value, value: &Value) {
    let mut problems = Vec::new();
    check(schema, schema, value, "", &mut problems);
    assert!(problems.is_empty(), "{problems:#?} in {value:#}");
}

fn check(whole: &Value, schema: &Value, value: &Value, place: &str, problems: &mut Vec<String>) {
    let mut wrong = |text: String| problems.push(format!("{place}: {text}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        let keyword = keyword.as_str();
        match keyword {
            "$schema" | "$defs" | "title" | "description" | "properties" | "items" | "$ref" => {}
            "type" => {
                let kinds = rule.as_array().cloned().unwrap_or(vec![rule.clone()]);
                let fits = kinds.iter().any(|kind| is(kind.as_str().unwrap(), value));
                if !fits {
                    wrong(format!("{value} is not {rule}"));
                }
            }
            "enum" if rule.as_array().unwrap().contains(value) => {}
            "enum" => wrong(format!("{value} is none of {rule}")),
            "pattern" => {
                let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    wrong(format!("{value} does not match {rule}"));
                }
            }
            "minimum" => {
                if value.as_f64().is_some_and(|n| n < rule.as_f64().unwrap()) {
                    wrong(format!("{value} is less than {rule}"));
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                        wrong(format!("{name} is missing"));
                    }
                }
            }
            other => panic!("the schema uses `{other}`, which this does not know"),
        }
    }
    if let Some(name) = schema.get("$ref") {
        let pointer = name.as_str().unwrap().strip_prefix('#').unwrap();
        let target = whole.pointer(pointer).unwrap();
        check(whole, target, value, place, problems);
    }
    if let (Some(members), Some(rules)) = (value.as_object(), schema.get("properties")) {
        for (name, member) in members {
            let place = format!("{place}/{name}");
            match rules.get(name) {
                Some(rule) => check(whole, rule, member, &place, problems),
                None => problems.push(format!("{place}: the schema does not name it")),
            }
        }
    }
    if let (Some(items), Some(rule)) = (value.as_array(), schema.get("items")) {
        for (index, item) in items.iter().enumerate() {
            check(whole, rule, item, &format!("{place}/{index}"), problems);
        }
    }
}

fn is(kind: &str, value: &Value) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("no type is called `{other}`"),
    }
}
