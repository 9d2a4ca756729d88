//! Values of the flags of `run` and `create`.

use std::io::Read;
use std::path::Path;

use rbuild::engine::Ulimit;

use crate::cli::values;

/// Longest file of variables or labels that is read.
const FILE_LIMIT: u64 = 16 << 20;

/// Resource limits, with the names that the user wrote.
pub(super) fn ulimits(texts: &[String]) -> Result<Vec<Ulimit>, String> {
    let parse = |text: &String| {
        let name = text.split('=').next().unwrap_or_default().to_owned();
        values::ulimit(text).map(|limit| Ulimit { name, limit })
    };
    texts.iter().map(parse).collect()
}

/// `0.5` to 500,000,000.
pub(super) fn nano_cpus(text: &str) -> Result<u64, String> {
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

/// The lines of a file of variables or labels, without remarks and empty ones.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, String> {
    let failed = |err: std::io::Error| format!("open {}: {err}", path.display());
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(FILE_LIMIT)
        .read_to_string(&mut text)
        .map_err(failed)?;
    let lines = text.trim_start_matches('\u{feff}').lines();
    Ok(lines
        .map(str::trim_start)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect())
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
}
