//! A shell at any step of a build, without anything having failed.

use std::str::FromStr;

use super::aftermath::Aftermath;
use super::error::{Error, Source};
use super::graph::{Graph, Op, VertexId};
use super::ops::Tools;
use super::plan::cut::{self, Cut, Point};
use super::redact::{RedactedSink, Redactor};
use super::scene::{Scene, Set, Stands, Visitor};
use super::solve::Solver;
use super::{BuildRequest, Cancel, FIRST_STEP, Place, Steps, input, make_plan, parse, plan};
use crate::dockerfile::Dockerfile;
use crate::oci::Platform;
use crate::progress::{Sink, StepId};
use crate::snapshot::Active;
use crate::store::Store;

/// What is to be looked into.
#[derive(Debug, Clone)]
pub struct DebugRequest {
    /// The build.
    pub build: BuildRequest,
    /// The step.
    pub step: StepAddress,
    /// Whether the step is to be done before: the shell is then behind it.
    pub after: bool,
}

/// Names a step of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StepAddress {
    /// Behind the last instruction of the target.
    #[default]
    End,
    /// The step that progress shows under this number in its stage; in the
    /// target where no stage is named.
    Number {
        /// The stage, by name or number.
        stage: Option<String>,
        /// The number.
        number: usize,
    },
    /// The instruction that stands in this line, counted from 1.
    Line(usize),
}

/// A text that names no step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `NUMBER`, `STAGE:NUMBER` or `:LINE`")]
pub struct ParseStepError;

impl FromStr for StepAddress {
    type Err = ParseStepError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|number| digits && *number > 0);
            number.ok_or(ParseStepError)
        };
        match text.rsplit_once(':') {
            None => Ok(Self::Number {
                stage: None,
                number: number(text)?,
            }),
            // As errors have it: `Dockerfile:7`.
            Some(("" | "Dockerfile" | "line", line)) => Ok(Self::Line(number(line)?)),
            Some((stage, step)) => Ok(Self::Number {
                stage: Some(stage.to_owned()),
                number: number(step)?,
            }),
        }
    }
}

/// Builds what a step stands on and lets `visitor` into its sandbox.
pub fn debug(
    store: &Store,
    request: &DebugRequest,
    sink: &dyn Sink,
    cancel: &Cancel,
    visitor: &dyn Visitor,
) -> Result<(), Error> {
    let scratch = store.temp_dir()?;
    let steps = Steps { sink };
    let mut input = steps.open(store, &request.build, scratch.path())?;
    let redactor = Redactor::new(&request.build.steps.secrets);
    let sink = RedactedSink {
        redactor: &redactor,
        sink,
    };
    let place = Place {
        input: &input,
        scratch: scratch.path(),
        redactor: &redactor,
    };
    let tools = place.tools(store, &request.build, &sink, cancel);
    let result = look(&tools, request, &input, &steps, visitor);
    super::close(tools);
    for context in &mut input.contexts {
        context.save();
    }
    result
}

fn look(
    tools: &Tools<'_>,
    request: &DebugRequest,
    input: &input::Input,
    steps: &Steps<'_>,
    visitor: &dyn Visitor,
) -> Result<(), Error> {
    let source = &input.source;
    let dockerfile = parse(source)?;
    let cut = find(request, source, &dockerfile)?;
    let mut graph = make_plan(tools.store, &request.build, source, &dockerfile, Some(cut))?;
    steps.warn(&graph, source);
    let probe = graph.vertices.last().map(|probe| probe.name.clone());
    let ending = cut::take_ending(&mut graph)
        .ok_or_else(|| Error::Scene("there is no such step".to_owned()))?;
    let solved = Solver::new(&graph, tools, FIRST_STEP).solve();
    let solved = solved.map_err(|failure| {
        let error = Error::step(source, &failure, tools.redactor);
        let replan = |cut| make_plan(tools.store, &request.build, source, &dockerfile, Some(cut));
        let aftermath = Aftermath {
            tools,
            first_step: FIRST_STEP,
            replan: &replan,
        };
        let left = aftermath.attend(&graph, &failure, &error, visitor);
        error.leaving(left)
    })?;
    let inputs = ending.inputs(&solved);
    let count = u32::try_from(graph.vertices.len()).unwrap_or(u32::MAX - FIRST_STEP);
    let set = Set {
        active: Active::begin(tools.store, inputs.parent)?,
        inputs,
        step: StepId(FIRST_STEP + count),
        title: tools.redactor.text(&probe.unwrap_or_default()).into_owned(),
        stands: if request.after || is_behind(&graph, cut, ending.parent) {
            Stands::After
        } else {
            Stands::Before
        },
    };
    visitor.visit(&Scene::new(tools, ending.op, set), None);
    if tools.cancel.is_canceled() {
        return Err(Error::Canceled);
    }
    Ok(())
}

/// Whether a cut is behind its step even though it was not asked to be: nothing
/// is before a `FROM`.
fn is_behind(graph: &Graph, cut: Cut, parent: Option<VertexId>) -> bool {
    match cut.point {
        Point::End | Point::From => true,
        Point::Step(1) => parent.is_some_and(|id| matches!(graph.vertices[id.0].op, Op::Image(_))),
        _ => false,
    }
}

/// Where the plan ends for the step that was asked for.
fn find(request: &DebugRequest, source: &Source, dockerfile: &Dockerfile) -> Result<Cut, Error> {
    let build = &request.build;
    let plan_request = plan::Request {
        dockerfile,
        build_args: &build.build_args,
        target: build.target.as_deref(),
        platform: &build.platform.clone().unwrap_or_else(Platform::host),
        network: build.network,
        allow: &build.steps.allow,
        cut: None,
    };
    let stage = |name: Option<&str>| cut::stage_index(&plan_request, name);
    let found = match &request.step {
        StepAddress::End => stage(None).map(|stage| (stage, Point::End)),
        StepAddress::Number {
            stage: name,
            number,
        } => stage(name.as_deref()).map(|stage| (stage, Point::Step(*number))),
        StepAddress::Line(line) => cut::at_line(dockerfile, &source.text, *line),
    };
    let (stage, point) = found.map_err(|err| Error::plan(source, err))?;
    Ok(Cut {
        stage,
        point,
        after: request.after,
        probe: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(stage: Option<&str>, number: usize) -> StepAddress {
        StepAddress::Number {
            stage: stage.map(str::to_owned),
            number,
        }
    }

    #[test]
    fn steps_are_named_by_number_stage_or_line() {
        assert_eq!("3".parse(), Ok(number(None, 3)));
        assert_eq!("build:3".parse(), Ok(number(Some("build"), 3)));
        assert_eq!("0:3".parse(), Ok(number(Some("0"), 3)));
        assert_eq!(":12".parse(), Ok(StepAddress::Line(12)));
        assert_eq!("Dockerfile:12".parse(), Ok(StepAddress::Line(12)));
        for wrong in ["", "0", "x", "build:", "build:0", ":", "+3", "1:x"] {
            assert_eq!(wrong.parse::<StepAddress>(), Err(ParseStepError), "{wrong}");
        }
    }
}
