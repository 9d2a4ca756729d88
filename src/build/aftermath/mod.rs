//! What is done when a step has failed: its tree is kept, files are brought out
//! of it, somebody looks into it.
//!
//! The step's surroundings come from a second plan of the same Dockerfile that
//! ends at this step. All that it needs was just built, so nothing runs again.

mod bring;
mod keep;

use std::path::PathBuf;

use super::error::{Error, StepError};
use super::graph::Graph;
use super::ops::Tools;
use super::ops::run::{self, Held, chain};
use super::plan::cut::{self, Cut, Place, Point};
use super::scene::{Scene, Set, Stands, Visitor};
use super::solve::Solver;
use crate::oci::{ImageId, Reference};
use crate::progress::StepId;
use crate::snapshot::{Active, View, layer_dirs, tree_bytes};
use crate::store::SnapshotId;

/// What to do when a step fails. In all cases the build fails with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Nothing more.
    #[default]
    Fail,
    /// Make an image of the step's tree.
    Keep,
    /// Let the visitor in.
    Shell,
}

/// Something to be brought out of a failed step's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BringOut {
    /// A path in the tree, with wildcards in each component; a relative one
    /// begins in the step's working directory.
    pub path: String,
    /// The directory of the host that it is put into; made if it is missing.
    pub directory: PathBuf,
}

/// What was left of a failed step.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// The image of its tree.
    pub image: Option<LeftImage>,
    /// What was brought out.
    pub brought: Vec<Brought>,
    /// What could not be done, and why.
    pub problems: Vec<String>,
}

/// The image of a failed step's tree.
#[derive(Debug, Clone)]
pub struct LeftImage {
    /// Its ID.
    pub id: ImageId,
    /// The name that it got.
    pub name: Reference,
    /// Whether it has an entrypoint, which stands in the way of a shell.
    pub has_entrypoint: bool,
}

/// What one wish to bring something out came to.
#[derive(Debug, Clone)]
pub struct Brought {
    /// Where it was, in the tree.
    pub from: String,
    /// Where it is.
    pub to: PathBuf,
    /// How many files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
}

/// Whether a failed step's tree is of any interest.
pub(super) fn is_wanted(request: &super::BuildRequest) -> bool {
    request.on_error != OnError::Fail || !request.export_failed.is_empty()
}

/// Makes plans that end early.
pub(super) type Replan<'a> = dyn Fn(Cut) -> Result<Graph, Error> + 'a;

/// A build of which a step failed.
pub(super) struct Aftermath<'a> {
    /// What the build works with.
    pub(super) tools: &'a Tools<'a>,
    /// Its first step's number.
    pub(super) first_step: u32,
    /// The text of the Dockerfile.
    pub(super) source: &'a str,
    /// Plans the same Dockerfile again.
    pub(super) replan: &'a Replan<'a>,
}

/// The step that failed.
struct Step<'a> {
    place: Place,
    title: String,
    /// The tree that its command left, if it came so far.
    held: Option<Held<'a>>,
}

impl<'a> Aftermath<'a> {
    /// Does what the request asks for. Problems with that hide no error.
    pub(super) fn attend(
        &self,
        graph: &Graph,
        failure: &StepError,
        error: &Error,
        visitor: &dyn Visitor,
    ) -> Left {
        let mut left = Left::default();
        let request = self.tools.request;
        if !is_wanted(request) || request.forget || failure.is_canceled() {
            return left;
        }
        self.tools.cancel.settle();
        let Some(vertex) = failure.vertex() else {
            return left;
        };
        let Some(place) = graph.places.get(vertex.0).copied().flatten() else {
            let why = "the step that failed has no tree to look into";
            left.problems.push(why.to_owned());
            return left;
        };
        let number = u32::try_from(vertex.0).unwrap_or(u32::MAX - self.first_step);
        let title = &graph.vertices[vertex.0].name;
        let step = Step {
            place,
            title: self.tools.redactor.text(title).into_owned(),
            held: self
                .tools
                .failed
                .take(self.tools.store, StepId(self.first_step + number)),
        };
        let count = u32::try_from(graph.vertices.len()).unwrap_or(u32::MAX - self.first_step);
        let free = self.first_step.saturating_add(count);
        if let Err(err) = self.look(step, free, error, visitor, &mut left) {
            left.problems
                .push(format!("cannot look into the failed step: {err}"));
        }
        left
    }

    /// Looks into the tree of a step: that which its command left or, where it
    /// has none, that which it was to work on. Steps that have to run for that
    /// are numbered from `free` on.
    fn look(
        &self,
        step: Step<'a>,
        free: u32,
        error: &Error,
        visitor: &dyn Visitor,
        left: &mut Left,
    ) -> Result<(), Error> {
        let tools = self.tools;
        let is_held = step.held.is_some();
        let mut graph = (self.replan)(Cut {
            stage: step.place.stage,
            point: Point::At(step.place.at),
            after: is_held,
            probe: !is_held,
        })?;
        let Some(ending) = cut::take_ending(&mut graph) else {
            return Err(Error::Scene("its place is lost".to_owned()));
        };
        let mut solved = Solver::new(&graph, tools, free, self.source)
            .again()
            .solve()
            .map_err(|err| Error::Scene(err.to_string()))?;
        let mut inputs = ending.inputs(&solved);
        let mut op = ending.op;
        let active = match step.held {
            Some(held) => {
                op.argv = graph.shell();
                op.script = None;
                inputs.parent = held.parent;
                held.active
            }
            None => Active::begin(tools.store, inputs.parent)?,
        };
        self.bring_out(&active, inputs.parent, &op.cwd, left)?;
        match tools.request.on_error {
            OnError::Fail => {}
            OnError::Keep => {
                let top = if is_held {
                    let safe = run::refuse_own_leak(tools, &op, &active.fs());
                    safe.map_err(|err| Error::Scene(err.to_string()))?;
                    let bytes = tree_bytes(&active.fs())?;
                    let row = active.commit(bytes, None, None)?;
                    graph.history.push(ending.item);
                    solved.push(row.id);
                    Some(row.id)
                } else {
                    graph.target.and_then(|id| solved.result(id))
                };
                left.image = Some(keep::keep(
                    tools.store,
                    &graph,
                    &solved,
                    top,
                    &step.title,
                    tools.epoch,
                )?);
            }
            OnError::Shell => {
                let set = Set {
                    active,
                    inputs,
                    step: StepId(free),
                    title: step.title,
                    stands: if is_held {
                        Stands::Failed
                    } else {
                        Stands::Before
                    },
                };
                visitor.visit(&Scene::new(tools, op, set), Some(error));
            }
        }
        Ok(())
    }

    /// Brings out what is wished for; what cannot be is a problem, no error.
    fn bring_out(
        &self,
        active: &Active<'_>,
        parent: Option<SnapshotId>,
        cwd: &str,
        left: &mut Left,
    ) -> Result<(), Error> {
        let mut layers = vec![active.fs()];
        layers.extend(layer_dirs(self.tools.store, parent)?);
        let view = View::of_layers(layers);
        for wish in &self.tools.request.export_failed {
            match bring::out(&view, cwd, wish) {
                Ok(brought) => left.brought.extend(brought),
                Err(err) => {
                    let why = chain(&err);
                    let problem = format!("cannot bring out `{}`: {why}", wish.path);
                    left.problems.push(problem);
                }
            }
        }
        Ok(())
    }
}
