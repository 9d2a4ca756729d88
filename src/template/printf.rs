//! `printf` and `print`, with Go's verbs and Go's complaints.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use serde_json::Value;

use super::Schema;
use super::show::{Val, exponent, type_name};

/// Widest field; Go allows a million, which is nobody's intention.
const WIDTH_LIMIT: usize = 4096;

/// Values side by side; a space between two that are no strings.
pub(super) fn print(arguments: &[Val<'_>], schema: &Schema) -> String {
    let mut out = String::new();
    let mut before_is_text = true;
    for (index, value) in arguments.iter().enumerate() {
        let is_text = value.json.is_string();
        if index > 0 && !is_text && !before_is_text {
            out.push(' ');
        }
        out.push_str(&value.text(schema));
        before_is_text = is_text;
    }
    out
}

/// A string in Go's double quotes.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            char if char.is_control() => {
                let code = u32::from(char);
                // Writing to a string cannot fail.
                let _infallible = if code < 0x80 {
                    write!(out, "\\x{code:02x}")
                } else {
                    write!(out, "\\u{code:04x}")
                };
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

#[derive(Debug, Default)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Go's `fmt.Sprintf`.
pub(super) fn printf(format: &str, arguments: &[Val<'_>], schema: &Schema) -> String {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    let mut used = 0;
    while let Some(char) = chars.next() {
        if char != '%' {
            out.push(char);
            continue;
        }
        let flags = flags(&mut chars, arguments, &mut used);
        let Some(verb) = chars.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        let Some(value) = arguments.get(used) else {
            let _infallible = write!(out, "%!{verb}(MISSING)");
            continue;
        };
        used += 1;
        out.push_str(&one(verb, value, &flags, schema));
    }
    if used < arguments.len() {
        let extra: Vec<String> = arguments[used..]
            .iter()
            .map(|value| format!("{}={}", type_name(&value.json), value.text(schema)))
            .collect();
        let _infallible = write!(out, "%!(EXTRA {})", extra.join(", "));
    }
    out
}

fn flags(chars: &mut Peekable<Chars<'_>>, arguments: &[Val<'_>], used: &mut usize) -> Flags {
    let mut flags = Flags::default();
    while let Some(char) = chars.peek() {
        match char {
            '+' => flags.plus = true,
            '-' => flags.minus = true,
            '#' => flags.sharp = true,
            ' ' => flags.space = true,
            '0' => flags.zero = true,
            _ => break,
        }
        chars.next();
    }
    let mut number = |chars: &mut Peekable<Chars<'_>>| -> Option<i64> {
        if chars.next_if_eq(&'*').is_some() {
            let value = arguments.get(*used).and_then(|value| value.json.as_i64());
            *used += 1;
            return value;
        }
        let mut number: Option<i64> = None;
        while let Some(digit) = chars.peek().and_then(|char| char.to_digit(10)) {
            let next = number.unwrap_or(0).saturating_mul(10);
            number = Some(next.saturating_add(i64::from(digit)));
            chars.next();
        }
        number
    };
    let bound = |number: i64| {
        usize::try_from(number.unsigned_abs()).map_or(WIDTH_LIMIT, |n| n.min(WIDTH_LIMIT))
    };
    if let Some(width) = number(chars) {
        flags.minus |= width < 0;
        flags.width = Some(bound(width));
    }
    if chars.next_if_eq(&'.').is_some() {
        flags.precision = Some(number(chars).map_or(0, bound));
    }
    // A zero before a number on the left would be part of it.
    flags.zero &= !flags.minus;
    flags
}

fn one(verb: char, value: &Val<'_>, flags: &Flags, schema: &Schema) -> String {
    if verb == 'T' {
        return pad(type_name(&value.json), flags);
    }
    let text = match (verb, value.json.as_ref()) {
        ('v', Value::Number(number)) if number.is_f64() => {
            let text = value.text(schema).into_owned();
            if flags.plus && !text.starts_with('-') {
                format!("+{text}")
            } else {
                text
            }
        }
        ('v' | 'd' | 'x' | 'X' | 'o' | 'O' | 'b' | 'c' | 'q' | 'U', Value::Number(number))
            if !number.is_f64() =>
        {
            let whole = number.as_i64().map(i128::from);
            let whole = whole.or_else(|| number.as_u64().map(i128::from));
            return integer(verb, whole.unwrap_or_default(), flags);
        }
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Number(number)) if number.is_f64() => {
            return float(verb, number.as_f64().unwrap_or_default(), flags);
        }
        ('v', Value::String(text)) if flags.sharp => quote(text),
        ('v' | 's', Value::String(text)) => match flags.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.clone(),
        },
        ('q', Value::String(text)) => {
            if flags.sharp && !text.contains('`') && !text.chars().any(char::is_control) {
                format!("`{text}`")
            } else {
                quote(text)
            }
        }
        ('x', Value::String(text)) => hex(text),
        ('X', Value::String(text)) => hex(text).to_uppercase(),
        ('t' | 'v', Value::Bool(value)) => value.to_string(),
        ('v', _) | ('s' | 'q', Value::Object(_)) => value.text(schema).into_owned(),
        // A verb holds for each element.
        (verb, Value::Array(items)) => {
            let items: Vec<String> = items
                .iter()
                .map(|item| one(verb, &Val::borrowed(item), flags, schema))
                .collect();
            format!("[{}]", items.join(" "))
        }
        (verb, Value::Null) => format!("%!{verb}(<nil>)"),
        (verb, json) => format!("%!{verb}({}={})", type_name(json), value.text(schema)),
    };
    pad(&text, flags)
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        let _infallible = write!(out, "{byte:02x}");
        out
    })
}

/// Spaces up to the width; zeros where a number asks for them.
fn pad(text: &str, flags: &Flags) -> String {
    let missing = flags
        .width
        .unwrap_or(0)
        .saturating_sub(text.chars().count());
    if flags.minus {
        return text.to_owned() + &" ".repeat(missing);
    }
    if flags.zero {
        let sign = usize::from(text.starts_with(['+', '-']));
        return format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..]);
    }
    " ".repeat(missing) + text
}

fn integer(verb: char, number: i128, flags: &Flags) -> String {
    let character = || u32::try_from(number).ok().and_then(char::from_u32);
    match verb {
        'c' => return pad(&character().unwrap_or('\u{fffd}').to_string(), flags),
        'q' => {
            let char = character().unwrap_or('\u{fffd}');
            return pad(&format!("'{char}'"), flags);
        }
        'U' => return pad(&format!("U+{number:04X}"), flags),
        _ => {}
    }
    let size = number.unsigned_abs();
    let (prefix, digits) = match verb {
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        'o' => ("0", format!("{size:o}")),
        'O' => ("", format!("0o{size:o}")),
        'b' => ("0b", format!("{size:b}")),
        _ => ("", size.to_string()),
    };
    let least = flags.precision.unwrap_or(0);
    let digits = "0".repeat(least.saturating_sub(digits.len())) + &digits;
    let prefix = if flags.sharp { prefix } else { "" };
    let sign = match () {
        () if number < 0 => "-",
        () if flags.plus => "+",
        () if flags.space => " ",
        () => "",
    };
    pad(&format!("{sign}{prefix}{digits}"), flags)
}

fn float(verb: char, number: f64, flags: &Flags) -> String {
    let precision = flags.precision.unwrap_or(6);
    let text = match verb {
        'e' | 'E' => exponent(format!("{number:.precision$e}")),
        'f' | 'F' => format!("{number:.precision$}"),
        _ => match flags.precision {
            None => {
                let number = serde_json::Number::from_f64(number);
                number.map_or_else(String::new, |number| super::show::plain_number(&number))
            }
            Some(digits) => general(number, digits.max(1)),
        },
    };
    let text = if verb.is_uppercase() {
        text.to_uppercase()
    } else {
        text
    };
    let sign = match () {
        () if text.starts_with('-') => "",
        () if flags.plus => "+",
        () if flags.space => " ",
        () => "",
    };
    pad(&format!("{sign}{text}"), flags)
}

/// `%g` with so many significant digits.
fn general(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let power: i64 = scientific
        .split_once('e')
        .and_then(|(_, power)| power.parse().ok())
        .unwrap_or_default();
    let short = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let digits = i64::try_from(digits).unwrap_or(i64::MAX);
    if power < -4 || power >= digits {
        let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return exponent(format!("{}e{power}", short(mantissa)));
    }
    let after = usize::try_from(digits - 1 - power).unwrap_or_default();
    short(&format!("{number:.after$}"))
}
