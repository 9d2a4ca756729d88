//! Files that tell of a result: its ID, and facts for other programs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rbuild::build::BuildResult;
use rbuild::engine::Config;
use rbuild::fs::{At, PathError, replace};
use serde_json::{Map, Value, json};

use crate::cli::report::Failure;

/// The variable that asks for warnings among the facts.
const WARNINGS: &str = "BUILDX_METADATA_WARNINGS";

/// Writes a file that appears whole, readable for everybody. What is no regular
/// file is written to as it is.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), PathError> {
    let special = std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir());
    if special {
        return std::fs::write(path, bytes).at("write", path);
    }
    let whole = match path.parent() {
        Some(dir) if dir == Path::new("") => Path::new(".").join(path),
        _ => path.to_owned(),
    };
    replace(&whole, bytes)?;
    let mode = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&whole, mode).at("set the mode of", &whole)
}

/// The facts, in the words of buildx' `--metadata-file`.
pub(super) fn document(
    result: &BuildResult,
    warnings: &[String],
    config: &Config,
) -> Result<Vec<u8>, Failure> {
    let mut facts = Map::new();
    facts.insert("buildx.build.ref".to_owned(), reference().into());
    let asked = config.environment.get(WARNINGS);
    if asked.is_some_and(|value| ["1", "true"].contains(&value.as_str())) {
        let warnings = warnings
            .iter()
            .map(|text| json!({"level": 1, "short": text}));
        let warnings: Vec<Value> = warnings.collect();
        facts.insert("buildx.build.warnings".to_owned(), warnings.into());
    }
    if let Some(id) = result.image {
        let id = id.to_string();
        facts.insert("containerimage.config.digest".to_owned(), id.into());
    }
    if let Some(descriptor) = &result.descriptor {
        let value = serde_json::to_value(descriptor)
            .map_err(|err| Failure::new(1, format!("cannot write the facts: {err}")))?;
        facts.insert("containerimage.descriptor".to_owned(), value);
        let digest = descriptor.digest.to_string();
        facts.insert("containerimage.digest".to_owned(), digest.into());
    }
    if !result.names.is_empty() {
        let names: Vec<String> = result.names.iter().map(ToString::to_string).collect();
        facts.insert("image.name".to_owned(), names.join(",").into());
    }
    serde_json::to_vec_pretty(&facts)
        .map_err(|err| Failure::new(1, format!("cannot write the facts: {err}")))
}

/// Names this run of a build: builder, node, and a number of its own.
fn reference() -> String {
    let moment = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |age| age.as_nanos());
    let name = format!("{moment} {}", std::process::id());
    let id = rbuild::oci::Digest::of(name.as_bytes()).hex();
    format!("rbuild/rbuild/{}", &id[..25])
}
