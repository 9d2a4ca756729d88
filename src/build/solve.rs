//! Which steps are needed, which are cached, which run now.
//!
//! 1. Every step's key is computed as far as that needs nothing to run, and
//!    looked up. A COPY that was never seen before is not even read for its key:
//!    it is going to run, and is read once, while it does.
//! 2. From the target down, steps without a result are needed, and so are their inputs.
//! 3. Needed steps run as soon as their inputs are there, each on a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::ahead;
use super::error::StepError;
use super::graph::{BaseImage, CopyOp, Graph, Op, RunOp, Vertex, VertexId};
use super::key::{self, Definition};
use super::ops::{Tools, copy, run, workdir};
use crate::fs::Lock;
use crate::image;
use crate::oci::{CacheKey, ChainId, Digest};
use crate::progress::{Event, Outcome, StepId, Usage};
use crate::snapshot;
use crate::store::{CacheRecord, SnapshotId};

/// What is known of a step.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Its key, once it can be known.
    key: Option<CacheKey>,
    /// Its result.
    result: Option<SnapshotId>,
    /// What its program used.
    usage: Option<Usage>,
}

/// The results of a solved graph.
#[derive(Debug)]
pub(super) struct Solved {
    results: Vec<Option<SnapshotId>>,
}

impl Solved {
    /// The tree of a step.
    pub(super) fn result(&self, id: VertexId) -> Option<SnapshotId> {
        self.results[id.0]
    }

    /// Adds the tree of a step that was added to the graph.
    pub(super) fn push(&mut self, result: SnapshotId) {
        self.results.push(Some(result));
    }
}

/// Solves one graph.
pub(super) struct Solver<'a> {
    graph: &'a Graph,
    tools: &'a Tools<'a>,
    extra_hosts: Vec<String>,
    first_step: u32,
    /// Whether this build has built these steps already: nobody hears again that
    /// they are there, and that they are counts whatever the request says.
    again: bool,
    states: Mutex<Vec<State>>,
}

impl<'a> Solver<'a> {
    /// Steps are numbered from `first_step` on for progress.
    pub(super) fn new(graph: &'a Graph, tools: &'a Tools<'a>, first_step: u32) -> Self {
        let extra_hosts = tools.request.extra_hosts.iter();
        Self {
            graph,
            tools,
            extra_hosts: extra_hosts.map(|(name, _)| name.clone()).collect(),
            first_step,
            again: false,
            states: Mutex::new(vec![State::default(); graph.vertices.len()]),
        }
    }

    /// Solves a graph whose steps this build has built already.
    pub(super) fn again(graph: &'a Graph, tools: &'a Tools<'a>, first_step: u32) -> Self {
        Self {
            again: true,
            ..Self::new(graph, tools, first_step)
        }
    }

    /// Whether nothing may come from the cache.
    fn no_cache(&self) -> bool {
        self.tools.request.no_cache && !self.again
    }

    /// Brings every step that the target needs to a result.
    pub(super) fn solve(&self) -> Result<Solved, StepError> {
        for index in 0..self.graph.vertices.len() {
            let id = VertexId(index);
            self.look_up(id)
                .map_err(|err| err.at(self.vertex(id)).of(id))?;
        }
        let needed = self.needed();
        for index in 0..self.graph.vertices.len() {
            let is_there = self.state(VertexId(index)).result.is_some();
            if is_there && !needed.contains(&index) && !self.again {
                self.report(VertexId(index), Outcome::Cached, Instant::now(), None, true);
            }
        }
        self.run_needed(&needed)?;
        let results = self.states().iter().map(|state| state.result).collect();
        Ok(Solved { results })
    }

    fn vertex(&self, id: VertexId) -> &'a Vertex {
        &self.graph.vertices[id.0]
    }

    fn states(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self, id: VertexId) -> State {
        self.states()[id.0]
    }

    fn step(&self, id: VertexId) -> StepId {
        StepId(self.first_step + u32::try_from(id.0).unwrap_or(u32::MAX - self.first_step))
    }

    /// The steps whose results a step needs.
    fn input_steps(&self, id: VertexId) -> Vec<StepId> {
        self.vertex(id)
            .inputs()
            .map(|input| self.step(input))
            .collect()
    }

    /// The result of an input; an absent input is an empty tree.
    fn input(&self, id: Option<VertexId>) -> Option<SnapshotId> {
        id.and_then(|id| self.state(id).result)
    }

    /// Looks a step up by definition, without running anything.
    fn look_up(&self, id: VertexId) -> Result<(), StepError> {
        let vertex = self.vertex(id);
        if let Op::Image(image) = &vertex.op {
            let chain =
                ChainId::of(&image.diff_ids).map(|chain| self.tools.store.snapshot_by_chain(chain));
            let row = chain.transpose()?.flatten();
            let key = Definition::of(vertex, &[]).key(&vertex.op);
            self.states()[id.0] = State {
                key: Some(key),
                result: row.map(|row| row.id),
                usage: None,
            };
            return Ok(());
        }
        let Some(definition) = self.definition(id)? else {
            return Ok(());
        };
        let key = definition.key(&vertex.op);
        self.states()[id.0].key = Some(key);
        if !self.no_cache()
            && let Some(record) = self.tools.store.cache_get(key)?
        {
            self.states()[id.0].result = record.result;
        }
        Ok(())
    }

    /// The whole definition of a step; `None` while an input's key is not known
    /// or reading the context for it would be work done twice.
    fn definition(&self, id: VertexId) -> Result<Option<Definition>, StepError> {
        let vertex = self.vertex(id);
        let mut definition = Definition::of(vertex, &self.extra_hosts);
        match vertex.parent {
            None => definition = definition.with("parent", &"nothing"),
            Some(parent) => match self.state(parent).key {
                None => return Ok(None),
                Some(key) => definition = definition.with("parent", &key),
            },
        }
        if let Op::Run(op) = &vertex.op {
            return Ok(self.with_mounts(definition, op));
        }
        let Op::Copy(op) = &vertex.op else {
            return Ok(Some(definition));
        };
        let Some(definition) = self.with_from(op, definition) else {
            return Ok(None);
        };
        if !op.reads_context() {
            return Ok(Some(definition));
        }
        let known = !self.no_cache()
            && self.tools.store.cache_nearest(definition.line)?.is_some();
        if !known {
            return Ok(None);
        }
        let files = copy::Prepared::of_contexts(op, self.tools)?.digest()?;
        Ok(Some(definition.with("files", &files)))
    }

    /// Adds the keys of the steps that are copied from; `None` while one is not known.
    fn with_from(&self, op: &CopyOp, mut definition: Definition) -> Option<Definition> {
        for (number, from) in op.from().into_iter().enumerate() {
            let name = key::from_part(number);
            definition = match from {
                None => definition.with(&name, &"nothing"),
                Some(from) => definition.with(&name, &self.state(from).key?),
            };
        }
        Some(definition)
    }

    /// Adds the trees that a step mounts; nothing while one of them is not known.
    fn with_mounts(&self, mut definition: Definition, op: &RunOp) -> Option<Definition> {
        for (number, mount) in op.mounts.iter().enumerate() {
            if !mount.takes_tree() {
                continue;
            }
            let name = key::mount_tree(number);
            definition = match mount.from() {
                None => definition.with(&name, &"nothing"),
                Some(from) => definition.with(&name, &self.state(from).key?),
            };
        }
        Some(definition)
    }

    /// The steps that have to run, from the target down.
    fn needed(&self) -> BTreeSet<usize> {
        let states = self.states();
        let mut needed = BTreeSet::new();
        let mut todo: Vec<VertexId> = self
            .own_layers()
            .chain(self.graph.target)
            .chain(self.graph.also.iter().copied())
            .collect();
        while let Some(id) = todo.pop() {
            if states[id.0].result.is_none() && needed.insert(id.0) {
                todo.extend(self.graph.vertices[id.0].inputs());
            }
        }
        needed
    }

    /// The steps whose layers the image gets on top of its base.
    fn own_layers(&self) -> impl Iterator<Item = VertexId> {
        self.graph.history.iter().filter_map(|item| item.vertex)
    }

    /// Runs the needed steps, independent ones at the same time.
    fn run_needed(&self, needed: &BTreeSet<usize>) -> Result<(), StepError> {
        let waits_for = |index: usize| -> usize {
            let inputs = self.graph.vertices[index].inputs();
            inputs.filter(|input| needed.contains(&input.0)).count()
        };
        let mut waiting: BTreeMap<usize, usize> = needed
            .iter()
            .map(|index| (*index, waits_for(*index)))
            .collect();
        let mut failure = None;
        let layers_of_image: BTreeSet<usize> = self.own_layers().map(|id| id.0).collect();
        let until = ahead::Until::default();
        std::thread::scope(|scope| {
            let (layers, queue) = mpsc::channel::<SnapshotId>();
            let (store, until) = (self.tools.store, &until);
            if needed.len() > 1 {
                scope.spawn(move || ahead::pack(store, &queue, until));
            }
            let (done, ended) = mpsc::channel::<(usize, Result<(), StepError>)>();
            let mut running = 0;
            loop {
                let ready: Vec<usize> = waiting
                    .iter()
                    .filter(|(_, inputs)| **inputs == 0)
                    .map(|(index, _)| *index)
                    .collect();
                for index in ready {
                    waiting.remove(&index);
                    if failure.is_some() || self.tools.cancel.is_canceled() {
                        continue;
                    }
                    running += 1;
                    let done = done.clone();
                    scope.spawn(move || {
                        let result = self.perform(VertexId(index));
                        // The receiver outlives every thread of the scope.
                        drop(done.send((index, result)));
                    });
                }
                if running == 0 {
                    until.steps_ended();
                    break;
                }
                let Ok((index, result)) = ended.recv() else {
                    break;
                };
                running -= 1;
                if let Err(err) = result {
                    until.failed();
                    self.tools.cancel.stop_steps();
                    failure.get_or_insert(err.of(VertexId(index)));
                    continue;
                }
                for (user, inputs) in &mut waiting {
                    let uses = self.graph.vertices[*user].inputs();
                    *inputs -= uses.filter(|input| input.0 == index).count();
                }
                let layer = self.state(VertexId(index)).result;
                if let Some(layer) = layer.filter(|_| layers_of_image.contains(&index)) {
                    // Without a second step nobody listens.
                    let _unheard = layers.send(layer);
                }
            }
        });
        match failure {
            Some(err) => Err(err),
            None if self.tools.cancel.is_canceled() => Err(StepError::canceled()),
            None => Ok(()),
        }
    }

    /// Brings one step, whose inputs are there, to a result.
    fn perform(&self, id: VertexId) -> Result<(), StepError> {
        let began = Instant::now();
        let vertex = self.vertex(id);
        self.tools.sink.event(Event::Started {
            step: self.step(id),
            name: vertex.name.clone(),
            inputs: self.input_steps(id),
        });
        match self.obtain(id) {
            Ok((result, cached)) => {
                self.states()[id.0].result = Some(result);
                let outcome = if cached {
                    Outcome::Cached
                } else {
                    Outcome::Done
                };
                let grew = Some(result).filter(|_| Some(result) != self.input(vertex.parent));
                let row = grew.map(|id| self.tools.store.snapshot_get(id)).transpose();
                let bytes = row.ok().flatten().flatten().map(|row| row.bytes);
                self.report(id, outcome, began, bytes, false);
                Ok(())
            }
            Err(err) => {
                let outcome = if err.is_canceled() || self.tools.cancel.is_stopped() {
                    Outcome::Canceled
                } else {
                    Outcome::Failed(err.to_string())
                };
                self.report(id, outcome, began, None, false);
                Err(err.at(vertex))
            }
        }
    }

    fn report(
        &self,
        id: VertexId,
        outcome: Outcome,
        began: Instant,
        layer_bytes: Option<u64>,
        start: bool,
    ) {
        let step = self.step(id);
        if start {
            let name = self.vertex(id).name.clone();
            let inputs = self.input_steps(id);
            self.tools.sink.event(Event::Started { step, name, inputs });
        }
        self.tools.sink.event(Event::Finished {
            step,
            outcome,
            took: began.elapsed(),
            layer_bytes,
            usage: self.state(id).usage,
        });
    }

    /// The result of a step, and whether it was there already.
    fn obtain(&self, id: VertexId) -> Result<(SnapshotId, bool), StepError> {
        let vertex = self.vertex(id);
        let store = self.tools.store;
        if let Op::Image(base) = &vertex.op {
            return Ok((self.base(base)?, false));
        }
        let parent = self.input(vertex.parent);
        let mut definition = self.definition(id)?;
        let line = Definition::of(vertex, &self.extra_hosts).line;
        let name = definition
            .as_ref()
            .map_or(line, |known| known.key(&vertex.op).0);
        // Whoever else wants this very step waits for the one who runs it.
        let _turn = Lock::transient(&store.paths().locks().join(format!("step-{}", name.hex())))?;
        if definition.is_none() {
            // Somebody may have run it while we waited; then its line is known by now.
            definition = self.definition(id)?;
        }
        let earlier = store.cache_nearest(line)?;
        if let Some(definition) = &definition {
            let key = definition.key(&vertex.op);
            self.states()[id.0].key = Some(key);
            if !self.no_cache() {
                let found = store.cache_get(key)?.and_then(|record| record.result);
                if let Some(result) = found {
                    return Ok((result, true));
                }
                if let Some(result) =
                    self.same_by_content(vertex, definition, earlier.as_ref(), parent)?
                {
                    self.remember(id, definition.clone(), result, parent)?;
                    return Ok((result, true));
                }
            }
        }
        let (result, files) = self.execute(id, parent, earlier.as_ref())?;
        let mut definition = match definition {
            Some(definition) => definition,
            None => self.complete(vertex, files.as_ref().and_then(|files| files.of_contexts)),
        };
        if let Some(files) = files.and_then(|files| files.of_steps) {
            definition = definition.with("@files", &files);
        }
        if self.tools.request.explain_cache {
            self.explain(id, &definition, earlier.as_ref(), result);
        }
        self.remember(id, definition, result, parent)?;
        Ok((result, false))
    }

    /// The tree of an image, unpacked if it was not.
    fn base(&self, base: &BaseImage) -> Result<SnapshotId, StepError> {
        let store = self.tools.store;
        let image = image::find(store, &base.id.to_string())?;
        let top = image::snapshot_of(store, &image)?;
        top.ok_or_else(|| image::Error::NotFound(base.reference.clone()).into())
    }

    /// The definition of a COPY from the context, now that its files were read.
    fn complete(&self, vertex: &Vertex, files: Option<Digest>) -> Definition {
        let definition = Definition::of(vertex, &self.extra_hosts);
        let parent = vertex.parent.and_then(|parent| self.state(parent).key);
        let mut definition = match (vertex.parent, parent) {
            (None, _) => definition.with("parent", &"nothing"),
            (Some(_), Some(key)) => definition.with("parent", &key),
            (Some(_), None) => definition,
        };
        if let Op::Copy(op) = &vertex.op
            && let Some(whole) = self.with_from(op, definition.clone())
        {
            definition = whole;
        }
        match files {
            Some(files) => definition.with("files", &files),
            None => definition,
        }
    }

    /// Early cutoff: the same step ran before on a tree with the same content.
    fn same_by_content(
        &self,
        vertex: &Vertex,
        definition: &Definition,
        earlier: Option<&CacheRecord>,
        parent: Option<SnapshotId>,
    ) -> Result<Option<SnapshotId>, StepError> {
        let Some(earlier) = earlier else {
            return Ok(None);
        };
        if !key::same_operation(&earlier.parts, &definition.parts) {
            return Ok(None);
        }
        let Some(old) = key::value(&earlier.parts, "@parent") else {
            return Ok(None);
        };
        let old = old.parse().ok().map(SnapshotId);
        if !snapshot::same_content(self.tools.store, old, parent)? {
            return Ok(None);
        }
        if let Op::Copy(op) = &vertex.op
            && !op.from().is_empty()
        {
            let files = self.prepared(op)?.digest()?;
            if key::value(&earlier.parts, "@files") != Some(files.to_string().as_str()) {
                return Ok(None);
            }
        }
        if let Op::Run(op) = &vertex.op
            && !self.mounts_same(op, earlier)?
        {
            return Ok(None);
        }
        Ok(earlier.result)
    }

    /// Whether what a step mounts is the same as it was the last time.
    fn mounts_same(&self, op: &RunOp, earlier: &CacheRecord) -> Result<bool, StepError> {
        for (number, mount) in op.mounts.iter().enumerate() {
            if !mount.takes_tree() {
                continue;
            }
            let Some(old) = key::value(&earlier.parts, &key::mounted(number)) else {
                return Ok(false);
            };
            let old = old.parse().ok().map(SnapshotId);
            let now = self.input(mount.from());
            if !copy::same_beneath(self.tools.store, old, now, mount.source())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn execute(
        &self,
        id: VertexId,
        parent: Option<SnapshotId>,
        earlier: Option<&CacheRecord>,
    ) -> Result<(SnapshotId, Option<copy::Files>), StepError> {
        let store = self.tools.store;
        match &self.vertex(id).op {
            Op::Image(base) => Ok((self.base(base)?, None)),
            Op::Workdir(op) => Ok((workdir::run(store, op, parent)?, None)),
            Op::Run(op) => {
                let mounts = op.mounts.iter().map(|mount| self.input(mount.from()));
                let inputs = run::Inputs {
                    parent,
                    mounts: mounts.collect(),
                };
                let ran = run::run(self.tools, self.vertex(id), op, &inputs, self.step(id));
                self.states()[id.0].usage = ran.usage;
                Ok((ran.result?, None))
            }
            Op::Copy(op) => {
                let before = earlier.and_then(|record| record.result);
                let copied = self.prepared(op)?.run(store, parent, before)?;
                Ok((copied.result, Some(copied.files)))
            }
        }
    }

    /// A copy with its sources found, in trees that are all there.
    fn prepared(&self, op: &'a CopyOp) -> Result<copy::Prepared<'a>, copy::CopyError> {
        copy::Prepared::new(op, self.tools, |from| self.input(from))
    }

    /// Keeps a result for the next build.
    fn remember(
        &self,
        id: VertexId,
        definition: Definition,
        result: SnapshotId,
        parent: Option<SnapshotId>,
    ) -> Result<(), StepError> {
        let vertex = self.vertex(id);
        let parent = parent.map_or_else(|| "nothing".to_owned(), |parent| parent.to_string());
        let mut definition = definition.with("@parent", &parent);
        if let Op::Run(op) = &vertex.op {
            for (number, mount) in op
                .mounts
                .iter()
                .enumerate()
                .filter(|(_, one)| one.takes_tree())
            {
                let tree = self.input(mount.from());
                let tree = tree.map_or_else(|| "nothing".to_owned(), |tree| tree.to_string());
                definition = definition.with(&key::mounted(number), &tree);
            }
        }
        let key = definition.key(&vertex.op);
        self.states()[id.0].key = Some(key);
        let record = CacheRecord {
            key,
            line: definition.line,
            result: Some(result),
            parts: definition.parts,
        };
        if self.no_cache() {
            self.tools.store.cache_replace(&record)?;
        } else {
            self.tools.store.cache_put(&record)?;
        }
        Ok(())
    }

    /// Says why the cache was missed.
    fn explain(
        &self,
        id: VertexId,
        definition: &Definition,
        earlier: Option<&CacheRecord>,
        result: SnapshotId,
    ) {
        let step = self.step(id);
        let Some(earlier) = earlier else {
            self.tools.note(
                step,
                "not cached: this step has not been built before".to_owned(),
            );
            return;
        };
        for line in key::explain(&earlier.parts, &definition.parts) {
            self.tools.note(step, format!("not cached: {line}"));
        }
        if let Some(old) = earlier.result {
            for line in copy::differences(self.tools.store, old, result) {
                self.tools.note(step, format!("not cached: {line}"));
            }
        }
    }
}
