//! Sizes and times as Docker writes them for people, and sizes as people write them.

use std::time::Duration;

use jiff::Timestamp;

const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// A number of bytes with three significant digits in decimal units: `1.23MB`.
pub(crate) fn size(bytes: u64) -> String {
    size_with_digits(bytes, 3)
}

/// A number of bytes with four significant digits, as totals show it.
pub(crate) fn total_size(bytes: u64) -> String {
    size_with_digits(bytes, 4)
}

/// A number of bytes in binary units, as BuildKit writes its limits: `2MiB`.
pub(crate) fn binary_size(bytes: u64) -> String {
    const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut scale = 1u64;
    while unit + 1 < BINARY.len() && bytes / scale >= 1024 {
        scale <<= 10;
        unit += 1;
    }
    #[allow(clippy::cast_precision_loss, reason = "a few digits of it are shown")]
    let value = bytes as f64 / scale as f64;
    format!("{}{}", significant(value, 4), BINARY[unit])
}

fn size_with_digits(bytes: u64, digits: usize) -> String {
    #[allow(clippy::cast_precision_loss, reason = "a few digits of it are shown")]
    let mut value = bytes as f64;
    let mut unit = 0;
    while unit + 1 < DECIMAL.len() && value >= 1000.0 {
        value /= 1000.0;
        unit += 1;
    }
    let mut text = significant(value, digits);
    if text == "1000" && unit + 1 < DECIMAL.len() {
        // 999.96 kB is 1 MB once it is rounded.
        "1".clone_into(&mut text);
        unit += 1;
    }
    format!("{text}{}", DECIMAL[unit])
}

/// `digits` significant digits, without zeros at the end.
fn significant(value: f64, digits: usize) -> String {
    let whole = format!("{value:.0}").len();
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A size as flags take it, in binary units: `64m` is 64 MiB, `1g`, `512`, `1.5gb`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("invalid size: '{text}'");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(wrong()),
    };
    let digits = digits.trim_end();
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(wrong);
    }
    // Scaled in integers, so that no float decides about bytes.
    let (whole, part) = digits.split_once('.').ok_or_else(wrong)?;
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    if part.is_empty() || part.len() > 9 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let part_value: u128 = part.parse().map_err(|_| wrong())?;
    let scale = 10u128.pow(u32::try_from(part.len()).map_err(|_| wrong())?);
    let bytes = (u128::from(whole) << shift) + (part_value << shift) / scale;
    u64::try_from(bytes).map_err(|_| wrong())
}

/// A span of time in one word or two: `2 hours`, `About a minute`.
pub(crate) fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let minutes = seconds / 60;
    // Docker rounds hours to the nearest.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago a moment was: `2 hours ago`. `N/A` for a moment that is not known.
pub(crate) fn ago(moment: Option<Timestamp>, now: Timestamp) -> String {
    match moment {
        Some(moment) => {
            let span = Duration::try_from(now.duration_since(moment)).unwrap_or_default();
            format!("{} ago", duration(span))
        }
        None => "N/A".to_owned(),
    }
}

/// A moment in the form of Go's `Time.String`: `2024-01-02 03:04:05 +0000 UTC`.
pub(crate) fn moment(moment: Option<Timestamp>) -> String {
    match moment {
        Some(moment) => moment.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        None => "N/A".to_owned(),
    }
}

/// Cuts a text to `width` characters, the last of them an ellipsis.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// A text in double quotes, as Go's `strconv.Quote` writes it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Orders names with the numbers in them by their values: `b6` before `b46`.
pub(crate) fn natural(one: &str, other: &str) -> std::cmp::Ordering {
    let pieces = |text: &str| {
        let mut pieces: Vec<(Option<u128>, String)> = Vec::new();
        for c in text.chars() {
            let digit = c.is_ascii_digit();
            match pieces.last_mut() {
                Some((_, piece)) if piece.ends_with(|l: char| l.is_ascii_digit()) == digit => {
                    piece.push(c);
                }
                _ => pieces.push((None, c.to_string())),
            }
        }
        for (number, piece) in &mut pieces {
            *number = piece.parse().ok();
        }
        pieces
    };
    // A number comes before a word, as it does in ASCII.
    for ((a, one), (b, other)) in pieces(one).iter().zip(&pieces(other)) {
        let order = match (a, b) {
            (Some(a), Some(b)) => a.cmp(b).then(one.len().cmp(&other.len())),
            _ => one.cmp(other),
        };
        if order.is_ne() {
            return order;
        }
    }
    one.len().cmp(&other.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_names_ordered_as_go_does() {
        assert_eq!(
            quoted("sh -c 'echo \"a\"\n\\'"),
            r#""sh -c 'echo \"a\"\n\\'""#
        );
        let mut names = ["b46", "b6", "a", "b6a", "b", "10", "9"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["9", "10", "a", "b", "b6", "b6a", "b46"]);
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1234, "1.23kB"),
            (12_345, "12.3kB"),
            (123_456, "123kB"),
            (999_960, "1MB"),
            (1_500_000, "1.5MB"),
            (u64::MAX, "18.4EB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(total_size(1_234_567), "1.235MB");
    }

    #[test]
    fn limits_are_written_in_binary_units() {
        for (bytes, text) in [
            (0, "0B"),
            (2 << 20, "2MiB"),
            (200 << 10, "200KiB"),
            (3 << 19, "1.5MiB"),
            (u64::MAX, "16EiB"),
        ] {
            assert_eq!(binary_size(bytes), text);
        }
    }

    #[test]
    fn sizes_are_read_in_binary_units() {
        for (text, bytes) in [
            ("512", Some(512)),
            ("64m", Some(64 << 20)),
            ("64MB", Some(64 << 20)),
            ("1.5g", Some(3 << 29)),
            ("1 k", Some(1024)),
            ("", None),
            ("m", None),
            ("-1", None),
            ("1x", None),
            ("99999999p", None),
        ] {
            assert_eq!(parse_size(text).ok(), bytes, "{text}");
        }
    }

    #[test]
    fn durations_read_as_docker_writes_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (15 * 86400, "2 weeks"),
            (70 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
