//! Dockerfile + arguments + target + platform to a [`Graph`]. Pure: images are
//! asked for through a function.
//!
//! Only stages that the target reaches are planned. Variables are expanded here,
//! with the values that stand before the instruction.

mod add;
mod args;
mod checks;
mod contexts;
mod copy;
pub(super) mod cut;
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
pub(super) use contexts::{Choices, Named};
use cut::{Cut, Place};
pub(super) use error::PlanError;
use outline::Used;
pub use outline::{Outline, OutlineArg, OutlineMount};
use scope::Variables;
use stage::StageState;

use super::bases::NoImage;
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
    /// Whether others are built as well: the names of steps then tell which is which.
    pub(in crate::build) several: bool,
    /// The network of RUN steps that do not choose one.
    pub(in crate::build) network: RunNetwork,
    /// Contexts by name, and what is wanted of stages.
    pub(in crate::build) choices: &'a Choices,
    /// Where the plan ends early.
    pub(in crate::build) cut: Option<Cut>,
    /// `--allow`.
    pub(in crate::build) allow: &'a BTreeSet<Entitlement>,
    /// The build checks, which are made on the way.
    pub(in crate::build) checks: &'a Checks<'a>,
    /// Nothing will be built: an image that is not there is taken for one of
    /// which nothing is known.
    pub(in crate::build) is_check: bool,
}

/// Finds an image by reference, for a platform.
pub(super) type Images<'a> = dyn FnMut(&str, &Platform) -> Result<BaseImage, NoImage> + 'a;

/// The value that an argument has before the first `FROM`, from the command line
/// or from the Dockerfile, and its place there; `None` when it has none.
pub(super) fn global_argument(
    request: &Request<'_>,
    name: &str,
) -> Result<Option<(String, Option<Span>)>, PlanError> {
    if let Some(given) = request.build_args.get(name) {
        return Ok(Some((given.clone(), None)));
    }
    let globals = args::globals(request)?;
    let value = globals.value(name).map(str::to_owned);
    let declared = request
        .dockerfile
        .global_args
        .iter()
        .flat_map(|line| &line.value);
    let span = declared
        .filter(|arg| arg.name.text == name)
        .find_map(|arg| arg.default.as_ref())
        .map(|word| word.span);
    Ok(value.map(|value| (value, span)))
}

/// Makes the plan.
pub(super) fn plan(request: &Request<'_>, images: &mut Images<'_>) -> Result<Graph, PlanError> {
    let mut planner = Planner::new(request, images)?;
    let target = match request.cut {
        Some(cut) => cut.stage,
        None => planner.target_stage()?,
    };
    // Of a plan that ends early only its end is wanted.
    let also = request
        .choices
        .also
        .iter()
        .filter(|_| request.cut.is_none());
    let also: Vec<usize> = also
        .map(|name| {
            let found = planner.stage_or_number(name);
            found.ok_or_else(|| planner.no_such_stage(name))
        })
        .collect::<Result<_, _>>()?;
    // One after the other in their order, for a long chain of stages would be
    // too deep a recursion.
    for index in planner.needed(&[&[target], also.as_slice()].concat())? {
        planner.plan_stage(index)?;
    }
    for index in also {
        planner.require(index);
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
    /// The platform of the stage that is planned now.
    platform: Platform,
    /// Stages being planned, to notice circles.
    open: Vec<usize>,
    vertices: Vec<Vertex>,
    /// Which instruction each vertex belongs to.
    places: Vec<Option<Place>>,
    /// Images used so far, by reference and platform, with their vertex.
    sources: BTreeMap<(String, Platform), (BaseImage, Option<VertexId>)>,
    /// Steps that must succeed although the target needs nothing of them.
    required: Vec<VertexId>,
    /// What the first step of a stage waits for, by the stage.
    waits: BTreeMap<usize, Vec<VertexId>>,
    /// What each step waits for beside its inputs.
    after: BTreeMap<usize, Vec<VertexId>>,
    /// Steps that may not come from the cache.
    uncached: BTreeSet<usize>,
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
            platform: request.platform.clone(),
            open: Vec::new(),
            vertices: Vec::new(),
            places: Vec::new(),
            sources: BTreeMap::new(),
            required: Vec::new(),
            waits: BTreeMap::new(),
            after: BTreeMap::new(),
            uncached: BTreeSet::new(),
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
        self.stage_or_number(target)
            .ok_or_else(|| self.no_such_stage(target))
    }

    /// A stage by its name, else by its number.
    fn stage_or_number(&self, text: &str) -> Option<usize> {
        let count = self.request.dockerfile.stages.len();
        self.stage_by_name(text, count)
            .or_else(|| text.parse::<usize>().ok().filter(|index| *index < count))
    }

    fn no_such_stage(&self, target: &str) -> PlanError {
        let stages = &self.request.dockerfile.stages;
        let names = stages
            .iter()
            .filter_map(|stage| stage.from.value.name.as_ref());
        let names: Vec<&str> = names.map(|name| name.text.as_str()).collect();
        let span = stages.last().map_or(Span::default(), |last| last.from.span);
        PlanError::new(span, format!("target stage {target:?} could not be found"))
            .with_hint(error::nearest(target, &names))
    }

    /// Whether a stage is among those that were named on the command line.
    fn is_listed(&self, index: usize, list: &[String]) -> bool {
        let name = self.request.dockerfile.stages[index]
            .from
            .value
            .name
            .as_ref();
        let number = index.to_string();
        list.iter().any(|text| {
            let own = name.is_some_and(|own| own.text.eq_ignore_ascii_case(text));
            own || *text == number || *text == format!("stage-{number}")
        })
    }

    /// Makes a planned stage one that must succeed.
    fn require(&mut self, index: usize) {
        let steps = self.planned(index).steps_made();
        self.required.extend(steps);
    }

    /// The last stage before `before` with this name, letter case ignored.
    fn stage_by_name(&self, name: &str, before: usize) -> Option<usize> {
        let own = self.names.get(&name.to_ascii_lowercase())?;
        let above = own.partition_point(|index| *index < before);
        above.checked_sub(1).map(|last| own[last])
    }

    /// Adds a step and returns its name.
    fn push(&mut self, vertex: Vertex) -> VertexId {
        let number = self.vertices.len();
        if let Some(stage) = self.open.last().copied() {
            if self.is_listed(stage, &self.request.choices.uncached) {
                self.uncached.insert(number);
            }
            // An image that is unpacked early harms nobody, and others may use it too.
            if !matches!(vertex.op, Op::Image(_))
                && let Some(waits) = self.waits.remove(&stage)
            {
                self.after.insert(number, waits);
            }
        }
        self.vertices.push(vertex);
        VertexId(number)
    }

    /// The vertex of an image's tree, made once; `None` for an image without layers.
    fn image(
        &mut self,
        reference: &str,
        platform: &Platform,
        span: Option<Span>,
        name: impl FnOnce(&BaseImage) -> String,
    ) -> Result<(BaseImage, Option<VertexId>), PlanError> {
        let key = (reference.to_owned(), platform.clone());
        if let Some(known) = self.sources.get(&key) {
            return Ok(known.clone());
        }
        let image = match (self.images)(reference, platform) {
            Ok(image) => image,
            Err(_) if self.request.is_check => BaseImage::unknown(reference),
            Err(NoImage { message, hint }) => {
                let error = PlanError::new(span.unwrap_or_default(), message);
                return Err(error.with_hint(hint));
            }
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
        self.sources.insert(key, (image.clone(), vertex));
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
            config: stage.config,
            base: stage.base,
            base_history: stage.base_history,
            history,
            required: self.required,
            after: self.after,
            uncached: self.uncached,
            warnings: self.warnings,
        }
    }
}
