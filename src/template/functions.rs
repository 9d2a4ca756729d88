//! The functions of templates: Go's own and those that Docker adds.

use std::cmp::Ordering;

use serde_json::Value;

use super::show::{Nil, Val, plain_number, truth, type_name};
use super::{Schema, escape, printf};

/// Every function, with how many arguments it takes at least and at most.
const FUNCTIONS: [(&str, usize, usize); 29] = [
    ("and", 1, usize::MAX),
    ("call", 1, usize::MAX),
    ("eq", 1, usize::MAX),
    ("ge", 2, 2),
    ("gt", 2, 2),
    ("html", 0, usize::MAX),
    ("index", 1, usize::MAX),
    ("join", 2, 2),
    ("js", 0, usize::MAX),
    ("json", 1, 1),
    ("le", 2, 2),
    ("len", 1, 1),
    ("lower", 1, 1),
    ("lt", 2, 2),
    ("ne", 2, 2),
    ("not", 1, 1),
    ("or", 1, usize::MAX),
    ("pad", 3, 3),
    ("print", 0, usize::MAX),
    ("printf", 1, usize::MAX),
    ("println", 0, usize::MAX),
    ("replace", 3, 3),
    ("slice", 1, usize::MAX),
    ("split", 2, 2),
    ("table", 1, 1),
    ("title", 1, 1),
    ("truncate", 2, 2),
    ("upper", 1, 1),
    ("urlquery", 0, usize::MAX),
];

/// Widest padding; more is nobody's intention.
const PAD_LIMIT: usize = 4096;

/// Whether there is a function of this name.
pub(super) fn exists(name: &str) -> bool {
    FUNCTIONS.iter().any(|(known, ..)| *known == name)
}

/// Whether a function gives back a title as it is.
pub(super) fn leaves_titles(name: &str) -> bool {
    [
        "json", "title", "lower", "upper", "truncate", "split", "join", "pad",
    ]
    .contains(&name)
}

/// Calls a function; the error is Go's message.
pub(super) fn call<'v>(
    name: &str,
    arguments: &[Val<'v>],
    schema: &Schema,
) -> Result<Val<'v>, String> {
    check_count(name, arguments.len())?;
    let texts = || {
        let texts: Vec<_> = arguments.iter().map(|value| value.text(schema)).collect();
        texts.concat()
    };
    match name {
        "index" => index(arguments),
        "slice" => slice(arguments),
        "table" => Ok(arguments[0].clone()),
        "len" => length(&arguments[0]).map(Val::owned),
        "not" => Ok(Val::owned(!truth(&arguments[0].json))),
        "eq" | "ne" | "lt" | "le" | "gt" | "ge" => compare(name, arguments).map(Val::owned),
        "print" => Ok(Val::owned(printf::print(arguments, schema))),
        "println" => {
            let words: Vec<_> = arguments.iter().map(|value| value.text(schema)).collect();
            Ok(Val::owned(words.join(" ") + "\n"))
        }
        "printf" => {
            let format = string(&arguments[0])?;
            Ok(Val::owned(printf::printf(format, &arguments[1..], schema)))
        }
        "html" => Ok(Val::owned(escape::html(&texts()))),
        "js" => Ok(Val::owned(escape::js(&texts()))),
        "urlquery" => Ok(Val::owned(escape::query(&texts()))),
        "call" => Err(format!(
            "error calling call: non-function {} of type {}",
            arguments[0].text(schema),
            type_name(&arguments[0].json)
        )),
        _ => own(name, arguments).map(Val::owned),
    }
}

/// The functions that Docker adds.
fn own(name: &str, arguments: &[Val<'_>]) -> Result<Value, String> {
    let text = |at: usize| string(&arguments[at]);
    let number = |at: usize| whole(&arguments[at]);
    Ok(match name {
        "json" => Value::from(arguments[0].json.to_string()),
        "lower" => Value::from(text(0)?.to_lowercase()),
        "upper" => Value::from(text(0)?.to_uppercase()),
        "title" => Value::from(title(text(0)?)),
        "split" => {
            let (text, separator) = (text(0)?, text(1)?);
            if separator.is_empty() {
                return Ok(text.chars().map(|c| Value::from(c.to_string())).collect());
            }
            text.split(separator).map(Value::from).collect()
        }
        "join" => Value::from(join(&arguments[0], text(1)?)?),
        "replace" => Value::from(text(0)?.replace(text(1)?, text(2)?)),
        "pad" => {
            let source = text(0)?;
            let space = |count: i64| {
                let count = usize::try_from(count).unwrap_or_default();
                " ".repeat(count.min(PAD_LIMIT))
            };
            let (before, after) = (number(1)?, number(2)?);
            if source.is_empty() {
                return Ok(Value::from(""));
            }
            Value::from(format!("{}{source}{}", space(before), space(after)))
        }
        "truncate" => {
            let source = text(0)?;
            let length = usize::try_from(number(1)?).unwrap_or_default();
            Value::from(cut(source, length))
        }
        _ => return Err(format!("function \"{name}\" not defined")),
    })
}

fn check_count(name: &str, count: usize) -> Result<(), String> {
    let known = FUNCTIONS.iter().find(|(known, ..)| *known == name);
    let Some((_, least, most)) = known else {
        return Err(format!("function \"{name}\" not defined"));
    };
    if (*least..=*most).contains(&count) {
        return Ok(());
    }
    let want = if least == most {
        format!("{least}")
    } else {
        format!("at least {least}")
    };
    Err(format!(
        "wrong number of args for {name}: want {want} got {count}"
    ))
}

fn string<'a>(value: &'a Val<'_>) -> Result<&'a str, String> {
    match value.json.as_ref() {
        Value::String(text) => Ok(text),
        Value::Null => Ok(""),
        other => Err(format!(
            "wrong type for value; expected string; got {}",
            type_name(other)
        )),
    }
}

fn whole(value: &Val<'_>) -> Result<i64, String> {
    value.json.as_i64().ok_or_else(|| {
        let kind = type_name(&value.json);
        format!("wrong type for value; expected int; got {kind}")
    })
}

/// The start of a text, in bytes, never half a character.
fn cut(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
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
        start = !(char.is_alphanumeric() || char == '_' || char == '\'');
    }
    out
}

fn join(list: &Val<'_>, separator: &str) -> Result<String, String> {
    let part = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(plain_number(number)),
        other => Err(format!(
            "error calling join: unsupported type: {}",
            type_name(other)
        )),
    };
    let parts: Vec<String> = match list.json.as_ref() {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(part).collect::<Result<_, _>>()?,
        Value::Object(members) => {
            let mut parts: Vec<String> = members.values().map(part).collect::<Result<_, _>>()?;
            parts.sort();
            parts
        }
        other => {
            return Err(format!(
                "error calling join: expected slice, got {}",
                type_name(other)
            ));
        }
    };
    Ok(parts.join(separator))
}

fn length(value: &Val<'_>) -> Result<usize, String> {
    match value.json.as_ref() {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(members) => Ok(members.len()),
        Value::Null if matches!(value.nil, Nil::List | Nil::Map) => Ok(0),
        Value::Null => Err("error calling len: len of nil pointer".to_owned()),
        other => Err(format!(
            "error calling len: len of type {}",
            type_name(other)
        )),
    }
}

/// The element or member at each key in turn. A key that a map does not have
/// gives an empty value of the kind that its others are.
fn index<'v>(arguments: &[Val<'v>]) -> Result<Val<'v>, String> {
    let wrong = |message: String| format!("error calling index: {message}");
    let mut value = arguments[0].clone();
    for key in &arguments[1..] {
        let found = match (value.json.as_ref(), key.json.as_ref()) {
            (Value::Array(items), Value::Number(number)) => number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .and_then(|number| items.get(number))
                .cloned()
                .ok_or_else(|| wrong(format!("index out of range: {number}")))?,
            (Value::String(text), Value::Number(number)) => number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .and_then(|number| text.as_bytes().get(number))
                .map(|byte| Value::from(*byte))
                .ok_or_else(|| wrong(format!("index out of range: {number}")))?,
            (Value::Object(members), Value::String(key)) => match members.get(key) {
                Some(found) => found.clone(),
                None if members.values().all(Value::is_string) => Value::from(""),
                None => {
                    value = Val::nil(Nil::List);
                    continue;
                }
            },
            (Value::Null, Value::Number(number)) if value.nil == Nil::List => {
                return Err(wrong(format!("index out of range: {number}")));
            }
            (Value::Null, Value::String(_)) if value.nil == Nil::Map => Value::from(""),
            (Value::Null, _) => return Err(wrong("index of untyped nil".to_owned())),
            (Value::Array(_) | Value::String(_), other) => {
                let kind = type_name(other);
                return Err(wrong(format!("cannot index slice/array with type {kind}")));
            }
            (Value::Object(_), other) => {
                let kind = type_name(other);
                return Err(wrong(format!("value has type {kind}; should be string")));
            }
            (other, _) => {
                let kind = type_name(other);
                return Err(wrong(format!("can't index item of type {kind}")));
            }
        };
        value = Val::owned(found);
    }
    Ok(value)
}

fn slice<'v>(arguments: &[Val<'v>]) -> Result<Val<'v>, String> {
    let wrong = |message: String| format!("error calling slice: {message}");
    let item = &arguments[0];
    let most = match item.json.as_ref() {
        Value::String(text) => text.len(),
        Value::Array(items) => items.len(),
        Value::Null => return Err(wrong("slice of untyped nil".to_owned())),
        other => {
            let kind = type_name(other);
            return Err(wrong(format!("can't slice item of type {kind}")));
        }
    };
    if arguments.len() > 4 {
        let count = arguments.len() - 1;
        return Err(wrong(format!("too many slice indexes: {count}")));
    }
    if arguments.len() == 4 && item.json.is_string() {
        return Err(wrong("cannot 3-index slice a string".to_owned()));
    }
    let mut bounds = [0, most];
    for (bound, argument) in bounds.iter_mut().zip(&arguments[1..]) {
        let number = argument.json.as_i64().ok_or_else(|| {
            let kind = type_name(&argument.json);
            wrong(format!("cannot index slice/array with type {kind}"))
        })?;
        *bound = usize::try_from(number)
            .ok()
            .filter(|number| *number <= most)
            .ok_or_else(|| wrong(format!("index out of range: {number}")))?;
    }
    let [start, end] = bounds;
    if start > end {
        return Err(wrong(format!("invalid slice index: {start} > {end}")));
    }
    Ok(match item.json.as_ref() {
        Value::String(text) => {
            let part = text.as_bytes().get(start..end).unwrap_or_default();
            Val::owned(String::from_utf8_lossy(part).into_owned())
        }
        Value::Array(items) => Val::owned(items.get(start..end).unwrap_or_default().to_vec()),
        _ => item.clone(),
    })
}

fn compare(name: &str, arguments: &[Val<'_>]) -> Result<bool, String> {
    let wrong = |message: &str| format!("error calling {name}: {message}");
    let first = &arguments[0];
    if matches!(name, "eq" | "ne") {
        if name == "eq" && arguments.len() == 1 {
            return Err(wrong("missing argument for comparison"));
        }
        let mut equal = false;
        for other in &arguments[1..] {
            equal |= equals(&first.json, &other.json).map_err(wrong)?;
        }
        return Ok(equal == (name == "eq"));
    }
    let second = &arguments[1];
    let order = match (first.json.as_ref(), second.json.as_ref()) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() == other.is_f64() => {
            order(one, other)
        }
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Number(_) | Value::String(_), Value::Number(_) | Value::String(_)) => {
            return Err(wrong("incompatible types for comparison"));
        }
        _ => return Err(wrong("invalid type for comparison")),
    };
    Ok(match name {
        "lt" => order == Some(Ordering::Less),
        "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "gt" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn order(one: &serde_json::Number, other: &serde_json::Number) -> Option<Ordering> {
    let whole = |number: &serde_json::Number| {
        let signed = number.as_i64().map(i128::from);
        signed.or_else(|| number.as_u64().map(i128::from))
    };
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn equals(one: &Value, other: &Value) -> Result<bool, &'static str> {
    Ok(match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() == other.is_f64() => {
            order(one, other) == Some(Ordering::Equal)
        }
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Null, Value::Null) => true,
        (Value::Null, _) | (_, Value::Null) => false,
        (Value::Array(_) | Value::Object(_), _) | (_, Value::Array(_) | Value::Object(_)) => {
            return Err("non-comparable types");
        }
        _ => return Err("incompatible types for comparison"),
    })
}

/// Whether a value is a row that has labels.
pub(super) fn has_labels(row: &Value) -> bool {
    matches!(row.get("Labels"), Some(Value::String(_) | Value::Object(_)))
        && row.get("Label").is_none()
}

/// A label of a row, whose labels are a map or `a=b,c=d`.
pub(super) fn label<'v>(row: &Value, arguments: &[Val<'v>], heading: bool) -> Val<'v> {
    let key = arguments.first().and_then(|value| value.json.as_str());
    if let Some(key) = key.filter(|_| heading) {
        // Docker's title: the last part of the name, in words.
        let last = key.rsplit('.').next().unwrap_or(key);
        return Val::owned(last.replace(['-', '_'], " "));
    }
    let found = key.and_then(|key| match row.get("Labels") {
        Some(Value::String(text)) => text
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.to_owned()),
        Some(Value::Object(labels)) => labels.get(key)?.as_str().map(str::to_owned),
        _ => None,
    });
    Val::owned(found.unwrap_or_default())
}
