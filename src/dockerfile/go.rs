//! Values in Go's notation, since the language is defined by a Go program.

use super::quote::quote;

/// Reads a boolean as `strconv.ParseBool` does.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads an unsigned number of 32 bits as `strconv.ParseUint` does: digits only.
pub(super) fn unsigned(text: &str, radix: u32) -> Option<u32> {
    if text.starts_with('+') {
        return None;
    }
    u32::from_str_radix(text, radix).ok()
}

/// Reads a decimal number of 32 bits as `strconv.ParseInt` does.
///
/// # Errors
/// The message of Go.
pub(super) fn integer(text: &str) -> Result<i32, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let why = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.ParseInt: parsing {}: {why}", quote(text))
    })
}

const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration such as `1m30s` and returns nanoseconds.
///
/// # Errors
/// The message of Go.
///
/// Source: `time.ParseDuration`.
pub fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut rest = unsigned;
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let end = rest
            .find(|char: char| !char.is_ascii_digit() && char != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let end = after
            .find(|char: char| char.is_ascii_digit() || char == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {}", quote(text)));
        }
        let Some((_, nanoseconds)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let (unit, text) = (quote(unit), quote(text));
            return Err(format!("time: unknown unit {unit} in duration {text}"));
        };
        let whole: u64 = if whole.is_empty() {
            0
        } else {
            whole.parse().map_err(|_| invalid())?
        };
        total = whole
            .checked_mul(*nanoseconds)
            .and_then(|value| value.checked_add(part(fraction, *nanoseconds)))
            .and_then(|value| total.checked_add(value))
            .ok_or_else(invalid)?;
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| invalid())?;
    Ok(if text.starts_with('-') { -total } else { total })
}

/// The fraction `0.digits` of a unit, rounded down.
fn part(digits: &str, unit: u64) -> u64 {
    // No unit has more than 13 digits: what follows adds less than a
    // nanosecond.
    let digits = &digits[..digits.len().min(18)];
    let Ok(number) = digits.parse::<u128>() else {
        return 0;
    };
    let scale = digits.bytes().fold(1_u128, |scale, _| scale * 10);
    u64::try_from(number * u128::from(unit) / scale).unwrap_or(u64::MAX)
}

/// Reads an amount of memory such as `64m` or `1.5GiB` and returns bytes.
///
/// Source: `RAMInBytes` of docker/go-units.
pub fn memory_bytes(text: &str) -> Option<u64> {
    let end = text.rfind(|char: char| char.is_ascii_digit() || matches!(char, '.' | ' '))?;
    let (number, suffix) = text.split_at(end + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let is_number = |char: char| char.is_ascii_digit() || matches!(char, '.' | 'e' | 'E' | '+');
    let amount: f64 = number
        .chars()
        .all(is_number)
        .then(|| number.parse().ok())??;
    let suffix = suffix.to_ascii_lowercase();
    let shift = match suffix.strip_suffix("ib").or(suffix.strip_suffix('b')) {
        _ if suffix == "b" || suffix.is_empty() => 0,
        unit => match unit.unwrap_or(&suffix) {
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            "p" => 50,
            _ => return None,
        },
    };
    let bytes = amount * f64::from(2).powi(shift);
    if !(0.0..9.2e18).contains(&bytes) {
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "within the range of u64; part of a byte is dropped on purpose"
    )]
    Some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, want: i64| assert_eq!(duration(text), Ok(want), "{text}");
        check("0", 0);
        check("5s", 5_000_000_000);
        check("1m30s", 90_000_000_000);
        check("1.5h", 5_400_000_000_000);
        check(".5s", 500_000_000);
        check("5.s", 5_000_000_000);
        check("-1us", -1_000);
        check("+2µs", 2_000);
        check("0.3333333333333333333h", 1_199_999_999_999);
    }

    #[test]
    fn wrong_durations() {
        let check = |text: &str, want: &str| {
            assert_eq!(duration(text).unwrap_err(), want, "{text}");
        };
        check("", "time: invalid duration \"\"");
        check("s", "time: invalid duration \"s\"");
        check("-", "time: invalid duration \"-\"");
        check(".s", "time: invalid duration \".s\"");
        check("1.2.3s", "time: invalid duration \"1.2.3s\"");
        check("5", "time: missing unit in duration \"5\"");
        check("5x", "time: unknown unit \"x\" in duration \"5x\"");
        check(
            "99999999999999999999s",
            "time: invalid duration \"99999999999999999999s\"",
        );
        check("9999999h", "time: invalid duration \"9999999h\"");
    }

    #[test]
    fn memory() {
        let check = |text: &str, want: Option<u64>| assert_eq!(memory_bytes(text), want, "{text}");
        check("1", Some(1));
        check("1b", Some(1));
        check("64k", Some(64 << 10));
        check("64 KB", Some(64 << 10));
        check("1.5GiB", Some(3 << 29));
        check("2T", Some(2 << 40));
        for text in [
            "",
            "k",
            "-1",
            "1x",
            "1kk",
            "1 k b",
            "1bi",
            "inf",
            "nan",
            "99999999p",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(integer("-3"), Ok(-3));
        assert_eq!(
            integer("x").unwrap_err(),
            "strconv.ParseInt: parsing \"x\": invalid syntax"
        );
        assert!(
            integer("9999999999")
                .unwrap_err()
                .ends_with("value out of range")
        );
        assert_eq!(unsigned("755", 8), Some(0o755));
        assert_eq!(unsigned("+1", 10), None);
        assert_eq!(unsigned("8", 8), None);
    }
}
