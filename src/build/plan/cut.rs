//! Plans that end early: at a step that is to be looked into.
//!
//! Such a plan is the same as the whole one up to its end, so that everything
//! on the way there comes from the cache.

use super::Planner;
use super::error::{PlanError, nearest};
use super::stage::{StageState, makes_step};
use crate::build::graph::{Graph, HistoryItem, Op, RunOp, VertexId};
use crate::build::ops::run::Inputs;
use crate::build::solve::Solved;
use crate::dockerfile::{Command, Dockerfile, Form, Instruction, Located, Run, RunFlags, Span};

/// Where a plan ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build) struct Cut {
    /// The stage, by its index.
    pub(in crate::build) stage: usize,
    /// The place in the stage.
    pub(in crate::build) point: Point,
    /// Whether the instruction at that place belongs to the plan.
    pub(in crate::build) after: bool,
    /// Whether the plan ends with a RUN of the stage's shell, with the mounts and
    /// the network of the instruction where that is a RUN.
    pub(in crate::build) probe: bool,
}

/// A place in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build) enum Point {
    /// `FROM`, which always belongs to the plan.
    From,
    /// The instruction that progress shows under this number.
    Step(usize),
    /// An instruction of the stage's own, by its index.
    Own(usize),
    /// An instruction by its index, the triggers of the base image counted in.
    At(usize),
    /// Behind the last instruction.
    End,
}

/// The instruction that a vertex belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build) struct Place {
    /// The stage, by its index.
    pub(in crate::build) stage: usize,
    /// Which of its instructions, the triggers of the base image counted in.
    pub(in crate::build) at: usize,
}

/// An instruction in its stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) stage: usize,
    /// Its index, triggers of the base image counted in.
    pub(super) at: usize,
    /// Its index among the stage's own; `None` for a trigger.
    pub(super) own: Option<usize>,
    /// Where mistakes in it are shown.
    pub(super) span: Span,
}

impl Planner<'_, '_> {
    /// Applies an instruction, unless the plan ends before it. Whether the plan ends here.
    pub(super) fn pass(
        &mut self,
        position: Position,
        instruction: &Located<Instruction>,
        stage: &mut StageState,
    ) -> Result<bool, PlanError> {
        let Position {
            stage: index, at, ..
        } = position;
        let cut = self.cut_of(index).filter(|cut| match cut.point {
            Point::From | Point::End => false,
            Point::Step(number) => makes_step(&instruction.value) && stage.steps.0 + 1 == number,
            Point::Own(own) => position.own == Some(own),
            Point::At(wanted) => at == wanted,
        });
        if cut.is_none_or(|cut| cut.after) {
            let checks = self.request.checks;
            checks.enter(instruction, position.span);
            let result = self.instruction(index, stage, instruction, position.span);
            checks.report_unset(stage);
            self.note_used(index, stage, &instruction.value, position.span);
            result.map_err(|mut err| {
                if position.own.is_none() || err.span == Span::default() {
                    err.span = position.span;
                }
                err
            })?;
            self.note_places(Place { stage: index, at });
        }
        let Some(cut) = cut else {
            return Ok(false);
        };
        let flags = match &instruction.value {
            Instruction::Run(run) => run.flags.clone(),
            _ => RunFlags::default(),
        };
        let counted = makes_step(&instruction.value);
        let number = counted.then_some(stage.steps.0 + usize::from(!cut.after));
        let title = stage.title(number, &instruction.text);
        self.end(cut, stage, flags, position.span, &title)?;
        Ok(true)
    }

    fn cut_of(&self, index: usize) -> Option<Cut> {
        self.request.cut.filter(|cut| cut.stage == index)
    }

    /// Whether the plan ends with the `FROM` of this stage.
    pub(super) fn ends_with_from(
        &mut self,
        index: usize,
        stage: &mut StageState,
    ) -> Result<bool, PlanError> {
        let Some(cut) = self.cut_of(index) else {
            return Ok(false);
        };
        // An image is a step of the stage that names it.
        let is_it = match cut.point {
            Point::From => true,
            Point::Step(number) => number == 1 && stage.steps.0 == 1,
            _ => false,
        };
        if is_it {
            let from = &self.request.dockerfile.stages[index].from;
            let title = stage.title((stage.steps.0 == 1).then_some(1), &from.text);
            self.end(cut, stage, RunFlags::default(), from.span, &title)?;
        }
        Ok(is_it)
    }

    /// The end of a stage, which may be the place where the plan is to end.
    pub(super) fn reach_end(
        &mut self,
        index: usize,
        stage: &mut StageState,
    ) -> Result<(), PlanError> {
        let Some(cut) = self.cut_of(index) else {
            return Ok(());
        };
        let from = &self.request.dockerfile.stages[index].from;
        let Point::Step(number) = cut.point else {
            let title = stage.title(None, "the end of the stage");
            return self.end(cut, stage, RunFlags::default(), from.span, &title);
        };
        let name = from.value.name.as_ref();
        let name = name.map_or_else(|| index.to_string(), |name| name.text.clone());
        let message = format!("stage {name:?} has no step {number}");
        let hint = match stage.steps.1 {
            0 => "it has no steps".to_owned(),
            last => format!("its steps are numbered up to {last}"),
        };
        Err(PlanError::new(from.span, message).with_hint(Some(hint)))
    }

    /// The end of a plan that is cut: with a shell, if one was asked for.
    fn end(
        &mut self,
        cut: Cut,
        stage: &mut StageState,
        flags: RunFlags,
        span: Span,
        title: &str,
    ) -> Result<(), PlanError> {
        if !cut.probe {
            return Ok(());
        }
        // Flags of the shell, such as `-c` or `-e`, are for a script.
        let shell = stage.shell().into_iter().take(1).collect();
        let run = Run {
            flags,
            command: Command {
                form: Form::Exec(shell),
                span,
            },
            heredocs: Vec::new(),
        };
        self.run(cut.stage, stage, &run, "RUN", span)?;
        if let Some(probe) = self.vertices.last_mut() {
            title.clone_into(&mut probe.name);
        }
        Ok(())
    }

    /// Remembers which instruction the vertices made since belong to.
    pub(super) fn note_places(&mut self, place: Place) {
        let missing = self.vertices.len().saturating_sub(self.places.len());
        self.places
            .extend(std::iter::repeat_n(Some(place), missing));
    }

    /// Vertices made so far belong to no instruction, unless noted before.
    pub(super) fn skip_places(&mut self) {
        self.places.resize(self.vertices.len(), None);
    }
}

impl StageState {
    /// `[build 2/5] RUN make` for an instruction that need not be a step.
    fn title(&self, number: Option<usize>, text: &str) -> String {
        let place = match number {
            Some(number) => format!("{}{number}/{}", self.label, self.steps.1),
            None => self.label.trim_end().to_owned(),
        };
        if place.is_empty() {
            text.to_owned()
        } else {
            format!("[{place}] {text}")
        }
    }
}

impl Graph {
    /// The shell of the stage that the plan ends in, as one to type into.
    pub(in crate::build) fn shell(&self) -> Vec<String> {
        match self.config.config.shell.first() {
            Some(shell) => vec![shell.clone()],
            None => vec!["/bin/sh".to_owned()],
        }
    }
}

impl Planner<'_, '_> {
    /// How many of a stage's own instructions can be part of the plan.
    pub(super) fn reach(&self, index: usize) -> usize {
        let Some(cut) = self.cut_of(index) else {
            return usize::MAX;
        };
        let instructions = &self.request.dockerfile.stages[index].instructions;
        match cut.point {
            Point::From => 0,
            // With the base image counted as one this is more than enough.
            Point::Step(number) => instructions
                .iter()
                .enumerate()
                .filter(|(_, one)| makes_step(&one.value))
                .nth(number.saturating_sub(1))
                .map_or(usize::MAX, |(at, _)| at + 1),
            Point::Own(at) | Point::At(at) => at.saturating_add(1),
            Point::End => usize::MAX,
        }
    }
}

/// The stage that a text names, by name or by number from 0 on; the last one
/// where there is none.
pub(in crate::build) fn stage_index(
    dockerfile: &Dockerfile,
    name: Option<&str>,
) -> Result<usize, PlanError> {
    let stages = &dockerfile.stages;
    let Some(last) = stages.len().checked_sub(1) else {
        let why = "dockerfile contains no stages to build";
        return Err(PlanError::new(Span::default(), why));
    };
    let Some(wanted) = name else {
        return Ok(last);
    };
    let names = stages.iter().map(|stage| {
        let name = stage.from.value.name.as_ref();
        name.map_or("", |name| name.text.as_str())
    });
    let names: Vec<&str> = names.collect();
    let by_name = names
        .iter()
        .rposition(|own| own.eq_ignore_ascii_case(wanted));
    let by_number = || wanted.parse().ok().filter(|index| *index <= last);
    by_name.or_else(by_number).ok_or_else(|| {
        let message = format!("target stage {wanted:?} could not be found");
        PlanError::new(stages[last].from.span, message).with_hint(nearest(wanted, &names))
    })
}

/// The stage and place of the instruction that stands in a line, counted from 1.
pub(in crate::build) fn at_line(
    dockerfile: &Dockerfile,
    text: &str,
    line: usize,
) -> Result<(usize, Point), PlanError> {
    let lines = |span: Span| {
        let last = text.get(span.start..span.end).unwrap_or_default();
        let first = span.line(text);
        first..=first + last.trim_end().matches('\n').count()
    };
    for (index, stage) in dockerfile.stages.iter().enumerate() {
        if lines(stage.from.span).contains(&line) {
            return Ok((index, Point::From));
        }
        let mut own = stage.instructions.iter();
        if let Some(at) = own.position(|one| lines(one.span).contains(&line)) {
            return Ok((index, Point::Own(at)));
        }
    }
    let message = format!("there is no instruction of a stage in line {line}");
    Err(PlanError::new(Span::default(), message))
}

/// The RUN that a plan ends with.
#[derive(Debug)]
pub(in crate::build) struct Ending {
    /// What it does.
    pub(in crate::build) op: RunOp,
    /// The tree that it works on.
    pub(in crate::build) parent: Option<VertexId>,
    /// Its line in the history.
    pub(in crate::build) item: HistoryItem,
}

impl Ending {
    /// What it runs on, once all that is built.
    pub(in crate::build) fn inputs(&self, solved: &Solved) -> Inputs {
        let tree = |id: Option<VertexId>| id.and_then(|id| solved.result(id));
        Inputs {
            parent: tree(self.parent),
            mounts: self
                .op
                .mounts
                .iter()
                .map(|mount| tree(mount.from()))
                .collect(),
        }
    }
}

/// Takes the RUN that a cut plan ends with out of it; its inputs are what is to
/// be built. `None` when it does not end with one.
pub(in crate::build) fn take_ending(graph: &mut Graph) -> Option<Ending> {
    let last = VertexId(graph.vertices.len().checked_sub(1)?);
    if graph.target != Some(last) || !matches!(graph.vertices[last.0].op, Op::Run(_)) {
        return None;
    }
    let vertex = graph.vertices.pop()?;
    graph.places.truncate(graph.vertices.len());
    graph.required = vertex.inputs().collect();
    graph
        .required
        .extend(graph.after.remove(&last.0).into_iter().flatten());
    graph.uncached.remove(&last.0);
    graph.target = vertex.parent;
    let item = graph.history.pop()?;
    let Op::Run(op) = vertex.op else {
        return None;
    };
    Some(Ending {
        op,
        parent: vertex.parent,
        item,
    })
}
