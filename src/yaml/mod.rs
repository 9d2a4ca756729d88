//! YAML text to JSON values.
//!
//! Text goes in, one [`serde_json::Value`] comes out, from which types are made as
//! from JSON. What JSON lacks is refused: several documents, keys that are no
//! texts, the same key twice. Depth and number of values are bounded, those that
//! aliases repeat included, so that a short text cannot become a large value. Plain
//! scalars mean what the core schema says, and numbers with a leading zero are
//! octal, as file modes are written.
//!
//! Source: YAML 1.2.2, chapters 6, 7 and 10.3.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

/// Deepest nesting.
const DEPTH: usize = 64;
/// Most values of a document, repeated ones counted each time.
const VALUES: usize = 100_000;

/// Why a text is no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is not YAML.
    #[error("{0}")]
    Syntax(String),
    /// A key is no text, or stands twice in a mapping.
    #[error("line {line}: {why}")]
    Key {
        /// Where, from 1 on.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// There is more than one document.
    #[error("there is more than one document")]
    Several,
    /// It is nested too deeply or too long.
    #[error("the document is nested too deeply or too long")]
    TooLarge,
    /// An alias names nothing that is complete.
    #[error("line {line}: an alias names nothing")]
    Alias {
        /// Where, from 1 on.
        line: usize,
    },
}

/// Reads the one document of a text; an empty text is null.
///
/// # Errors
/// [`Error`], with the line where it has one.
pub fn parse(text: &str) -> Result<Value, Error> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|err| Error::Syntax(err.to_string()))?;
        builder.take(event, span.start.line())?;
    }
    Ok(builder.done.unwrap_or(Value::Null))
}

/// A collection whose end is still to come.
enum Open {
    List(Vec<Value>, usize),
    Mapping(Map<String, Value>, Option<String>, usize),
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    /// Values by the number of their anchor, with how many values they are.
    anchors: BTreeMap<usize, (Value, usize)>,
    values: usize,
    done: Option<Value>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Error> {
        match event {
            Event::DocumentStart(_) if self.done.is_some() => Err(Error::Several),
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = style != ScalarStyle::Plain
                    || tag.is_some_and(|tag| tag.suffix == "str" || tag.suffix.is_empty());
                let value = if is_text {
                    Value::String(text.into_owned())
                } else {
                    plain(&text)
                };
                self.count(1)?;
                self.put(value, anchor, 1, line)
            }
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                let (value, values) = known.ok_or(Error::Alias { line })?;
                self.count(values)?;
                self.put(value, 0, values, line)
            }
            Event::SequenceStart(anchor, _) => self.begin(Open::List(Vec::new(), anchor)),
            Event::MappingStart(anchor, _) => self.begin(Open::Mapping(Map::new(), None, anchor)),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List(list, anchor)) => self.put_collection(list.into(), anchor, line),
                Some(Open::Mapping(map, _, anchor)) => {
                    self.put_collection(Value::Object(map), anchor, line)
                }
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn count(&mut self, values: usize) -> Result<(), Error> {
        self.values = self.values.saturating_add(values);
        if self.values > VALUES {
            return Err(Error::TooLarge);
        }
        Ok(())
    }

    fn begin(&mut self, open: Open) -> Result<(), Error> {
        self.count(1)?;
        if self.open.len() >= DEPTH {
            return Err(Error::TooLarge);
        }
        self.open.push(open);
        Ok(())
    }

    fn put_collection(&mut self, value: Value, anchor: usize, line: usize) -> Result<(), Error> {
        let values = if anchor == 0 { 0 } else { size(&value) };
        self.put(value, anchor, values, line)
    }

    /// Puts a complete value where it belongs.
    fn put(
        &mut self,
        value: Value,
        anchor: usize,
        values: usize,
        line: usize,
    ) -> Result<(), Error> {
        if anchor != 0 {
            // What is remembered for aliases takes room as well.
            self.count(values)?;
            self.anchors.insert(anchor, (value.clone(), values));
        }
        match self.open.last_mut() {
            None => self.done = Some(value),
            Some(Open::List(list, _)) => list.push(value),
            Some(Open::Mapping(map, key @ None, _)) => {
                let text = match value {
                    Value::String(text) => text,
                    Value::Bool(_) | Value::Number(_) => value.to_string(),
                    _ => {
                        let why = "a key is no text".to_owned();
                        return Err(Error::Key { line, why });
                    }
                };
                if map.contains_key(&text) {
                    let why = format!("the key `{text}` stands twice");
                    return Err(Error::Key { line, why });
                }
                *key = Some(text);
            }
            Some(Open::Mapping(map, key, _)) => {
                if let Some(key) = key.take() {
                    map.insert(key, value);
                }
            }
        }
        Ok(())
    }
}

/// How many values a value is; its depth is bounded by then.
fn size(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(size).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(|value| 1 + size(value)).sum::<usize>(),
        _ => 1,
    }
}

/// What a scalar without quotes means.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let is_negative = text.starts_with('-');
    let whole = |digits: &str, radix: u32| -> Option<Number> {
        let value = u64::from_str_radix(digits, radix).ok()?;
        if is_negative {
            let value = i64::try_from(value).ok()?;
            return Some(Number::from(-value));
        }
        Some(Number::from(value))
    };
    if let Some(hexadecimal) = digits.strip_prefix("0x") {
        return whole(hexadecimal, 16);
    }
    let octal = digits
        .strip_prefix("0o")
        .or_else(|| digits.strip_prefix('0').filter(|rest| !rest.is_empty()));
    if let Some(octal) = octal
        && octal.bytes().all(|byte| byte.is_ascii_digit())
    {
        return whole(octal, 8);
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return whole(digits, 10);
    }
    let is_float = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'-' | b'+'));
    let value = is_float.then(|| text.parse::<f64>().ok()).flatten()?;
    Number::from_f64(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_mean_what_the_core_schema_says() {
        let text = "a: 1\nb: -2\nc: 0660\nd: 0x1f\ne: 1.5\nf: true\ng: ~\nh: yes\ni: '1'\nj: 1.2.3\nk: c\nl: !!str 5\n";
        let want = json!({
            "a": 1, "b": -2, "c": 432, "d": 31, "e": 1.5, "f": true, "g": null,
            "h": "yes", "i": "1", "j": "1.2.3", "k": "c", "l": "5",
        });
        assert_eq!(parse(text).unwrap(), want);
        assert_eq!(parse("").unwrap(), Value::Null);
    }

    #[test]
    fn collections_and_aliases_are_values() {
        let text = "list: &l [1, {x: y}]\nagain: *l\nlong: |\n  one\n  two\n";
        let want =
            json!({ "list": [1, { "x": "y" }], "again": [1, { "x": "y" }], "long": "one\ntwo\n" });
        assert_eq!(parse(text).unwrap(), want);
    }

    #[test]
    fn what_json_lacks_is_refused() {
        assert_eq!(parse("a\n---\nb\n"), Err(Error::Several));
        assert!(matches!(
            parse("a: 1\na: 2\n"),
            Err(Error::Key { line: 2, .. })
        ));
        assert!(matches!(parse("[a]: 1\n"), Err(Error::Key { .. })));
        assert!(matches!(parse("a: [\n"), Err(Error::Syntax(_))));
    }

    #[test]
    fn a_short_text_does_not_become_a_large_value() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let list = vec![before; 10].join(",");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        assert_eq!(parse(&bomb), Err(Error::TooLarge));
        assert_eq!(parse(&"[".repeat(100)), Err(Error::TooLarge));
    }
}
