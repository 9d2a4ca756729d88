//! A shell at any step of a build, without anything having failed.

use std::str::FromStr;

use super::error::Error;
use super::graph::{Graph, Op, VertexId};
use super::plan::cut::{self, Cut, Point};
use super::scene::{Scene, Set, Stands, Visitor};
use super::solve::Solver;
use super::{BuildRequest, Cancel, Job, Order, Work};
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
    let job = Job {
        request: &request.build,
        sink,
        cancel,
        visitor,
    };
    job.run(store, &|work| work.look(request))
}

impl Work<'_> {
    fn look(&mut self, debug: &DebugRequest) -> Result<(), Error> {
        let request = &debug.build;
        let host = Platform::host();
        let order = Order {
            request,
            platform: match request.platforms.as_slice() {
                [] => &host,
                [one] => one,
                _ => {
                    let why = "a shell needs one platform, not several";
                    return Err(Error::Unsupported(why.to_owned()));
                }
            },
            several: false,
        };
        let cut = self.find(debug)?;
        let (mut graph, epoch) = self.plan(&order, Some(cut))?;
        self.warn(&graph);
        let probe = graph.vertices.last().map(|probe| probe.name.clone());
        let ending = cut::take_ending(&mut graph)
            .ok_or_else(|| Error::Scene("there is no such step".to_owned()))?;
        let tools = self.tools(&order, epoch);
        let first = self.numbers.take(graph.vertices.len() + 1);
        let text = &self.input.source.text;
        let solver = Solver::new(&graph, &tools, first, text);
        let solved = solver.solve();
        let solved = solved.map_err(|failure| self.failed(&order, &graph, &tools, first, &failure));
        tools.failed.clear(self.store);
        let inputs = ending.inputs(&solved?);
        let count = u32::try_from(graph.vertices.len()).unwrap_or(u32::MAX - first);
        let set = Set {
            active: Active::begin(self.store, inputs.parent)?,
            inputs,
            step: StepId(first + count),
            title: self.redactor.text(&probe.unwrap_or_default()).into_owned(),
            stands: if debug.after || is_behind(&graph, cut, ending.parent) {
                Stands::After
            } else {
                Stands::Before
            },
        };
        let scene = Scene::new(&tools, ending.op, set);
        self.visitor.visit(&scene, None);
        if self.cancel.is_canceled() {
            return Err(Error::Canceled);
        }
        Ok(())
    }

    /// Where the plan ends for the step that was asked for.
    fn find(&self, debug: &DebugRequest) -> Result<Cut, Error> {
        let source = &self.input.source;
        let dockerfile = &self.parsed.dockerfile;
        let stage = |name: Option<&str>| {
            cut::stage_index(dockerfile, name.or(debug.build.target.as_deref()))
        };
        let found = match &debug.step {
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
            after: debug.after,
            probe: true,
        })
    }
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
