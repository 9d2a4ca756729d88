//! Dockerfile + arguments + target + platform to a [`Graph`]. Pure: images are
//! asked for through a function.
//!
//! Only stages that the target reaches are planned. Variables are expanded here,
//! with the values that stand before the instruction.

mod args;
mod copy;
mod error;
mod history;
mod instructions;
mod run;
mod scope;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub(super) use error::PlanError;
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
    /// Stages whose steps may not come from the cache, by name or number.
    pub(in crate::build) no_cache_filter: &'a [String],
}

/// Finds an image by reference. The error is the message.
pub(super) type Images<'a> = dyn FnMut(&str) -> Result<BaseImage, String> + 'a;

/// Makes the plan.
pub(super) fn plan(request: &Request<'_>, images: &mut Images<'_>) -> Result<Graph, PlanError> {
    let mut planner = Planner::new(request, images)?;
    let target = planner.target_stage()?;
    planner.plan_stage(target)?;
    Ok(planner.finish(target))
}

/// The plan in the making.
struct Planner<'a, 'i> {
    request: &'a Request<'a>,
    images: &'a mut Images<'i>,
    /// Global arguments: automatic ones and those before the first `FROM`.
    globals: Vec<(String, String)>,
    /// Stages that are planned, by index.
    stages: Vec<Option<StageState>>,
    /// Stages being planned, to notice circles.
    open: Vec<usize>,
    vertices: Vec<Vertex>,
    /// Images used so far, by reference, with their vertex.
    sources: BTreeMap<String, (BaseImage, Option<VertexId>)>,
    /// Steps of stages that may not come from the cache.
    uncached: BTreeSet<VertexId>,
    warnings: Vec<(Span, String)>,
}

impl<'a, 'i> Planner<'a, 'i> {
    fn new(request: &'a Request<'a>, images: &'a mut Images<'i>) -> Result<Self, PlanError> {
        let stages = request.dockerfile.stages.len();
        let mut planner = Self {
            request,
            images,
            globals: Vec::new(),
            stages: std::iter::repeat_with(|| None).take(stages).collect(),
            open: Vec::new(),
            vertices: Vec::new(),
            sources: BTreeMap::new(),
            uncached: BTreeSet::new(),
            warnings: Vec::new(),
        };
        planner.globals = args::globals(request)?;
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
        let stages = &self.request.dockerfile.stages[..before];
        stages.iter().rposition(|stage| {
            let own = stage.from.value.name.as_ref();
            own.is_some_and(|own| own.text.eq_ignore_ascii_case(name))
        })
    }

    /// Adds a step and returns its name.
    fn push(&mut self, vertex: Vertex) -> VertexId {
        let id = VertexId(self.vertices.len());
        self.vertices.push(vertex);
        if self.open.last().is_some_and(|stage| self.is_uncached(*stage)) {
            self.uncached.insert(id);
        }
        id
    }

    /// Whether the steps of a stage may not come from the cache.
    fn is_uncached(&self, stage: usize) -> bool {
        let name = self.request.dockerfile.stages[stage].from.value.name.as_ref();
        self.request.no_cache_filter.iter().any(|wanted| match name {
            Some(name) if name.text.eq_ignore_ascii_case(wanted) => true,
            _ => *wanted == stage.to_string() || *wanted == format!("stage-{stage}"),
        })
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
        let image = (self.images)(reference)
            .map_err(|message| PlanError::new(span.unwrap_or_default(), message))?;
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
            uncached: self.uncached,
            warnings: self.warnings,
        }
    }
}
