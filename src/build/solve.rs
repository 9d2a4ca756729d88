//! Which steps are needed, which are cached, which run now.
//!
//! 1. Every step's key is computed as far as that needs nothing to run, and
//!    looked up. A COPY that was never seen before is not even read for its key:
//!    it is going to run, and is read once, while it does.
//! 2. From the target down, steps without a result are needed, and so are their inputs.
//! 3. Needed steps run as soon as their inputs are there, each on a thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::ahead;
use super::error::StepError;
use super::graph::{BaseImage, CopyOp, Graph, LinkOp, Op, RunOp, Vertex, VertexId};
use super::key::{self, Definition};
use super::ops::{Tools, copy, link, run, workdir};
use super::remote_cache::Imports;
use crate::fs::Lock;
use crate::image;
use crate::oci::{CacheKey, ChainId, Digest};
use crate::progress::{Event, Layer, Outcome, StepId, Usage};
use crate::snapshot;
use crate::store::{CacheRecord, SnapshotId};

/// What is known of a step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    /// Its key, once it can be known.
    pub(super) key: Option<CacheKey>,
    /// Its result.
    pub(super) result: Option<SnapshotId>,
    /// Whether it ran although the cache may have an older result, so that this
    /// older result says nothing about the steps after it.
    pub(super) renewed: bool,
    /// What its program used.
    usage: Option<Usage>,
}

/// The results of a solved graph.
#[derive(Debug)]
pub(super) struct Solved {
    results: Vec<Option<SnapshotId>>,
    unpacked: Vec<(StepId, Layer)>,
}

impl Solved {
    /// The layers whose diff ID was not known when their steps ended.
    pub(super) fn unpacked(&self) -> &[(StepId, Layer)] {
        &self.unpacked
    }

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
    pub(super) graph: &'a Graph,
    pub(super) tools: &'a Tools<'a>,
    extra_hosts: Vec<String>,
    first_step: u32,
    source: &'a str,
    /// Whether this build has built these steps already: nobody hears again that
    /// they are there, and that they are counts whatever the request says.
    again: bool,
    states: Mutex<Vec<State>>,
    /// Steps that stand on one that may not come from the cache.
    stale: BTreeSet<usize>,
    /// Definitions of steps from servers, once they are known.
    fetched: Mutex<BTreeMap<usize, Definition>>,
    unpacked: Mutex<Vec<(StepId, Layer)>>,
    /// What was found elsewhere.
    pub(super) imports: Imports<'a>,
    /// Whether the user was told that this build alone passes the cache's limit.
    pub(super) cap_passed: AtomicBool,
}

impl<'a> Solver<'a> {
    /// For progress, steps are numbered from `first_step` on and have lines in `source`.
    pub(super) fn new(
        graph: &'a Graph,
        tools: &'a Tools<'a>,
        first_step: u32,
        source: &'a str,
    ) -> Self {
        let extra_hosts = tools.request.extra_hosts.iter();
        Self {
            graph,
            tools,
            extra_hosts: extra_hosts.map(|(name, _)| name.clone()).collect(),
            first_step,
            source,
            again: false,
            states: Mutex::new(vec![State::default(); graph.vertices.len()]),
            stale: stale(graph),
            fetched: Mutex::default(),
            unpacked: Mutex::default(),
            imports: tools.imports.anew(),
            cap_passed: AtomicBool::new(false),
        }
    }

    /// The same for a graph whose steps this build has built already.
    pub(super) fn again(self) -> Self {
        Self {
            again: true,
            stale: BTreeSet::new(),
            ..self
        }
    }

    /// Brings every step that the target needs to a result.
    pub(super) fn solve(&self) -> Result<Solved, StepError> {
        self.imports.forget();
        self.ask_servers()?;
        for index in 0..self.graph.vertices.len() {
            let id = VertexId(index);
            self.look_up(id)
                .map_err(|err| err.at(self.vertex(id)).of(id))?;
        }
        self.secure()?;
        let mut needed = self.needed();
        let cached = (0..self.graph.vertices.len())
            .filter(|index| {
                self.state(VertexId(*index)).result.is_some() || self.imports.has(*index)
            })
            .filter(|index| !needed.contains(index))
            .collect::<Vec<_>>();
        if !self.again {
            self.tell_plan(&cached, needed.len());
        }
        self.run_needed(&needed)?;
        while self.imports.take_lost() {
            // What was found elsewhere could not be fetched, so it is made here.
            needed = self.needed();
            self.run_needed(&needed)?;
        }
        self.settle()?;
        let results = self.states().iter().map(|state| state.result).collect();
        let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Solved {
            results,
            unpacked: std::mem::take(&mut unpacked),
        })
    }

    /// Tells how much there is to do, and what is done.
    fn tell_plan(&self, cached: &[usize], needed: usize) {
        // The steps that make the image and carry the cache elsewhere follow.
        let steps = cached.len() + needed + 1 + self.tools.request.cache_to.len();
        self.tools.sink.event(Event::Planned { steps });
        for id in cached.iter().copied().map(VertexId) {
            let began = Instant::now();
            self.announce(id);
            self.tell_cached(id);
            self.report(id, Outcome::Cached, began, self.layer(id));
        }
    }

    pub(super) fn vertex(&self, id: VertexId) -> &'a Vertex {
        &self.graph.vertices[id.0]
    }

    pub(super) fn states(&self) -> MutexGuard<'_, Vec<State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self, id: VertexId) -> State {
        self.states()[id.0]
    }

    pub(super) fn step(&self, id: VertexId) -> StepId {
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
    pub(super) fn input(&self, id: Option<VertexId>) -> Option<SnapshotId> {
        id.and_then(|id| self.state(id).result)
    }

    /// Asks, several servers at a time, what the steps that come from them are now.
    fn ask_servers(&self) -> Result<(), StepError> {
        /// How many are asked at once.
        const AT_ONCE: usize = 8;
        let vertices = self.graph.vertices.iter().enumerate();
        let remote: Vec<_> = vertices
            .filter(|(_, vertex)| vertex.op.is_remote())
            .collect();
        let ask = |index: usize, vertex: &Vertex| {
            let fresh = self.ignores_cache(VertexId(index));
            let found = self.tools.fetcher.look_up(vertex, fresh);
            found.map_err(|err| StepError::from(err).at(vertex).of(VertexId(index)))
        };
        for part in remote.chunks(AT_ONCE) {
            std::thread::scope(|scope| {
                let start = |&(index, vertex): &(usize, &'a Vertex)| {
                    (index, scope.spawn(move || ask(index, vertex)))
                };
                let threads: Vec<_> = part.iter().map(start).collect();
                for (index, thread) in threads {
                    let found = match thread.join() {
                        Ok(found) => found?,
                        Err(panic) => std::panic::resume_unwind(panic),
                    };
                    found.map(|definition| self.definitions().insert(index, definition));
                }
                Ok::<_, StepError>(())
            })?;
        }
        Ok(())
    }

    fn definitions(&self) -> MutexGuard<'_, BTreeMap<usize, Definition>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a step must run whatever the cache holds.
    pub(super) fn ignores_cache(&self, id: VertexId) -> bool {
        !self.again && (self.tools.request.no_cache || self.graph.uncached.contains(&id.0))
    }

    /// Whether the result under a step's key may be another than it would be now:
    /// the step must run, or it stands on one that must. In the second case a result on
    /// the same content still counts.
    pub(super) fn ignores_key(&self, id: VertexId) -> bool {
        self.ignores_cache(id) || self.stale.contains(&id.0)
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
                ..State::default()
            };
            return Ok(());
        }
        let Some(definition) = self.definition(id)? else {
            return Ok(());
        };
        let key = definition.key(&vertex.op);
        self.states()[id.0].key = Some(key);
        if self.ignores_key(id) {
            return Ok(());
        }
        let record = self.tools.store.cache_get(key)?;
        match record.and_then(|record| record.result) {
            Some(result) => self.states()[id.0].result = Some(result),
            None => drop(self.imports.look_up(id.0, key)),
        }
        Ok(())
    }

    /// What the operation itself brings, and the moment that times are clamped to.
    fn begin_definition(&self, vertex: &Vertex) -> Definition {
        let definition = Definition::of(vertex, &self.extra_hosts);
        match self.tools.epoch {
            Some(epoch) => definition.with("epoch", &epoch),
            None => definition,
        }
    }

    /// The whole definition of a step; `None` while an input's key is not known
    /// or reading the context for it would be work done twice.
    pub(super) fn definition(&self, id: VertexId) -> Result<Option<Definition>, StepError> {
        let vertex = self.vertex(id);
        if vertex.op.is_remote() {
            return Ok(self.definitions().get(&id.0).cloned());
        }
        let mut definition = self.begin_definition(vertex);
        match vertex.parent {
            None => definition = definition.with("parent", &"nothing"),
            Some(parent) => match self.state(parent).key {
                None => return Ok(None),
                Some(key) => definition = definition.with("parent", &key),
            },
        }
        if let Op::Link(op) = &vertex.op {
            let layer = self.state(op.layer).key;
            return Ok(layer.map(|layer| definition.with("layer", &layer)));
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
        // Elsewhere it is found by nothing but its key.
        let known = !self.ignores_cache(id)
            && (!self.imports.is_empty()
                || self.tools.store.cache_nearest(definition.line)?.is_some());
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
        if let Some(users) = op.users {
            definition = definition.with("users", &self.state(users).key?);
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

    /// The steps that have to run or be fetched, from the target down. What was
    /// found elsewhere is fetched where its tree itself is needed, and then without
    /// its inputs.
    fn needed(&self) -> BTreeSet<usize> {
        let states = self.states();
        let mut needed = BTreeSet::new();
        let found = |id: &VertexId| self.imports.has(id.0);
        let layers = self.own_layers().filter(|id| !found(id));
        let mut todo: Vec<VertexId> = layers
            .chain(self.graph.target)
            .chain(self.graph.required.iter().copied())
            .collect();
        while let Some(id) = todo.pop() {
            if states[id.0].result.is_none() && needed.insert(id.0) && !found(&id) {
                todo.extend(self.graph.vertices[id.0].inputs());
            }
        }
        needed
    }

    /// The steps whose layers the image gets on top of its base.
    pub(super) fn own_layers(&self) -> impl Iterator<Item = VertexId> {
        self.graph.history.iter().filter_map(|item| item.vertex)
    }

    /// Runs the needed steps, independent ones at the same time.
    fn run_needed(&self, needed: &BTreeSet<usize>) -> Result<(), StepError> {
        let waits_for = |index: usize| -> usize {
            let inputs = self.graph.waits_for(index);
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
            let codec = self.tools.request.codec_ahead();
            if needed.len() > 1 {
                scope.spawn(move || ahead::pack(store, &queue, codec, until));
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
                let layer = self.state(VertexId(index)).result;
                if layer.is_none() {
                    // Lost: those that wait for it come with the next round.
                    continue;
                }
                for (user, inputs) in &mut waiting {
                    let uses = self.graph.waits_for(*user);
                    *inputs -= uses.filter(|input| input.0 == index).count();
                }
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
        self.announce(id);
        match self.obtain(id) {
            Ok(None) => Ok(()),
            Ok(Some((result, cached))) => {
                self.states()[id.0].result = Some(result);
                let outcome = if cached {
                    Outcome::Cached
                } else {
                    Outcome::Done
                };
                self.report(id, outcome, began, self.layer(id));
                Ok(())
            }
            Err(err) => {
                let outcome = if err.is_canceled() || self.tools.cancel.is_stopped() {
                    Outcome::Canceled
                } else {
                    Outcome::Failed(err.to_string())
                };
                self.report(id, outcome, began, None);
                Err(err.at(vertex))
            }
        }
    }

    /// Tells that a step begins.
    fn announce(&self, id: VertexId) {
        let vertex = self.vertex(id);
        self.tools.sink.event(Event::Started {
            step: self.step(id),
            name: vertex.name.clone(),
            inputs: self.input_steps(id),
            line: vertex.span.map(|span| span.line(self.source)),
        });
    }

    /// Tells how a step ended.
    fn report(&self, id: VertexId, outcome: Outcome, began: Instant, layer: Option<Layer>) {
        if let Some(layer) = layer.as_ref().filter(|layer| layer.diff_id.is_none()) {
            let mut unpacked = self.unpacked.lock().unwrap_or_else(PoisonError::into_inner);
            unpacked.push((self.step(id), layer.clone()));
        }
        self.tools.sink.event(Event::Finished {
            step: self.step(id),
            outcome,
            took: began.elapsed(),
            layer,
            usage: self.state(id).usage,
        });
    }

    /// What a step's result adds to its parent; of an image, all of it. `None`
    /// where it adds nothing, or the register does not say.
    fn layer(&self, id: VertexId) -> Option<Layer> {
        let vertex = self.vertex(id);
        let parent = self.input(vertex.parent);
        let top = self.state(id).result.filter(|top| Some(*top) != parent)?;
        let (rows, bytes) = if let Op::Image(_) = vertex.op {
            let rows = self.tools.store.snapshot_stack(top).ok()?;
            let bytes = rows.iter().map(|row| row.bytes).sum();
            (rows, bytes)
        } else {
            let row = self.tools.store.snapshot_get(top).ok()??;
            let bytes = row.bytes;
            (vec![row], bytes)
        };
        let diff_id = rows.first().and_then(|row| row.diff_id);
        Some(Layer {
            snapshot: top.0,
            parent: rows.last()?.parent.map(|parent| parent.0),
            bytes,
            diff_id: diff_id.map(|diff_id| diff_id.to_string()),
        })
    }

    /// The result of a step, and whether it was there already; nothing when it was
    /// found elsewhere and cannot be had.
    fn obtain(&self, id: VertexId) -> Result<Option<(SnapshotId, bool)>, StepError> {
        let vertex = self.vertex(id);
        if let Op::Image(base) = &vertex.op {
            return Ok(Some((self.base(base, id)?, false)));
        }
        if self.imports.has(id.0) {
            let fetched = self.fetch(id)?;
            return Ok(fetched.map(|result| (result, true)));
        }
        self.find_or_run(id).map(Some)
    }

    /// The result of a step whose inputs are there.
    fn find_or_run(&self, id: VertexId) -> Result<(SnapshotId, bool), StepError> {
        let vertex = self.vertex(id);
        let store = self.tools.store;
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
            if let Some(result) = self.find(id, definition, earlier.as_ref(), parent)? {
                return Ok((result, true));
            }
        }
        let (result, files) = self.execute(id, parent, earlier.as_ref())?;
        self.states()[id.0].renewed = self.ignores_key(id);
        let mut definition = match definition {
            Some(definition) => definition,
            None => self.complete(id, files.as_ref().and_then(|files| files.of_contexts)),
        };
        for (name, value) in files.into_iter().flat_map(|files| files.notes) {
            definition = definition.with(name, &value);
        }
        if self.tools.request.explain_cache {
            self.explain(id, &definition, result);
        }
        self.remember(id, definition, Some(result))?;
        Ok((result, false))
    }

    /// The tree of an image, downloaded and unpacked if it was not.
    fn base(&self, base: &BaseImage, id: VertexId) -> Result<SnapshotId, StepError> {
        let store = self.tools.store;
        let image = self.whole(base, id)?;
        let top = image::snapshot_of(store, &image)?;
        top.ok_or_else(|| image::Error::NotFound(base.reference.clone()).into())
    }

    /// The definition of a COPY from the context, now that its files were read, or
    /// of a download, now that it is here.
    fn complete(&self, id: VertexId, files: Option<Digest>) -> Definition {
        let vertex = self.vertex(id);
        if let Some(definition) = self.definitions().get(&id.0) {
            return definition.clone();
        }
        let definition = self.begin_definition(vertex);
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
    pub(super) fn same_by_content(
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
        let is_noted =
            |(name, now): (&str, String)| key::value(&earlier.parts, name) == Some(now.as_str());
        let is_same = match &vertex.op {
            Op::Copy(op) if !op.from().is_empty() || op.users.is_some() => {
                self.prepared(op)?.notes()?.into_iter().all(is_noted)
            }
            Op::Link(op) => self.link_notes(op)?.into_iter().all(is_noted),
            Op::Run(op) => self.mounts_same(op, earlier)?,
            _ => true,
        };
        if !is_same {
            return Ok(None);
        }
        let epoch = |parts| key::value(parts, "epoch");
        if epoch(&earlier.parts) != epoch(&definition.parts) {
            return self.retimed(vertex, earlier, parent);
        }
        Ok(earlier.result)
    }

    /// The earlier result of a command with its times as they would be now: what
    /// a command does is not done again because another commit is built.
    fn retimed(
        &self,
        vertex: &Vertex,
        earlier: &CacheRecord,
        parent: Option<SnapshotId>,
    ) -> Result<Option<SnapshotId>, StepError> {
        match (&vertex.op, earlier.result, self.tools.epoch) {
            (Op::Run(_), Some(result), Some(epoch)) => {
                Ok(snapshot::retime(self.tools.store, result, parent, epoch)?)
            }
            _ => Ok(None),
        }
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
        match &self.vertex(id).op {
            Op::Image(base) => Ok((self.base(base, id)?, None)),
            Op::Workdir(op) => Ok((workdir::run(self.tools, op, parent)?, None)),
            Op::Http(_) | Op::Git(_) => {
                let fresh = self.ignores_cache(id);
                let fetched = self.tools.fetcher.run(self.vertex(id), fresh)?;
                self.definitions().insert(id.0, fetched.definition);
                Ok((fetched.result, None))
            }
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
                let copied = self.prepared(op)?.run(self.tools, parent, before)?;
                Ok((copied.result, Some(copied.files)))
            }
            Op::Link(op) => {
                let result = link::run(self.tools.store, parent, self.input(Some(op.layer)))?;
                let files = copy::Files {
                    of_contexts: None,
                    notes: self.link_notes(op)?,
                };
                Ok((result, Some(files)))
            }
        }
    }

    /// What tells whether a link puts the same content as before.
    pub(super) fn link_notes(&self, op: &LinkOp) -> Result<Vec<(&'static str, String)>, StepError> {
        let Some(layer) = self.input(Some(op.layer)) else {
            return Ok(Vec::new());
        };
        let tree = snapshot::tree_digest(self.tools.store, layer)?;
        Ok(vec![("@files", tree.to_string())])
    }

    /// A copy with its sources found, in trees that are all there.
    pub(super) fn prepared(&self, op: &'a CopyOp) -> Result<copy::Prepared<'a>, copy::CopyError> {
        copy::Prepared::new(op, self.tools, |from| self.input(from))
    }

    /// Keeps a result for the next build.
    pub(super) fn remember(
        &self,
        id: VertexId,
        mut definition: Definition,
        result: Option<SnapshotId>,
    ) -> Result<(), StepError> {
        let vertex = self.vertex(id);
        // A tree that was never fetched has no name here, and cannot be compared with.
        if let Some(parent) = self.known_input(vertex.parent) {
            definition = definition.with("@parent", &parent);
        }
        if let Op::Run(op) = &vertex.op {
            for (number, mount) in op.mounts.iter().enumerate() {
                if let Some(tree) = self
                    .known_input(mount.from())
                    .filter(|_| mount.takes_tree())
                {
                    definition = definition.with(&key::mounted(number), &tree);
                }
            }
        }
        let key = definition.key(&vertex.op);
        self.states()[id.0].key = Some(key);
        if self.tools.request.forget {
            // Nothing names it then; it is needed until the build ends.
            if let Some(result) = result {
                self.tools.store.pin(result)?;
            }
            return Ok(());
        }
        let parent = vertex.parent.and_then(|parent| self.state(parent).key);
        let record = CacheRecord {
            key,
            line: definition.line,
            result,
            parts: definition.parts,
            parent,
            description: vertex.text.clone(),
        };
        if let Some(result) = result {
            // From here on a prune beside this build must leave it alone.
            self.tools.store.pin(result)?;
            self.make_room();
        }
        if self.ignores_key(id) {
            self.tools.store.cache_replace(&record)?;
        } else {
            self.tools.store.cache_put(&record)?;
        }
        Ok(())
    }

    /// The name of the tree of an input; nothing while it is not there.
    fn known_input(&self, id: Option<VertexId>) -> Option<String> {
        match id {
            None => Some("nothing".to_owned()),
            Some(id) => self.state(id).result.map(|tree| tree.to_string()),
        }
    }
}

/// The steps that stand on one that may not come from the cache.
fn stale(graph: &Graph) -> BTreeSet<usize> {
    let mut stale = BTreeSet::new();
    if graph.uncached.is_empty() {
        return stale;
    }
    for (index, vertex) in graph.vertices.iter().enumerate() {
        let is_new =
            |input: VertexId| graph.uncached.contains(&input.0) || stale.contains(&input.0);
        if vertex.inputs().any(is_new) {
            stale.insert(index);
        }
    }
    stale
}
