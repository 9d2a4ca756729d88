//! What the JSON answers have in common.

use rbuild::build::Source;
use rbuild::dockerfile::Span;
use serde_json::{Value, json};

use crate::cli::excerpt;

/// Adds a member unless its value says nothing, as Go's `omitempty` does.
pub(super) fn set(object: &mut Value, name: &str, value: impl Into<Value>) {
    let value = value.into();
    let is_empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    };
    if !is_empty {
        object[name] = value;
    }
}

/// A place: its lines, counted from 1.
pub(super) fn location(source: &Source, span: Span) -> Value {
    json!({
        "ranges": [{
            "start": {"line": span.line(&source.text)},
            "end": {"line": excerpt::last_line(&source.text, span)},
        }],
    })
}

/// Text in Base64, as Go writes bytes.
///
/// Source: RFC 4648, section 4.
pub(super) fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::with_capacity(text.len().div_ceil(3) * 4);
    for group in text.as_bytes().chunks(3) {
        let byte = |at: usize| group.get(at).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            if digit > group.len() {
                encoded.push('=');
                continue;
            }
            let index = usize::try_from(bits >> (18 - 6 * digit) & 63).unwrap_or(0);
            encoded.push(char::from(DIGITS[index]));
        }
    }
    encoded
}

/// The answer as it is printed.
pub(super) fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_specification() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text), want);
        }
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let mut object = json!({});
        set(&mut object, "a", "");
        set(&mut object, "b", false);
        set(&mut object, "c", Vec::<Value>::new());
        set(&mut object, "d", "x");
        assert_eq!(object, json!({"d": "x"}));
    }
}
