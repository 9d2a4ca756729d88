//! `--call`: questions about a Dockerfile that need no build.
//!
//! Texts and JSON are those of BuildKit's subrequests as buildx shows them.

mod describe;
mod json;
mod lint;
mod outline;
mod targets;

use rbuild::build::{self, BuildRequest};
use rbuild::engine::Engine;

use super::later::unavailable;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// A question as it was typed: `check,format=json`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    name: String,
    is_json: bool,
    /// Warnings of the checks do not make the command fail.
    ignore_status: bool,
}

impl Call {
    /// Reads a question; `None` for one that asks to build.
    pub(super) fn read(text: &str) -> Result<Option<Self>, Failure> {
        let wrong = |message: String| Failure::new(1, message);
        let mut call = Self {
            name: String::new(),
            is_json: false,
            ignore_status: false,
        };
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("format", "json")) => call.is_json = true,
                Some(("format", "" | "text")) => call.is_json = false,
                Some(("format", other)) => {
                    let message = format!("invalid format `{other}` for --call: use text or json");
                    return Err(wrong(message));
                }
                Some(("ignorestatus", value)) => {
                    call.ignore_status = rbuild::dockerfile::boolean(value).ok_or_else(|| {
                        wrong(format!("invalid ignorestatus print value: {value}"))
                    })?;
                }
                Some(_) => return Err(wrong(format!("invalid print field: {field}"))),
                None if call.name.is_empty() => field.clone_into(&mut call.name),
                None => return Err(wrong(format!("invalid print value: {text}"))),
            }
        }
        match call.name.as_str() {
            "" | "build" => Ok(None),
            "check" | "lint" | "targets" | "outline" | "subrequests.describe" => Ok(Some(call)),
            name => Err(unavailable(&format!("--call={name}"))
                .with_hint("`--call=subrequests.describe` lists what can be asked")),
        }
    }
}

/// Answers a question. Returns the exit code.
pub(super) fn run(
    call: &Call,
    request: &BuildRequest,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    if call.name == "subrequests.describe" {
        describe::answer(call.is_json, output)?;
        return Ok(0);
    }
    let checked = engine
        .check(request)
        .map_err(|error| super::failure(&error, String::new(), output.colors()))?;
    match (call.name.as_str(), &checked.error) {
        // A list of the stages needs nothing but the text.
        ("targets", Some(error @ build::Error::Parse { .. })) | ("outline", Some(error)) => {
            return Err(super::build_failure(error, String::new(), output.colors()));
        }
        ("targets", _) => targets::answer(&checked, call.is_json, output)?,
        ("outline", None) => outline::answer(&checked, call.is_json, output)?,
        _ => {
            let code = lint::answer(&checked, call.is_json, output)?;
            return Ok(if call.ignore_status { 0 } else { code });
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(String, bool, bool)> {
        let call = Call::read(text).unwrap()?;
        Some((call.name, call.is_json, call.ignore_status))
    }

    #[test]
    fn questions_have_fields() {
        assert_eq!(read("build"), None);
        assert_eq!(read(""), None);
        assert_eq!(read("check"), Some(("check".to_owned(), false, false)));
        assert_eq!(
            read("lint,format=json,ignorestatus=true"),
            Some(("lint".to_owned(), true, true))
        );
        assert_eq!(
            read("format=text,outline"),
            Some(("outline".to_owned(), false, false))
        );
        for wrong in ["check,outline", "x", "check,a=b", "check,format=xml"] {
            assert!(Call::read(wrong).is_err(), "{wrong}");
        }
    }
}
