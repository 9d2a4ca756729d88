//! `--explain-cache`: why a step ran, and where the result of one came from that
//! did not.
//!
//! The parts of every key are kept beside the result. What a step is made of now is
//! compared with what the most similar earlier run of it was made of; where only an
//! input differs, the same question is asked of that input, down to the step that
//! made the difference.

mod files;
mod parts;

use std::collections::BTreeSet;

use super::error::StepError;
use super::graph::{Op, VertexId};
use super::key::{self, Definition};
use super::solve::Solver;
use crate::dockerfile::{Dockerfile, Instruction};
use crate::oci::CacheKey;
use crate::store::{CacheRecord, KeyPart, SnapshotId};
use parts::Difference;

/// Most earlier runs that a step is compared with.
const RUNS: u32 = 16;
/// Most lines about one step.
const LINES: usize = 12;
/// Most steps that are gone back to find the one that made the difference.
const DEPTH: usize = 1000;

/// The names that `ARG` declares and `ENV` does not: arguments of the build.
pub(super) fn declared_arguments(dockerfile: &Dockerfile) -> BTreeSet<String> {
    let mut arguments = BTreeSet::new();
    let mut variables = BTreeSet::new();
    let globals = dockerfile.global_args.iter().map(|args| &args.value);
    arguments.extend(globals.flatten().map(|arg| arg.name.text.clone()));
    let stages = dockerfile.stages.iter();
    for instruction in stages.flat_map(|stage| &stage.instructions) {
        match &instruction.value {
            Instruction::Arg(args) => {
                arguments.extend(args.iter().map(|arg| arg.name.text.clone()));
            }
            Instruction::Env(pairs) => {
                variables.extend(pairs.iter().map(|pair| pair.key.text.clone()));
            }
            _ => {}
        }
    }
    arguments.retain(|name| !variables.contains(name));
    arguments
}

impl Solver<'_> {
    /// Says why a step ran that could have come from the cache.
    pub(super) fn explain(&self, id: VertexId, definition: &Definition, result: SnapshotId) {
        // An explanation that cannot be had stops nothing.
        let lines = self
            .reasons(id, definition, result)
            .unwrap_or_else(|_| vec!["the reason cannot be read".to_owned()]);
        let more = lines.len().saturating_sub(LINES);
        for line in lines.iter().take(LINES) {
            self.tell(id, &format!("not cached: {line}"));
        }
        if more > 0 {
            self.tell(id, &format!("not cached: and {more} more"));
        }
    }

    fn reasons(
        &self,
        id: VertexId,
        definition: &Definition,
        result: SnapshotId,
    ) -> Result<Vec<String>, StepError> {
        if self.tools.request.no_cache {
            return Ok(vec!["--no-cache was given".to_owned()]);
        }
        if self.graph.uncached.contains(&id.0) {
            return Ok(vec!["--no-cache-filter names its stage".to_owned()]);
        }
        let Some(earlier) = self.most_similar(definition)? else {
            return Ok(vec![self.never_built(id)?]);
        };
        let arguments = &self.tools.arguments;
        let mut lines = Vec::new();
        for difference in parts::differences(&earlier.parts, &definition.parts, arguments) {
            lines.extend(self.reason(id, &difference, &earlier, definition, result)?);
        }
        if !lines.is_empty() {
            return Ok(lines);
        }
        // The very same key: something before it was made anew.
        let inputs: Vec<VertexId> = self.vertex(id).inputs().collect();
        for input in inputs {
            if self.state(input).renewed {
                let name = &self.vertex(input).name;
                lines.push(format!("{name} was made anew, with another result"));
            }
        }
        if lines.is_empty() {
            lines.push("its result is not there any more".to_owned());
        }
        Ok(lines)
    }

    /// The earlier run of the same instruction that differs least.
    fn most_similar(&self, definition: &Definition) -> Result<Option<CacheRecord>, StepError> {
        let runs = self.tools.store.cache_of_line(definition.line, RUNS)?;
        let arguments = &self.tools.arguments;
        let distance =
            |run: &CacheRecord| parts::distance(&run.parts, &definition.parts, arguments);
        Ok(runs.into_iter().min_by_key(distance))
    }

    fn never_built(&self, id: VertexId) -> Result<String, StepError> {
        let text = "this instruction has not been built before".to_owned();
        let Some(parent) = self.vertex(id).parent.and_then(|id| self.state(id).key) else {
            return Ok(text);
        };
        let verb = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        let own = verb(&self.vertex(id).text);
        let siblings = self.tools.store.cache_on(parent, RUNS)?;
        let same = siblings.iter().find(|one| verb(&one.description) == own);
        Ok(match same {
            Some(one) => format!(
                "{text}; in its place there was `{}`",
                parts::shortened(&one.description)
            ),
            None => text,
        })
    }

    /// One difference as lines.
    fn reason(
        &self,
        id: VertexId,
        difference: &Difference,
        earlier: &CacheRecord,
        definition: &Definition,
        result: SnapshotId,
    ) -> Result<Vec<String>, StepError> {
        let cause = |what: &str, input: Option<VertexId>, old: Option<&str>| {
            let (Some(input), Some(old)) = (input, old) else {
                return Ok(vec![what.to_owned()]);
            };
            let cause = self.cause(input, old, DEPTH)?;
            Ok::<_, StepError>(vec![format!("{what}: {cause}")])
        };
        let old = |name: &str| key::value(&earlier.parts, name);
        match difference {
            Difference::Text(text) => Ok(vec![text.clone()]),
            Difference::Parent => {
                let parent = self.vertex(id).parent;
                cause(
                    "the step before it has another result",
                    parent,
                    old("parent"),
                )
            }
            Difference::From(name) => {
                let input = self.input_of_part(id, definition, name);
                let mut lines = cause(
                    "the stage it copies from has another result",
                    input,
                    old(name),
                )?;
                lines.extend(self.file_lines(earlier.result, Some(result)));
                Ok(lines)
            }
            Difference::MountTree(name) => {
                let input = self.input_of_part(id, definition, name);
                cause("a tree that it mounts has changed", input, old(name))
            }
            Difference::Layer => {
                let input = self.input_of_part(id, definition, "layer");
                cause("what it links has changed", input, old("layer"))
            }
            Difference::Users => {
                let input = self.input_of_part(id, definition, "users");
                let what = "the step whose users it names has another result";
                cause(what, input, old("users"))
            }
            Difference::Files => {
                let lines = self.file_lines(earlier.result, Some(result));
                // Files that differ only where the copy does not show it.
                let unseen = || vec!["the files to copy are others than before".to_owned()];
                Ok(if lines.is_empty() { unseen() } else { lines })
            }
        }
    }

    /// The step whose key stands in this part.
    fn input_of_part(&self, id: VertexId, definition: &Definition, name: &str) -> Option<VertexId> {
        let key = key::value(&definition.parts, name)?;
        let mut inputs = self.vertex(id).inputs();
        inputs.find(|input| {
            let known = self.state(*input).key;
            known.is_some_and(|known| known.to_string() == key)
        })
    }

    /// What made a step another one than the one that had the key `old`: the name
    /// of the step where the difference begins, and what it is.
    fn cause(&self, id: VertexId, old: &str, depth: usize) -> Result<String, StepError> {
        let vertex = self.vertex(id);
        if let Op::Image(image) = &vertex.op {
            return Ok(format!("{} is another image", image.reference));
        }
        let name = &vertex.name;
        let unknown = || format!("{name}, nothing is known of its last run");
        let Some((before, now)) = self.both(id, old)? else {
            return Ok(unknown());
        };
        if depth == 0 {
            return Ok(unknown());
        }
        if before.line != now.line {
            let text = parts::shortened(&before.description);
            return Ok(format!("{name} was `{text}`"));
        }
        let differences = parts::differences(&before.parts, &now.parts, &self.tools.arguments);
        let own = differences.iter().find_map(|difference| match difference {
            Difference::Text(text) => Some(text.clone()),
            Difference::Files => Some(self.first_file(&before, &now)),
            _ => None,
        });
        if let Some(own) = own {
            return Ok(format!("{name}: {own}"));
        }
        let definition = Definition {
            line: now.line,
            parts: now.parts,
        };
        for difference in &differences {
            let (part, input) = match difference {
                Difference::Parent => ("parent", vertex.parent),
                Difference::From(part) | Difference::MountTree(part) => {
                    (part.as_str(), self.input_of_part(id, &definition, part))
                }
                Difference::Layer => ("layer", self.input_of_part(id, &definition, "layer")),
                Difference::Users => ("users", self.input_of_part(id, &definition, "users")),
                _ => continue,
            };
            if let (Some(input), Some(old)) = (input, key::value(&before.parts, part)) {
                return self.cause(input, old, depth - 1);
            }
        }
        Ok(unknown())
    }

    /// The record that had the key `old`, and the one of the step now.
    fn both(
        &self,
        id: VertexId,
        old: &str,
    ) -> Result<Option<(CacheRecord, CacheRecord)>, StepError> {
        let (Ok(old), Some(key)) = (old.parse::<CacheKey>(), self.state(id).key) else {
            return Ok(None);
        };
        let store = self.tools.store;
        let Some(before) = store.cache_peek(old)? else {
            return Ok(None);
        };
        if let Some(now) = store.cache_peek(key)? {
            return Ok(Some((before, now)));
        }
        // Found elsewhere and not fetched.
        let now = self.imports.hit(id.0).map(|hit| hit.as_record(key));
        Ok(now.map(|now| (before, now)))
    }

    fn first_file(&self, before: &CacheRecord, now: &CacheRecord) -> String {
        let mut lines = self.file_lines(before.result, now.result);
        match lines.len() {
            0 => "the files to copy are others than before".to_owned(),
            1 => lines.remove(0),
            more => format!("{} and {} more", lines.remove(0), more - 1),
        }
    }

    fn file_lines(&self, old: Option<SnapshotId>, new: Option<SnapshotId>) -> Vec<String> {
        match (old, new) {
            (Some(old), Some(new)) => files::differences(self.tools.store, old, new),
            _ => Vec::new(),
        }
    }
}

/// The parts of a record as they are shown: notes left out.
fn visible(parts: &[KeyPart]) -> impl Iterator<Item = &KeyPart> {
    parts.iter().filter(|part| !part.name.starts_with('@'))
}
