//! Numbers as Go's templates write them.

use serde_json::Value;

/// A number: whole ones in four bases with `_` between digits, and others.
pub(super) fn parse(text: &str) -> Option<Value> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let plain: String = digits.chars().filter(|c| *c != '_').collect();
    let lower = plain.to_ascii_lowercase();
    let (base, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] if lower.bytes().all(|b| b.is_ascii_digit()) => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if let Ok(number) = u64::from_str_radix(body, base) {
        return if negative {
            i64::try_from(-i128::from(number)).ok().map(Value::from)
        } else {
            Some(Value::from(number))
        };
    }
    let allowed = |b: u8| b.is_ascii_digit() || b".e+-".contains(&b);
    if base != 10 || !lower.bytes().all(allowed) {
        return None;
    }
    let number: f64 = lower.parse().ok()?;
    let number = if negative { -number } else { number };
    // Infinite for a number that is too large.
    serde_json::Number::from_f64(number).map(Value::Number)
}

/// A string or character in quotes, with Go's escapes; `None` for a wrong one.
pub(super) fn unquote(text: &str) -> Option<String> {
    let mut chars = text.chars();
    chars.next()?;
    chars.next_back()?;
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(char) = chars.next() {
        if char != '\\' {
            bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let code = |chars: &mut std::str::Chars<'_>, count: usize, base: u32| -> Option<u32> {
            let digits: String = chars.by_ref().take(count).collect();
            (digits.len() == count)
                .then(|| u32::from_str_radix(&digits, base).ok())
                .flatten()
        };
        let simple = match chars.next()? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            '\'' => b'\'',
            '"' => b'"',
            'x' => u8::try_from(code(&mut chars, 2, 16)?).ok()?,
            first @ '0'..='7' => {
                let rest = code(&mut chars, 2, 8)?;
                u8::try_from(first.to_digit(8)? * 64 + rest).ok()?
            }
            wide @ ('u' | 'U') => {
                let count = if wide == 'u' { 4 } else { 8 };
                let char = char::from_u32(code(&mut chars, count, 16)?)?;
                bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        bytes.push(simple);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
