//! Results that need not be made: which look-ups a step may use, what is fetched
//! from elsewhere, and what goes elsewhere.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::bases;
use super::error::StepError;
use super::graph::{BaseImage, Op, VertexId};
use super::key::{self, Definition};
use super::ops::Tools;
use super::remote_cache::{ExportResult, ExportStep, causes, content_key};
use super::solve::Solver;
use super::usage;
use crate::image::Image;
use crate::oci::{DiffId, Digest};
use crate::progress::Event;
use crate::store::{CacheRecord, SnapshotId};

impl Solver<'_> {
    /// A result that is there, for a step whose inputs are there too.
    pub(super) fn find(
        &self,
        id: VertexId,
        definition: &Definition,
        earlier: Option<&CacheRecord>,
        parent: Option<SnapshotId>,
    ) -> Result<Option<SnapshotId>, StepError> {
        let (vertex, store) = (self.vertex(id), self.tools.store);
        if self.ignores_cache(id) {
            return Ok(None);
        }
        // The key of an input that was renewed is the one of its older result too.
        let by_key = !vertex.inputs().any(|input| self.state(input).renewed);
        if by_key {
            let key = definition.key(&vertex.op);
            let found = store.cache_get(key)?.and_then(|record| record.result);
            if let Some(result) = found.filter(|result| store.pin(*result).unwrap_or(false)) {
                self.tell(id, "cached: the same step was built before");
                return Ok(Some(result));
            }
        }
        if let Some(result) = self.same_by_content(vertex, definition, earlier, parent)?
            && store.pin(result)?
        {
            let mut definition = definition.clone();
            for (name, value) in earlier.map(notes_of).unwrap_or_default() {
                definition = definition.with(&name, &value);
            }
            self.remember(id, definition, Some(result))?;
            self.tell(
                id,
                "cached: what it works on has the same content as before",
            );
            return Ok(Some(result));
        }
        if self.imports.is_empty() {
            return Ok(None);
        }
        let Some(content) = self.content_of(id, definition, None)? else {
            return Ok(None);
        };
        if !self.imports.look_up_content(id.0, content) {
            return Ok(None);
        }
        self.fetch(id)
    }

    /// Tells where the result of a step was found that did not have to run.
    pub(super) fn tell_cached(&self, id: VertexId) {
        match (self.imports.hit(id.0), &self.vertex(id).op) {
            (Some(hit), _) => {
                let place = self.imports.place(&hit);
                self.tell(id, &format!("cached: found in {place}, nothing fetched"));
            }
            (None, Op::Image(_)) => self.tell(id, "cached: the image is unpacked"),
            (None, _) => self.tell(id, "cached: the same step was built before"),
        }
    }

    /// Tells about a step what explains it, to whoever asked.
    pub(super) fn tell(&self, id: VertexId, text: &str) {
        if self.tools.request.explain_cache {
            self.tools.note(self.step(id), text.to_owned());
        }
    }

    /// The name of a step by content; its inputs must be there, or else the notes
    /// that tell their content.
    fn content_of(
        &self,
        id: VertexId,
        definition: &Definition,
        notes: Option<Vec<(String, String)>>,
    ) -> Result<Option<Digest>, StepError> {
        let vertex = self.vertex(id);
        let notes = match (notes, &vertex.op) {
            (Some(notes), _) => notes,
            (None, Op::Copy(op)) if !op.from().is_empty() || op.users.is_some() => {
                owned(self.prepared(op)?.notes()?)
            }
            (None, Op::Link(op)) => owned(self.link_notes(op)?),
            _ => Vec::new(),
        };
        let parent = self.input(vertex.parent);
        let base = self.base_layers(id);
        let store = self.tools.store;
        Ok(content_key(
            store, vertex, definition, base, parent, &notes,
        )?)
    }

    /// The image that the tree of a step begins with.
    fn base_image(&self, id: VertexId) -> Option<&BaseImage> {
        let mut next = Some(id);
        while let Some(id) = next {
            let vertex = self.vertex(id);
            if let Op::Image(image) = &vertex.op {
                return Some(image);
            }
            next = vertex.parent;
        }
        None
    }

    /// An image with all of its layers, brought here as part of a step.
    pub(super) fn whole(&self, base: &BaseImage, id: VertexId) -> Result<Image, StepError> {
        let Tools {
            store,
            cancel,
            sink,
            ..
        } = *self.tools;
        let brought = bases::bring(store, base, cancel, (sink, self.step(id)));
        if brought.is_err() && cancel.is_stopped() {
            return Err(StepError::canceled());
        }
        brought?;
        Ok(bases::image_of(store, base)?)
    }

    fn base_layers(&self, id: VertexId) -> &[DiffId] {
        self.base_image(id)
            .map_or(&[], |image| image.diff_ids.as_slice())
    }

    /// Fetches what was found elsewhere and keeps it; nothing when it cannot be had.
    pub(super) fn fetch(&self, id: VertexId) -> Result<Option<SnapshotId>, StepError> {
        let Some(hit) = self.imports.hit(id.0) else {
            return Ok(None);
        };
        let base = match self.base_image(id) {
            Some(base) => Some(self.whole(base, id)?),
            None => None,
        };
        let Some(result) = self.imports.fetch(id.0, base.as_ref()) else {
            return Ok(None);
        };
        let Some(mut definition) = self.definition(id)? else {
            return Ok(Some(result));
        };
        for note in hit.notes() {
            definition = definition.with(&note.name, &note.value);
        }
        self.remember(id, definition, Some(result))?;
        let place = self.imports.place(&hit);
        self.tell(id, &format!("cached: imported from {place}"));
        Ok(Some(result))
    }

    /// Makes the cache fit its limit before another result is recorded. What this
    /// build uses stays; where that alone is too much, the user is told once.
    pub(super) fn make_room(&self) {
        let Some(cap) = self.tools.request.cache_max else {
            return;
        };
        let text = match usage::hold_cap(self.tools.store, cap) {
            Ok(0) => return,
            Ok(excess) => format!(
                "the build cache is {excess} bytes larger than its limit of {cap} while this build uses it"
            ),
            Err(err) => format!("cannot limit the build cache: {}", causes(&err)),
        };
        if !self.cap_passed.swap(true, Ordering::Relaxed) {
            self.tools.sink.event(Event::Warning(text));
        }
    }

    /// Protects what will be used from being pruned meanwhile; what is gone already
    /// is as if it had never been found.
    pub(super) fn secure(&self) -> Result<(), StepError> {
        let found: BTreeSet<SnapshotId> = self
            .states()
            .iter()
            .filter_map(|state| state.result)
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        let found: Vec<SnapshotId> = found.into_iter().collect();
        let gone = self.tools.store.pin_all(&found)?;
        for state in self.states().iter_mut() {
            state.result = state.result.filter(|result| !gone.contains(result));
        }
        Ok(())
    }

    /// Keeps what was found elsewhere and not fetched by itself: the trees of steps
    /// that are part of the target's, and of the others the knowledge that they are
    /// known. Then the next build needs no other place to find the same.
    pub(super) fn settle(&self) -> Result<(), StepError> {
        if self.imports.is_empty() {
            return Ok(());
        }
        let ids = (0..self.graph.vertices.len()).map(VertexId);
        let is_open = |id: &VertexId| {
            let is_image = matches!(self.vertex(*id).op, Op::Image(_));
            !is_image && self.state(*id).result.is_none()
        };
        let open: Vec<VertexId> = ids.filter(is_open).collect();
        if open.is_empty() {
            return Ok(());
        }
        let own: BTreeSet<VertexId> = self.own_layers().collect();
        let top = self.graph.target.and_then(|id| self.state(id).result);
        let mut stack = match top {
            Some(top) => self.tools.store.snapshot_stack(top)?,
            None => Vec::new(),
        };
        stack.reverse();
        let diff_ids: Vec<Option<DiffId>> = stack.iter().map(|row| row.diff_id).collect();
        for id in open {
            let Some(hit) = self.imports.hit(id.0) else {
                // Nobody needed it; its key is what leads to those after it.
                if !self.ignores_key(id)
                    && let Some(definition) = self.definition(id)?
                {
                    self.remember(id, definition, None)?;
                }
                continue;
            };
            let place = hit.layers().len().min(stack.len());
            let beneath = hit.layers().iter().copied().map(Some);
            let is_part = place > 0 && beneath.eq(diff_ids[..place].iter().copied());
            let result = is_part.then(|| stack[place - 1].id);
            if own.contains(&id) && place > 0 {
                // A stack has the same depth, whatever the times in its layers.
                self.states()[id.0].result = Some(stack[place - 1].id);
            }
            if let Some(mut definition) = self.definition(id)? {
                for note in hit.notes() {
                    definition = definition.with(&note.name, &note.value);
                }
                self.remember(id, definition, result)?;
            }
        }
        Ok(())
    }

    /// Every step that has a result, for whoever carries it elsewhere. The build
    /// may have failed.
    pub(super) fn exports(&self) -> Vec<ExportStep> {
        let mut in_image = BTreeSet::new();
        let mut next = self.graph.target;
        while let Some(id) = next {
            in_image.insert(id);
            next = self.vertex(id).parent;
        }
        let ids = (0..self.graph.vertices.len()).map(VertexId);
        let made = ids.filter(|id| !matches!(self.vertex(*id).op, Op::Image(_)));
        made.filter_map(|id| self.export(id, in_image.contains(&id)))
            .collect()
    }

    fn export(&self, id: VertexId, in_image: bool) -> Option<ExportStep> {
        let state = self.state(id);
        let key = state.key?;
        let record = self.tools.store.cache_peek(key).ok().flatten();
        let result = match (self.imports.hit(id.0), state.result) {
            // A record of this store wins: it was found or made here.
            (_, Some(result)) if record.as_ref().is_some_and(|r| r.result == Some(result)) => {
                ExportResult::Snapshot(result)
            }
            (Some(hit), _) => ExportResult::Hit(hit),
            (None, _) => return None,
        };
        let content = match &result {
            ExportResult::Hit(_) => None,
            ExportResult::Snapshot(_) => {
                record.and_then(|record| self.exported_content(id, record))
            }
        };
        Some(ExportStep {
            key,
            content,
            result,
            base: self.base_layers(id).len(),
            in_image,
            renewed: state.renewed,
        })
    }

    /// The name by content of a result of this store. It is an aid: a step without
    /// one is found by its key alone.
    fn exported_content(&self, id: VertexId, record: CacheRecord) -> Option<Digest> {
        let vertex = self.vertex(id);
        if vertex.parent.is_some() && self.input(vertex.parent).is_none() {
            return None;
        }
        let notes = notes_of(&record);
        let definition = Definition {
            line: record.line,
            parts: record.parts,
        };
        self.content_of(id, &definition, Some(notes)).ok().flatten()
    }
}

/// The notes of a record that tell the content of what it took from other steps.
fn notes_of(record: &CacheRecord) -> Vec<(String, String)> {
    let parts = record.parts.iter();
    parts
        .filter(|part| part.name.starts_with('@') && !key::is_local(&part.name))
        .map(|part| (part.name.clone(), part.value.clone()))
        .collect()
}

fn owned(notes: Vec<(&'static str, String)>) -> Vec<(String, String)> {
    let notes = notes.into_iter();
    notes
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}
