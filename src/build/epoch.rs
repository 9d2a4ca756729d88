//! `SOURCE_DATE_EPOCH`: the moment that a reproducible build calls now.
//!
//! Source: reproducible-builds.org, "SOURCE_DATE_EPOCH specification", and
//! BuildKit's reading of it: a number of seconds, or the name of what has one.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use super::Error;
use super::fetch::Fetcher;
use super::graph::Op;
use super::plan::{self, Named, PlanError};
use crate::dockerfile::{Dockerfile, Instruction, Stage};
use crate::fs::{At, PathError};
use crate::layer::{Limits, TarReader, decompress, walk_tree};
use crate::remote::git;

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

/// What a context is fetched with; `None` for a local one, which has no time of its own.
pub(super) fn op_of_context(named: &Named) -> Option<Op> {
    match named {
        Named::Http(op) => Some(Op::Http(op.clone())),
        Named::Git(source) => Some(Op::Git(source.clone())),
        Named::Empty | Named::Local(_) | Named::Image(_) | Named::Stage(_) => None,
    }
}

/// What the only `ADD` of a stage is fetched with.
pub(super) fn op_of_stage(
    request: &plan::Request<'_>,
    index: usize,
    images: &mut plan::Images<'_>,
) -> Result<Op, PlanError> {
    let target = index.to_string();
    // The stage itself may not depend on the moment that it gives.
    let build_args = resolved(request.build_args, None);
    let request = plan::Request {
        target: Some(&target),
        build_args: &build_args,
        ..*request
    };
    let graph = plan::plan(&request, images)?;
    let mut ops = graph.vertices.into_iter().map(|vertex| vertex.op);
    ops.find(Op::is_remote).ok_or_else(|| {
        let span = request.dockerfile.stages[index].from.span;
        PlanError::new(
            span,
            "SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD",
        )
    })
}

/// When what `op` fetches was made: the time of a commit, `Last-Modified` of a file, or
/// else the youngest time in an archive; in seconds since 1970.
pub(super) fn time_of(fetcher: &Fetcher<'_>, op: Op) -> Result<Option<i64>, Error> {
    match op {
        Op::Git(source) => {
            let source = git::Source {
                keep_git_dir: false,
                mtime_of_checkout: false,
                ..source
            };
            let text = format!("fetch {}", source.shown());
            let dir = fetcher.tree(Op::Git(source), text, false)?;
            let mut latest = None;
            // A checkout is as old as its commit.
            walk_tree(&dir, &mut |entry, _| {
                latest = latest.max(Some(entry.mtime));
                Ok::<(), PathError>(())
            })?;
            Ok(latest)
        }
        Op::Http(op) => {
            let text = format!("download {}", op.url);
            let path = fetcher
                .tree(Op::Http(op.clone()), text, false)?
                .join(&op.name);
            let file = File::open(&path).at("open", &path)?;
            let mtime = file.metadata().at("read", &path)?.mtime();
            // A file without a date is of 1970.
            if mtime > 0 {
                return Ok(Some(mtime));
            }
            Ok(youngest(file))
        }
        _ => Ok(None),
    }
}

/// The youngest time in an archive; `None` for what is none.
fn youngest(file: File) -> Option<i64> {
    let (_, mut plain) = decompress(file).ok()?;
    let mut tar = TarReader::new(&mut plain, Limits::default());
    let mut latest = None;
    while let Some(entry) = tar.next_entry().ok()? {
        latest = latest.max(Some(entry.mtime));
    }
    latest
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
