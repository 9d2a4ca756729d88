//! Dockerfile + arguments + target + platform to a [`Graph`]. Pure: images are
//! asked for through a function.
//!
//! Only stages that the target reaches are planned. Variables are expanded here,
//! with the values that stand before the instruction.

mod args;
mod checks;
mod copy;
mod error;
mod history;
mod instructions;
mod outline;
mod run;
mod scope;
mod stage;
mod stages;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) use checks::Checks;
pub(super) use error::PlanError;
use outline::Used;
pub use outline::{Outline, OutlineArg, OutlineMount};
use scope::Variables;
use stage::StageState;

use super::graph::{BaseImage, Graph, HistoryItem, Op, Vertex, VertexId};
use super::{Entitlement, RunNetwork};
use crate::dockerfile::{Dockerfile, Span};
use crate::oci::Platform;

/// What a plan is made from.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// The Dockerfile.
    pub(in crate::build) dockerfile: &'a Dockerfile,
    /// `--build-arg`.
    pub(in crate::build) build_args: &'a BTreeMap<String, String>,
    /// `--target`.
    pub(in crate::build) target: Option<&'a str>,
    /// The platform to build for.
    pub(in crate::build) platform: &'a Platform,
    /// The network of RUN steps that do not choose one.
    pub(in crate::build) network: RunNetwork,
    /// `--allow`.
    pub(in crate::build) allow: &'a BTreeSet<Entitlement>,
    /// The build checks, which are made on the way.
    pub(in crate::build) checks: &'a Checks<'a>,
    /// Nothing will be built: an image that is not there is taken for one of
    /// which nothing is known.
    pub(in crate::build) is_check: bool,
}

/// Finds an image by reference. The error is the message.
pub(super) type Images<'a> = dyn FnMut(&str) -> Result<BaseImage, String> + 'a;

/// Makes the plan.
pub(super) fn plan(request: &Request<'_>, images: &mut Images<'_>) -> Result<Graph, PlanError> {
    let mut planner = Planner::new(request, images)?;
    let target = planner.target_stage()?;
    // One after the other in their order, for a long chain of stages would be
    // too deep a recursion.
    for index in planner.needed(&[target])? {
        planner.plan_stage(index)?;
    }
    Ok(planner.finish(target))
}

/// Looks at the stages as a plan does, for the build checks, and tells what the
/// target needs: at every stage of the file where no target is asked for.
pub(super) fn check(request: &Request<'_>, images: &mut Images<'_>) -> Result<Outline, PlanError> {
    let mut planner = Planner::new(request, images)?;
    let target = planner.target_stage()?;
    let all: Vec<usize> = match request.target {
        Some(_) => vec![target],
        None => (0..request.dockerfile.stages.len()).collect(),
    };
    for index in planner.needed(&all)? {
        planner.plan_stage(index)?;
    }
    let needed = planner.needed(&[target])?;
    Ok(planner.outline(target, &needed))
}

/// The plan in the making.
struct Planner<'a, 'i> {
    request: &'a Request<'a>,
    images: &'a mut Images<'i>,
    /// Global arguments: automatic ones and those before the first `FROM`.
    globals: Variables,
    /// The stages of each name, in order.
    names: HashMap<String, Vec<usize>>,
    /// Stages that are planned, by index.
    stages: Vec<Option<StageState>>,
    /// Stages being planned, to notice circles.
    open: Vec<usize>,
    vertices: Vec<Vertex>,
    /// Images used so far, by reference, with their vertex.
    sources: BTreeMap<String, (BaseImage, Option<VertexId>)>,
    /// The stage that each vertex was made for, in their order.
    stage_of: Vec<Option<usize>>,
    warnings: Vec<(Span, String)>,
    /// What each stage uses, for the outline.
    used: BTreeMap<usize, Used>,
}

impl<'a, 'i> Planner<'a, 'i> {
    fn new(request: &'a Request<'a>, images: &'a mut Images<'i>) -> Result<Self, PlanError> {
        let stages = request.dockerfile.stages.len();
        let mut planner = Self {
            request,
            images,
            globals: Variables::new(),
            names: HashMap::new(),
            stages: std::iter::repeat_with(|| None).take(stages).collect(),
            open: Vec::new(),
            vertices: Vec::new(),
            sources: BTreeMap::new(),
            stage_of: Vec::new(),
            warnings: Vec::new(),
            used: BTreeMap::new(),
        };
        for (index, stage) in request.dockerfile.stages.iter().enumerate() {
            if let Some(name) = &stage.from.value.name {
                let name = name.text.to_ascii_lowercase();
                planner.names.entry(name).or_default().push(index);
            }
        }
        planner.check_default_bases();
        planner.globals = args::globals(request)?;
        planner.check_froms()?;
        Ok(planner)
    }

    /// The index of the stage that was asked for.
    fn target_stage(&self) -> Result<usize, PlanError> {
        let stages = &self.request.dockerfile.stages;
        let last = stages.len().checked_sub(1).ok_or_else(|| {
            PlanError::new(Span::default(), "dockerfile contains no stages to build")
        })?;
        let Some(target) = self.request.target else {
            return Ok(last);
        };
        if let Some(index) = self.stage_by_name(target, stages.len()) {
            return Ok(index);
        }
        if let Some(index) = target.parse::<usize>().ok().filter(|index| *index <= last) {
            return Ok(index);
        }
        let names = stages
            .iter()
            .filter_map(|stage| stage.from.value.name.as_ref());
        let names: Vec<&str> = names.map(|name| name.text.as_str()).collect();
        let span = stages[last].from.span;
        Err(
            PlanError::new(span, format!("target stage {target:?} could not be found"))
                .with_hint(error::nearest(target, &names)),
        )
    }

    /// The last stage before `before` with this name, letter case ignored.
    fn stage_by_name(&self, name: &str, before: usize) -> Option<usize> {
        let own = self.names.get(&name.to_ascii_lowercase())?;
        let above = own.partition_point(|index| *index < before);
        above.checked_sub(1).map(|last| own[last])
    }

    /// Adds a step and returns its name.
    fn push(&mut self, vertex: Vertex) -> VertexId {
        self.vertices.push(vertex);
        self.stage_of.push(self.open.last().copied());
        VertexId(self.vertices.len() - 1)
    }

    /// The vertex of an image's tree, made once; `None` for an image without layers.
    fn image(
        &mut self,
        reference: &str,
        span: Option<Span>,
        name: impl FnOnce(&BaseImage) -> String,
    ) -> Result<(BaseImage, Option<VertexId>), PlanError> {
        if let Some(known) = self.sources.get(reference) {
            return Ok(known.clone());
        }
        let image = match (self.images)(reference) {
            Ok(image) => image,
            Err(_) if self.request.is_check => BaseImage::unknown(reference),
            Err(message) => return Err(PlanError::new(span.unwrap_or_default(), message)),
        };
        let vertex = (!image.diff_ids.is_empty()).then(|| {
            self.push(Vertex {
                parent: None,
                name: name(&image),
                text: format!("FROM {}", image.reference),
                op: Op::Image(Box::new(image.clone())),
                span,
            })
        });
        self.sources
            .insert(reference.to_owned(), (image.clone(), vertex));
        Ok((image, vertex))
    }

    fn finish(mut self, target: usize) -> Graph {
        let stage = self.stages[target]
            .take()
            .expect("the target stage was planned");
        let history: Vec<HistoryItem> = stage.history;
        Graph {
            vertices: self.vertices,
            target: stage.top,
            config: stage.config,
            base: stage.base,
            base_history: stage.base_history,
            history,
            stage_of: self.stage_of,
            uncached: BTreeSet::new(),
            warnings: self.warnings,
        }
    }
}
