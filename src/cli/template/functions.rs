//! The functions of templates, and how values print.

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde_json::Value;

use super::TemplateError;

/// Every function by name.
const NAMES: [&str; 29] = [
    "json", "join", "split", "lower", "upper", "title", "pad", "truncate", "len", "index", "slice",
    "print", "println", "printf", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "table",
    "html", "urlquery", "js", "trim", "replace",
];

/// Whether there is a function of this name.
pub(super) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, TemplateError> {
    let wrong = |why: &str| TemplateError::Execute(format!("error calling {name}: {why}"));
    let at = |index: usize| {
        arguments
            .get(index)
            .ok_or_else(|| wrong("wrong number of args"))
    };
    let text = |index: usize| at(index).map(plain);
    let number = |index: usize| {
        at(index)?
            .as_i64()
            .and_then(|number| usize::try_from(number).ok())
            .ok_or_else(|| wrong("expected a number"))
    };
    Ok(match name {
        "json" => Value::from(at(0)?.to_string()),
        "join" => {
            let separator = text(1)?;
            let items = at(0)?.as_array().ok_or_else(|| wrong("expected a list"))?;
            let parts: Vec<String> = items.iter().map(plain).collect();
            Value::from(parts.join(&separator))
        }
        "split" => Value::from(
            text(0)?
                .split(text(1)?.as_str())
                .map(Value::from)
                .collect::<Vec<_>>(),
        ),
        "lower" => Value::from(text(0)?.to_lowercase()),
        "upper" => Value::from(text(0)?.to_uppercase()),
        "title" => Value::from(title(&text(0)?)),
        "trim" => Value::from(text(0)?.trim()),
        "replace" => Value::from(text(0)?.replace(&text(1)?, &text(2)?)),
        "pad" => {
            let (left, right) = (" ".repeat(number(1)?.min(1024)), number(2)?.min(1024));
            Value::from(format!("{left}{}{}", text(0)?, " ".repeat(right)))
        }
        "truncate" => Value::from(text(0)?.chars().take(number(1)?).collect::<String>()),
        "len" => Value::from(length(at(0)?).ok_or_else(|| wrong("the value has no length"))?),
        "index" => index(at(0)?, &arguments[1..]).map_err(|why| wrong(&why))?,
        "slice" => {
            let end = if arguments.len() > 2 {
                Some(number(2)?)
            } else {
                None
            };
            slice(at(0)?, number(1)?, end).ok_or_else(|| wrong("index out of range"))?
        }
        "print" => Value::from(arguments.iter().map(plain).collect::<Vec<_>>().join(" ")),
        "println" => {
            let words: Vec<String> = arguments.iter().map(plain).collect();
            Value::from(words.join(" ") + "\n")
        }
        "printf" => Value::from(printf(&text(0)?, &arguments[1..])),
        "eq" => Value::from(
            arguments[1.min(arguments.len())..]
                .iter()
                .any(|v| *v == arguments[0]),
        ),
        "ne" => Value::from(at(0)? != at(1)?),
        "lt" | "le" | "gt" | "ge" => {
            let order = compare(at(0)?, at(1)?).ok_or_else(|| wrong("incompatible types"))?;
            Value::from(match name {
                "lt" => order == Ordering::Less,
                "le" => order != Ordering::Greater,
                "gt" => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })
        }
        "and" => at(0).and(Ok(pick(arguments, false)))?,
        "or" => at(0).and(Ok(pick(arguments, true)))?,
        "not" => Value::from(!truth(at(0)?)),
        "table" | "html" | "urlquery" | "js" => at(0)?.clone(),
        _ => return Err(wrong("it is not defined")),
    })
}

/// The first argument whose truth is `wanted`, or the last one.
fn pick(arguments: &[Value], wanted: bool) -> Value {
    let found = arguments.iter().find(|value| truth(value) == wanted);
    found.or(arguments.last()).cloned().unwrap_or(Value::Null)
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for char in text.chars() {
        if start {
            out.extend(char.to_uppercase());
        } else {
            out.push(char);
        }
        start = !char.is_alphanumeric();
    }
    out
}

fn length(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.len()),
        Value::Array(items) => Some(items.len()),
        Value::Object(map) => Some(map.len()),
        Value::Null => Some(0),
        _ => None,
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value;
    for key in keys {
        let found = match (value, key) {
            (Value::Array(items), Value::Number(number)) => number
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .and_then(|n| items.get(n))
                .ok_or_else(|| format!("index out of range: {number}"))?,
            (Value::Object(map), Value::String(key)) => map.get(key).unwrap_or(&Value::Null),
            (Value::Null, _) => &Value::Null,
            _ => return Err("can't index item".to_owned()),
        };
        value = found;
    }
    Ok(value.clone())
}

fn slice(value: &Value, start: usize, end: Option<usize>) -> Option<Value> {
    match value {
        Value::String(text) => text.get(start..end.unwrap_or(text.len())).map(Value::from),
        Value::Array(items) => items
            .get(start..end.unwrap_or(items.len()))
            .map(|part| Value::from(part.to_vec())),
        _ => None,
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// `%s %v %d %q` and `%%`, with a width where one is given.
fn printf(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let mut flags = String::new();
        while let Some(flag) = chars.next_if(|c| matches!(c, '-' | '.' | '0'..='9')) {
            flags.push(flag);
        }
        let verb = chars.next();
        if verb == Some('%') {
            out.push('%');
            continue;
        }
        let text = match (verb, arguments.next()) {
            (_, None) => "%!(MISSING)".to_owned(),
            (Some('q'), Some(value)) => format!("{:?}", plain(value)),
            (_, Some(value)) => plain(value),
        };
        // A width beyond any terminal is a mistake, not a wish.
        let width = flags.trim_start_matches('-').parse().unwrap_or(0).min(1024);
        // Writing to a string cannot fail.
        let _infallible = if flags.starts_with('-') {
            write!(out, "{text:<width$}")
        } else {
            write!(out, "{text:>width$}")
        };
    }
    out
}

/// Whether a value counts as true: not null, false, zero or empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

fn plain(value: &Value) -> String {
    let mut text = String::new();
    show(value, &mut text);
    text
}

/// Prints a value as Go prints it.
pub(super) fn show(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<no value>"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                show(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            out.push_str("map[");
            for (index, (key, item)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                show(item, out);
            }
            out.push(']');
        }
    }
}
