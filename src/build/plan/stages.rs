//! How stages refer to each other: what of it is wrong wherever it stands, and
//! which of them a target needs.

use super::Planner;
use super::error::PlanError;
use crate::dockerfile::{self, Instruction, Span, Word};

/// A stage that another one takes files from, and where it says so.
type Source = (usize, Span);

impl Planner<'_, '_> {
    /// Looks at all stages, those that the target does not reach included: at the
    /// numbers of stages, and for circles. Returns the stages that `wanted` need,
    /// in the order of the text.
    pub(super) fn needed(&self, wanted: &[usize]) -> Result<Vec<usize>, PlanError> {
        let count = self.request.dockerfile.stages.len();
        let sources = (0..count).map(|index| self.sources(index));
        let sources: Vec<Vec<Source>> = sources.collect::<Result<_, _>>()?;
        let mut seen = vec![Seen::Never; count];
        for index in 0..count {
            if let Some(span) = circle(index, &sources, &mut seen) {
                let name = self.stage_title(index);
                let message = format!("circular dependency detected on stage: {name}");
                return Err(PlanError::new(span, message));
            }
        }
        let mut is_needed = vec![false; count];
        for index in wanted {
            is_needed[*index] = true;
        }
        // Stages use only those above, so that one pass upwards finds all. What
        // the triggers of a base image use is not known yet.
        for index in (0..count).rev() {
            if !is_needed[index] {
                continue;
            }
            // A context stands for the stage and all that it needs.
            if self.is_replaced(index) {
                continue;
            }
            let base = self.base_stage(index);
            let after = self.after_stages(index);
            let sources = sources[index].iter().map(|(at, _)| *at);
            for stage in base.into_iter().chain(after).chain(sources) {
                is_needed[stage] = true;
            }
        }
        Ok((0..count).filter(|index| is_needed[*index]).collect())
    }

    /// The stage that this one is built from.
    fn base_stage(&self, index: usize) -> Option<usize> {
        let base = &self.request.dockerfile.stages[index].from.value.base;
        let base = self.expand(base, &self.globals).ok()?;
        self.stage_by_name(&base, index)
    }

    /// The stages that this one comes after.
    fn after_stages(&self, index: usize) -> Vec<usize> {
        let after = &self.request.dockerfile.stages[index].from.value.after;
        let stage = |word: &Word| self.source_named(index, &word.text);
        // One below is refused when the stage is planned.
        after
            .iter()
            .filter_map(stage)
            .filter(|stage| *stage < index)
            .collect()
    }

    /// Whether a context stands in place of a stage.
    fn is_replaced(&self, index: usize) -> bool {
        let from = &self.request.dockerfile.stages[index].from.value;
        let name = from.name.as_ref();
        name.is_some_and(|name| self.context(&name.text, self.request.platform).is_some())
    }

    /// The name of a stage for messages.
    pub(super) fn stage_title(&self, index: usize) -> String {
        let name = self.request.dockerfile.stages[index]
            .from
            .value
            .name
            .as_ref();
        name.map_or_else(|| format!("stage-{index}"), |name| name.text.clone())
    }

    fn sources(&self, index: usize) -> Result<Vec<Source>, PlanError> {
        let mut sources = Vec::new();
        for place in &self.request.dockerfile.stages[index].instructions {
            match &place.value {
                Instruction::Copy(copy) => {
                    if let Some(from) = &copy.from {
                        sources.extend(self.copy_source(index, from)?);
                    }
                }
                Instruction::Run(run) => {
                    for mount in &run.flags.mounts {
                        // What is wrong with the mount is found when it is planned.
                        let options = dockerfile::mount_options(&mount.text);
                        let from = options.ok().and_then(|options| options.from);
                        let stage = from.and_then(|from| self.source_named(index, &from));
                        sources.extend(stage.map(|stage| (stage, mount.span)));
                    }
                }
                _ => {}
            }
        }
        Ok(sources)
    }

    fn copy_source(&self, index: usize, from: &Word) -> Result<Option<Source>, PlanError> {
        let count = self.request.dockerfile.stages.len();
        let stage = match from.text.parse::<i64>() {
            Ok(number) => {
                let stage = usize::try_from(number).ok().filter(|at| *at < count);
                if stage.is_none() {
                    let message = format!("invalid stage index {number}");
                    let hint = format!("the stages are numbered from 0 to {}", count - 1);
                    return Err(PlanError::new(from.span, message).with_hint(Some(hint)));
                }
                stage
            }
            Err(_) => self.source_named(index, &from.text),
        };
        Ok(stage.map(|stage| (stage, from.span)))
    }

    /// The nearest stage above with this name, or else one below.
    fn source_named(&self, index: usize, name: &str) -> Option<usize> {
        let count = self.request.dockerfile.stages.len();
        let above = self.stage_by_name(name, index);
        above.or_else(|| self.stage_by_name(name, count))
    }
}

/// How far the search for circles has come with a stage.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Never,
    /// It is on the way that is followed.
    Open,
    Done,
}

/// Follows the sources of a stage; where they lead in a circle, the place that
/// closes it. The way is kept in a list: files may have very many stages.
fn circle(start: usize, sources: &[Vec<Source>], seen: &mut [Seen]) -> Option<Span> {
    if seen[start] != Seen::Never {
        return None;
    }
    // Each stage of the way with the number of its sources that were followed.
    let mut way = vec![(start, 0)];
    seen[start] = Seen::Open;
    while let Some((stage, followed)) = way.last_mut() {
        let Some((next, span)) = sources[*stage].get(*followed) else {
            seen[*stage] = Seen::Done;
            way.pop();
            continue;
        };
        *followed += 1;
        match seen[*next] {
            Seen::Open => return Some(*span),
            Seen::Done => {}
            Seen::Never => {
                seen[*next] = Seen::Open;
                way.push((*next, 0));
            }
        }
    }
    None
}
