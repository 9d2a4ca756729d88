//! Values of the flags of `run` and `create`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

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

/// Security options, with the content of a system call profile in its file's place.
pub(super) fn security_options(
    options: &[String],
    directory: &Path,
) -> Result<Vec<String>, String> {
    let read = |option: &String| {
        let named = option
            .strip_prefix("seccomp=")
            .or_else(|| option.strip_prefix("seccomp:"));
        let Some(path) = named.filter(|path| !matches!(*path, "unconfined" | "builtin")) else {
            return Ok(option.clone());
        };
        let failed = |err: std::io::Error| {
            let why = match err.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => err.to_string(),
            };
            format!("opening seccomp profile ({path}) failed: open {path}: {why}")
        };
        let file = std::fs::File::open(directory.join(path)).map_err(failed)?;
        let mut text = String::new();
        file.take(FILE_LIMIT)
            .read_to_string(&mut text)
            .map_err(failed)?;
        Ok(format!("seccomp={text}"))
    };
    options.iter().map(read).collect()
}

/// Variables from files, then from flags; a bare name takes its value from
/// `environment`, and is left out where that has none.
pub(super) fn variables(
    files: &[PathBuf],
    flags: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<Vec<String>, String> {
    let mut env = Vec::new();
    let mut add = |text: &str| {
        let variable = values::variable(text, environment);
        env.extend(variable.map(|(name, value)| format!("{name}={value}")));
    };
    for path in files {
        for line in lines(path)? {
            let name = line.split('=').next().unwrap_or_default();
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(format!(
                    "poorly formatted environment: variable '{name}' contains whitespaces"
                ));
            }
            add(&line);
        }
    }
    for text in flags {
        if text.is_empty() || text.starts_with('=') {
            return Err(format!("invalid environment variable: {text}"));
        }
        add(text);
    }
    Ok(env)
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

/// The address of a name server.
pub(super) fn name_server(text: &str) -> Result<String, String> {
    let address: Result<std::net::IpAddr, _> = text.trim().parse();
    match address {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// A search domain; `.` is none.
pub(super) fn domain(text: &str) -> Result<String, String> {
    let trimmed = text.trim();
    let name = trimmed.strip_suffix('.').unwrap_or(trimmed);
    let label = |label: &str| {
        let good = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.chars().all(good) && !label.starts_with('-')
    };
    let letters = name.chars().any(char::is_alphabetic);
    match trimmed {
        "." => Ok(trimmed.to_owned()),
        _ if name.len() < 255 && letters && name.split('.').all(label) => Ok(name.to_owned()),
        _ => Err(format!("{text} is not a valid domain")),
    }
}

/// `NAME=VALUE` of a kernel setting.
pub(super) fn sysctl(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("sysctl '{text}' is not allowed")),
    }
}

/// Ports to be told of, each checked.
pub(super) fn exposed(texts: &[String]) -> Result<Vec<String>, String> {
    for text in texts {
        if text.contains(':') {
            return Err(format!("invalid port format for --expose: {text}"));
        }
        let ports = text.split('/').next().unwrap_or_default();
        let wrong =
            |why: String| format!("invalid range format for --expose: {text}, error: {why}");
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| {
            text.parse::<u16>().map_err(|err| {
                let why = match err.kind() {
                    std::num::IntErrorKind::PosOverflow => "value out of range",
                    _ => "invalid syntax",
                };
                wrong(format!("strconv.ParseUint: parsing \"{text}\": {why}"))
            })
        };
        if number(first)? > number(last)? {
            return Err(wrong(format!("invalid range specified for port: {ports}")));
        }
    }
    Ok(texts.to_vec())
}

/// A port to be published; the long form `target=80,published=8080` becomes the short one.
pub(super) fn published(text: &str) -> String {
    if !text.contains('=') {
        return text.to_owned();
    }
    let fields: BTreeMap<&str, &str> = text
        .split(',')
        .filter_map(|field| field.split_once('='))
        .collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default();
    let protocol = match field("protocol") {
        "" => "tcp",
        protocol => protocol,
    };
    format!("{}:{}/{protocol}", field("published"), field("target"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_domains_and_ports_are_checked() {
        assert!(name_server("8.8.8.8").is_ok() && name_server("::1").is_ok());
        assert!(name_server("").is_err() && name_server("bogus").is_err());
        assert_eq!(domain("example.com.").as_deref(), Ok("example.com"));
        assert!(domain(".").is_ok() && domain("corp").is_ok());
        assert!(domain("a b").is_err() && domain("").is_err() && domain("1.2").is_err());
        assert!(sysctl("net.x").is_err() && sysctl("net.x=1").is_ok());
        let expose = |text: &str| exposed(&[text.to_owned()]);
        for good in ["80", "80/udp", "80-82/tcp"] {
            assert!(expose(good).is_ok(), "{good}");
        }
        for wrong in ["", "x", "9-1", "99999", "1:2"] {
            assert!(expose(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            published("published=8080,target=80,protocol=udp"),
            "8080:80/udp"
        );
        assert_eq!(published("target=80"), ":80/tcp");
        assert_eq!(published("1:2"), "1:2");
    }
}
