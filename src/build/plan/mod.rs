//! Dockerfile + arguments + target + platform to a [`Graph`]. Pure: images are
//! asked for through a function.
//!
//! Only stages that the target reaches are planned. Variables are expanded here,
//! with the values that stand before the instruction.

mod args;
mod copy;
pub(super) mod cut;
mod error;
mod history;
mod instructions;
mod run;
mod scope;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use cut::{Cut, Place};
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
    /// Where the plan ends early.
    pub(in crate::build) cut: Option<Cut>,
    /// `--allow`.
    pub(in crate::build) allow: &'a BTreeSet<Entitlement>,
}

/// Finds an image by reference. The error is the message.
pub(super) type Images<'a> = dyn FnMut(&str) -> Result<BaseImage, String> + 'a;

/// Makes the plan.
pub(super) fn plan(request: &Request<'_>, images: &mut Images<'_>) -> Result<Graph, PlanError> {
    let mut planner = Planner::new(request, images)?;
    let target = match request.cut {
        Some(cut) => cut.stage,
        None => planner.target_stage()?,
    };
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
    /// Which instruction each vertex belongs to.
    places: Vec<Option<Place>>,
    /// Images used so far, by reference, with their vertex.
    sources: BTreeMap<String, (BaseImage, Option<VertexId>)>,
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
            places: Vec::new(),
            sources: BTreeMap::new(),
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
        self.vertices.push(vertex);
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
            places: self.places,
            target: stage.top,
            also: Vec::new(),
            config: stage.config,
            base: stage.base,
            base_history: stage.base_history,
            history,
            warnings: self.warnings,
        }
    }
}
