//! `--filter key=value` of the image verbs.

use jiff::{SignedDuration, Timestamp};
use rbuild::engine::ImageFilter;

use crate::cli::report::Failure;
use crate::cli::usage;

/// Reads the filters of `images` and `image prune`.
pub(crate) fn image_filter(filters: &[String]) -> Result<ImageFilter, Failure> {
    let mut filter = ImageFilter::default();
    for (key, value) in conditions(filters)? {
        let wrong = || Failure::new(1, format!("invalid filter '{key}={value}'"));
        let value = value.as_str();
        match key.as_str() {
            "reference" => filter.references.push(value.to_owned()),
            "dangling" => {
                filter.dangling = Some(match value {
                    "true" | "1" => true,
                    "false" | "0" => false,
                    _ => return Err(wrong()),
                });
            }
            "label" => filter.labels.push(match value.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (value.to_owned(), None),
            }),
            "label!" => filter.without_labels.push(match value.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (value.to_owned(), None),
            }),
            "before" => filter.before = Some(value.to_owned()),
            "since" => filter.since = Some(value.to_owned()),
            "until" => filter.until = Some(moment(value).ok_or_else(wrong)?),
            _ => return Err(Failure::new(1, format!("invalid filter '{key}'"))),
        }
    }
    Ok(filter)
}

/// `key=value` of the other verbs; what keys mean is for whoever gets them.
pub(crate) fn conditions(filters: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let condition = |text: &String| {
        let Some((key, value)) = text.split_once('=') else {
            let why = "bad format of filter (expected name=value)";
            return Err(usage::wrong_value(text, "-f, --filter", why));
        };
        // `label!=x` is the key `label!`.
        Ok((key.trim().to_lowercase(), value.trim().to_owned()))
    };
    let said = filters.iter().filter(|text| !text.is_empty());
    said.map(condition).collect()
}

/// A moment: RFC 3339, also without its end, which is then local time; seconds since
/// 1970 with decimals; or a span back from now such as `1h30m`.
pub(crate) fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    if let Some(moment) = seconds(text) {
        return Some(moment);
    }
    if text.contains('-') {
        let local = local_moment(text)?;
        return Some(
            local
                .to_zoned(jiff::tz::TimeZone::system())
                .ok()?
                .timestamp(),
        );
    }
    Timestamp::now().checked_sub(go_duration(text)?).ok()
}

/// `1136073845` or `1136073845.000000001`.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = part.len() <= 9 && part.bytes().all(|byte| byte.is_ascii_digit());
    let nanoseconds = format!("{part:0<9}").parse().ok().filter(|_| digits)?;
    Timestamp::new(whole.parse().ok()?, nanoseconds).ok()
}

/// `2006-01-02T15:04:05`, `2006-01-02T15:04`, `2006-01-02T15` or `2006-01-02`.
fn local_moment(text: &str) -> Option<jiff::civil::DateTime> {
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let time = match time.len() {
        2 => format!("{time}:00:00"),
        5 => format!("{time}:00"),
        _ => time.to_owned(),
    };
    format!("{date}T{time}").parse().ok()
}

/// A span in Go's spelling: `1h30m`, `500ms`.
pub(crate) fn go_duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut nanos: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let scale: i64 = match &rest[..unit] {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        nanos = nanos.checked_add(number.checked_mul(scale)?)?;
        rest = &rest[unit..];
    }
    (!text.is_empty()).then(|| SignedDuration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_go_reads_them() {
        let seconds = |text| go_duration(text).map(|span| span.as_secs());
        assert_eq!(seconds("1h30m"), Some(5400));
        assert_eq!(seconds("24h"), Some(86_400));
        assert_eq!(seconds("1500ms"), Some(1));
        assert_eq!(seconds("1d"), None);
        assert_eq!(seconds(""), None);
        assert_eq!(seconds("99999999999h"), None);
    }

    #[test]
    fn filters_are_read() {
        let read = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            image_filter(&texts)
        };
        let filter = read(&["label=a=b", "label=c", "dangling=true"]).unwrap();
        assert_eq!(filter.labels.len(), 2);
        assert_eq!(filter.dangling, Some(true));
        for wrong in ["nosuch=1", "label", "dangling=maybe", "until=soon"] {
            assert!(read(&[wrong]).is_err(), "{wrong}");
        }
        assert!(read(&[""]).is_ok());
    }

    #[test]
    fn moments_are_read_in_every_form_of_dockers() {
        for good in [
            "2001-01-01",
            "2001-01-01T10",
            "2001-01-01T10:20",
            "2001-01-01T10:20:30",
            "2001-01-01T10:20:30.5",
            "2001-01-01T10:20:30Z",
            "2001-01-01T10:20:30.123456789+02:00",
            "1136073845",
            "1136073845.000000001",
            "10m",
        ] {
            assert!(moment(good).is_some(), "{good}");
        }
        for wrong in ["", "whenever", "2001-13-01", "12x"] {
            assert!(moment(wrong).is_none(), "{wrong}");
        }
    }
}
