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
