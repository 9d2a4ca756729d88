//! `SOURCE_DATE_EPOCH`: the moment that a reproducible build calls now.
//!
//! Source: reproducible-builds.org, "SOURCE_DATE_EPOCH specification", and
//! BuildKit's reading of it: a number of seconds, or the name of what has one.

use std::collections::BTreeMap;

use super::plan::{self, PlanError};
use crate::dockerfile::{Dockerfile, Instruction, Stage};

/// The build argument.
const NAME: &str = "SOURCE_DATE_EPOCH";

/// What the argument leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Epoch {
    /// It is not given, or what it names has no time of its own.
    None,
    /// Seconds since 1970.
    At(i64),
    /// The time of the context with this name; `context` is the main one.
    OfContext(String),
    /// The time of what the only `ADD` of this stage brings.
    OfStage(usize),
}

/// Reads the argument: of the command line, or else of the Dockerfile's global `ARG`s.
pub(super) fn wanted(
    request: &plan::Request<'_>,
    is_context: &dyn Fn(&str) -> bool,
) -> Result<Epoch, PlanError> {
    let Some((value, span)) = plan::global_argument(request, NAME)? else {
        return Ok(Epoch::None);
    };
    if value.is_empty() {
        return Ok(Epoch::None);
    }
    if let Ok(seconds) = value.parse::<i64>() {
        return Ok(Epoch::At(seconds));
    }
    if value == "context" || is_context(&value) {
        return Ok(Epoch::OfContext(value));
    }
    match stage_named(request.dockerfile, &value) {
        Some(index) => {
            check_stage(&request.dockerfile.stages[index])?;
            Ok(Epoch::OfStage(index))
        }
        None => Err(
            PlanError::new(span.unwrap_or_default(), format!("invalid {NAME}: {value}")).with_hint(
                Some(
                    "give seconds since 1970, `context`, or the name of a context or a stage"
                        .to_owned(),
                ),
            ),
        ),
    }
}

/// The build arguments with what the argument was found to be.
pub(super) fn resolved(
    arguments: &BTreeMap<String, String>,
    epoch: Option<i64>,
) -> BTreeMap<String, String> {
    let mut arguments = arguments.clone();
    let value = epoch.map(|seconds| seconds.to_string());
    arguments.insert(NAME.to_owned(), value.unwrap_or_default());
    arguments
}

/// As BuildKit looks for it, letter case ignored.
fn stage_named(dockerfile: &Dockerfile, name: &str) -> Option<usize> {
    dockerfile.stages.iter().position(|stage| {
        let own = stage.from.value.name.as_ref();
        own.is_some_and(|own| own.text.eq_ignore_ascii_case(name))
    })
}

/// A stage has a time when it is nothing but one thing from elsewhere.
fn check_stage(stage: &Stage) -> Result<(), PlanError> {
    let one_add = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD";
    if stage.from.value.base.text != "scratch" {
        return Err(PlanError::new(
            stage.from.span,
            "SOURCE_DATE_EPOCH stage must use FROM scratch",
        ));
    }
    let mut adds = 0;
    for instruction in &stage.instructions {
        let refuse = |message: &str| Err(PlanError::new(instruction.span, message));
        match &instruction.value {
            Instruction::Arg(_) => {}
            Instruction::Add(add) => {
                adds += 1;
                if adds > 1 {
                    return refuse(one_add);
                }
                if add.sources.len() != 1 || !add.heredocs.is_empty() {
                    return refuse(&format!("{one_add} source"));
                }
            }
            other => {
                return refuse(&format!(
                    "SOURCE_DATE_EPOCH stage does not meet source-only requirements: \
                     unsupported {} instruction",
                    other.keyword().to_lowercase()
                ));
            }
        }
    }
    if adds == 0 {
        return Err(PlanError::new(stage.from.span, one_add));
    }
    Ok(())
}
