//! What is said of a build once it is over: what its steps did, warnings, and
//! the log of the step that failed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use rbuild::progress::{Event, Outcome, Record, StepId};

use super::lines::Lines;
use super::text::visible;

/// How many lines of a failed step are repeated.
const TAIL: usize = 30;

/// Collects what the end needs.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// What its steps did.
    pub(crate) record: Record,
    began: Option<Instant>,
    running: BTreeMap<StepId, Step>,
    failed: Option<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    started: Instant,
    lines: Lines,
    tail: VecDeque<String>,
}

impl Step {
    fn add(&mut self, at: Instant, lines: impl IntoIterator<Item = String>) {
        let seconds = at.duration_since(self.started).as_secs_f64();
        for line in lines {
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail
                .push_back(format!("{seconds:.3} {}", visible(&line)));
        }
    }
}

impl Summary {
    /// The build begins now.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            began: Some(now),
            ..Self::default()
        }
    }

    /// Something happened.
    pub(super) fn event(&mut self, at: Instant, event: &Event) {
        let began = *self.began.get_or_insert(at);
        self.record
            .event(at.saturating_duration_since(began), event);
        match event {
            Event::Started { step, name, .. } => {
                let state = Step {
                    name: name.clone(),
                    started: at,
                    lines: Lines::default(),
                    tail: VecDeque::new(),
                };
                self.running.insert(*step, state);
            }
            Event::Log { step, bytes, .. } => {
                if let Some(step) = self.running.get_mut(step) {
                    let lines = step.lines.push(bytes);
                    step.add(at, lines);
                }
            }
            Event::Finished { step, outcome, .. } => {
                let Some(mut step) = self.running.remove(step) else {
                    return;
                };
                // The first failure is the cause; others follow from it.
                if matches!(outcome, Outcome::Failed(_)) && self.failed.is_none() {
                    let rest = step.lines.finish();
                    step.add(at, rest);
                    self.failed = Some(step);
                }
            }
            _ => {}
        }
    }

    /// Nothing more will happen.
    pub(super) fn end(&mut self, now: Instant) {
        if let Some(began) = self.began {
            self.record.end(now.saturating_duration_since(began));
        }
    }

    /// The log of the failed step between two rules, as BuildKit shows it; empty
    /// when no step failed.
    pub(crate) fn failed_log(&self) -> String {
        let Some(step) = &self.failed else {
            return String::new();
        };
        let mut text = format!("------\n > {}:\n", step.name);
        for line in &step.tail {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("------\n");
        text
    }

    /// The warnings, in the order in which they came.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.record.warnings
    }
}
