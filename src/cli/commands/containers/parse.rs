//! Values of the flags of `run` and `create`.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
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

/// Addresses of name servers.
pub(super) fn addresses(texts: &[String]) -> Result<Vec<String>, String> {
    let parse = |text: &String| match text.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => Err(format!(
            "invalid argument \"{text}\" for \"--dns\" flag: IP address is not correctly formatted: {text}"
        )),
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
