//! Values while a template runs, and how they print: as Go prints them.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::{Number, Value};

use super::Schema;

/// A value with what Go's types would know of it.
#[derive(Debug, Clone)]
pub(super) struct Val<'v> {
    pub(super) json: Cow<'v, Value>,
    /// What it is where it is `null`.
    pub(super) nil: Nil,
    /// Whether it is a map, not a structure.
    pub(super) is_map: bool,
}

/// Kinds of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nil {
    /// No value at all.
    Nothing,
    /// A list without elements.
    List,
    /// A map without keys.
    Map,
    /// A pointer to nothing.
    Pointer,
}

impl<'v> Val<'v> {
    pub(super) fn borrowed(value: &'v Value) -> Self {
        Self {
            json: Cow::Borrowed(value),
            nil: Nil::Pointer,
            is_map: false,
        }
    }

    pub(super) fn owned(value: impl Into<Value>) -> Self {
        Self {
            json: Cow::Owned(value.into()),
            nil: Nil::Pointer,
            is_map: false,
        }
    }

    pub(super) fn nil(nil: Nil) -> Self {
        Self {
            json: Cow::Owned(Value::Null),
            nil,
            is_map: nil == Nil::Map,
        }
    }

    /// The text that this is or prints as.
    pub(super) fn text(&self, schema: &Schema) -> Cow<'_, str> {
        if let Value::String(text) = self.json.as_ref() {
            return Cow::Borrowed(text);
        }
        let mut text = String::new();
        print(self, schema, &mut text);
        Cow::Owned(text)
    }
}

/// Whether a value counts as true: not nothing, not zero, not empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
    }
}

/// Prints a value as Go's `%v` does.
pub(super) fn print(value: &Val<'_>, schema: &Schema, out: &mut String) {
    match (value.json.as_ref(), value.nil) {
        (Value::Null, Nil::Nothing) => out.push_str("<no value>"),
        (Value::Null, Nil::List) => out.push_str("[]"),
        (Value::Null, Nil::Map) => out.push_str("map[]"),
        (json, _) => nested(json, value.is_map, schema, out),
    }
}

fn nested(value: &Value, is_map: bool, schema: &Schema, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&plain_number(number)),
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                nested(item, false, schema, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            if is_map {
                members.sort_by_key(|(key, _)| key.as_str());
            }
            out.push_str(if is_map { "map[" } else { "{" });
            for (index, (key, item)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                if is_map {
                    // Writing to a string cannot fail.
                    let _infallible = write!(out, "{key}:");
                }
                match item {
                    Value::Null if schema.lists.contains(&key.as_str()) => out.push_str("[]"),
                    Value::Null if schema.maps.contains(&key.as_str()) => out.push_str("map[]"),
                    item => nested(item, schema.maps.contains(&key.as_str()), schema, out),
                }
            }
            out.push(if is_map { ']' } else { '}' });
        }
    }
}

/// A number as Go's `%v`: the shortest text, with an exponent from 1e21 on.
pub(super) fn plain_number(number: &Number) -> String {
    match number.as_f64() {
        Some(value) if number.is_f64() => {
            let size = value.abs();
            if size != 0.0 && !(1e-4..1e21).contains(&size) {
                exponent(format!("{value:e}"))
            } else {
                value.to_string()
            }
        }
        _ => number.to_string(),
    }
}

/// `1e5` as Go writes it: `1e+05`.
pub(super) fn exponent(text: String) -> String {
    match text.split_once('e') {
        Some((digits, power)) => {
            let (sign, power) = match power.strip_prefix('-') {
                Some(power) => ('-', power),
                None => ('+', power),
            };
            format!("{digits}e{sign}{power:0>2}")
        }
        None => text,
    }
}

/// The name of a value's type in messages.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
