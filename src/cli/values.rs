//! Values of flags that several commands share.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rbuild::sandbox::Rlimit;

/// `KEY=VALUE`, or `KEY` for an empty value.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        "" => Err("the name is missing".to_owned()),
        key => Ok((key.to_owned(), value.to_owned())),
    }
}

/// `KEY=VALUE`, or `KEY` for the value that it has in the environment; `None`
/// where it has none.
pub(crate) fn variable(
    text: &str,
    environment: &BTreeMap<String, String>,
) -> Option<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) => Some((key.to_owned(), value.to_owned())),
        None => environment
            .get(text)
            .map(|value| (text.to_owned(), value.clone())),
    }
}

/// `HOST:IP` or `HOST=IP`.
pub(crate) fn host(text: &str) -> Result<(String, IpAddr), String> {
    let wrong = || format!("bad format for add-host: \"{text}\"");
    let (name, address) = text
        .split_once('=')
        .or_else(|| text.split_once(':'))
        .ok_or_else(wrong)?;
    let address = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    if name.is_empty() {
        return Err(wrong());
    }
    match address.parse() {
        Ok(address) => Ok((name.to_owned(), address)),
        Err(_) => Err(format!("invalid IP address in add-host: \"{address}\"")),
    }
}

/// Names of resource limits, in the order of their numbers in sys/resource.h.
const RLIMITS: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// `NAME=SOFT[:HARD]`; -1 is no limit.
pub(crate) fn ulimit(text: &str) -> Result<Rlimit, String> {
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    let resource = (0u32..)
        .zip(RLIMITS)
        .find(|(_, known)| *known == name)
        .map(|(number, _)| number)
        .ok_or_else(|| format!("invalid ulimit type: {name}"))?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number = |text: &str| match text {
        "-1" | "unlimited" => Ok(u64::MAX),
        _ => text
            .parse()
            .map_err(|_| format!("invalid ulimit argument: {limits}")),
    };
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        ));
    }
    Ok(Rlimit {
        resource,
        soft,
        hard,
    })
}

/// `0.5` to 500,000,000.
pub(crate) fn nano_cpus(text: &str) -> Result<u64, String> {
    let wrong = || format!("failed to parse {text} as a rational number");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = format!("0{whole}").parse().map_err(|_| wrong())?;
    let part: u64 = format!("{part:0<9}").parse().map_err(|_| wrong())?;
    whole
        .checked_mul(1_000_000_000)
        .and_then(|nano| nano.checked_add(part))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_read_without_rounding() {
        for (text, want) in [
            ("0.5", Some(500_000_000)),
            (".5", Some(500_000_000)),
            ("2", Some(2_000_000_000)),
            ("1.000000001", Some(1_000_000_001)),
            ("", None),
            (".", None),
            ("-1", None),
            ("x", None),
            ("1e3", None),
        ] {
            assert_eq!(nano_cpus(text).ok(), want, "{text}");
        }
    }

    #[test]
    fn hosts_are_read_in_both_spellings() {
        for (text, good) in [
            ("a:1.2.3.4", true),
            ("a=1.2.3.4", true),
            ("a:::1", true),
            ("a=[::1]", true),
            ("a", false),
            (":1.2.3.4", false),
            ("a:b", false),
        ] {
            assert_eq!(host(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn ulimits_are_read() {
        let limit = ulimit("nofile=1024:2048").unwrap();
        assert_eq!((limit.resource, limit.soft, limit.hard), (7, 1024, 2048));
        assert_eq!(ulimit("core=-1").unwrap().hard, u64::MAX);
        for wrong in ["nofile", "nofile=2:1", "nope=1", "nofile=x"] {
            assert!(ulimit(wrong).is_err(), "{wrong}");
        }
    }
}
