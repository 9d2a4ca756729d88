//! A build as it went: the events of each step put together.

use std::collections::HashMap;
use std::time::Duration;

use super::{Event, Layer, Outcome, StepId, Usage};

/// How many lines about a step are kept.
const NOTES: usize = 100;
/// How many warnings are kept.
const WARNINGS: usize = 1000;

/// What happened, up to now or to the end.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The steps in the order in which they started.
    pub steps: Vec<StepRecord>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// From the first moment to the last event.
    pub took: Duration,
    places: HashMap<StepId, usize>,
}

/// What happened to one step.
#[derive(Debug, Clone)]
pub struct StepRecord {
    /// Which step.
    pub step: StepId,
    /// Its line, such as `[build 2/5] RUN make`.
    pub name: String,
    /// Its line in the Dockerfile, counted from 1.
    pub line: Option<usize>,
    /// The steps whose results it needed.
    pub inputs: Vec<StepId>,
    /// When it started, from the first moment on.
    pub started: Duration,
    /// How it ended; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// How long it took, or has run.
    pub took: Duration,
    /// What was said of it, such as why the cache was missed.
    pub notes: Vec<String>,
    /// The layer that it made or found made.
    pub layer: Option<Layer>,
    /// What its program used.
    pub usage: Option<Usage>,
    /// Bytes that it transferred, of each transfer by name.
    pub transfers: Vec<(String, u64)>,
}

impl StepRecord {
    /// A step that just started.
    pub fn new(step: StepId, name: String, started: Duration) -> Self {
        Self {
            step,
            name,
            line: None,
            inputs: Vec::new(),
            started,
            outcome: None,
            took: Duration::ZERO,
            notes: Vec::new(),
            layer: None,
            usage: None,
            transfers: Vec::new(),
        }
    }

    /// The stage that its name tells, as in `[build 2/5] RUN make`; `None` for
    /// steps of no stage and for the only stage of a Dockerfile.
    pub fn stage(&self) -> Option<&str> {
        let (place, _) = self.name.strip_prefix('[')?.split_once("] ")?;
        let (stage, count) = place.rsplit_once(' ')?;
        let (number, all) = count.split_once('/')?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // A platform stands before the stage: `[linux/amd64 build 2/5]`.
        let stage = stage.rsplit(' ').next().unwrap_or(stage);
        let named = digits(number) && digits(all) && !stage.contains('/');
        named.then_some(stage)
    }
}

impl Record {
    /// Adds what happened at a moment, counted from the first one.
    pub fn event(&mut self, at: Duration, event: &Event) {
        self.took = self.took.max(at);
        match event {
            Event::Started {
                step,
                name,
                inputs,
                line,
            } => {
                self.places.insert(*step, self.steps.len());
                self.steps.push(StepRecord {
                    inputs: inputs.clone(),
                    line: *line,
                    ..StepRecord::new(*step, name.clone(), at)
                });
            }
            Event::Transfer {
                step, name, done, ..
            } => self.with(*step, |step| {
                let known = step.transfers.iter().position(|(known, _)| known == name);
                match known {
                    Some(place) => step.transfers[place].1 = *done,
                    None if step.transfers.len() < NOTES => {
                        step.transfers.push((name.clone(), *done));
                    }
                    None => {}
                }
            }),
            Event::Note { step, text } => self.with(*step, |step| {
                if step.notes.len() < NOTES {
                    step.notes.push(text.clone());
                }
            }),
            Event::Finished {
                step,
                outcome,
                took,
                layer,
                usage,
            } => self.with(*step, |step| {
                step.outcome = Some(outcome.clone());
                step.took = *took;
                step.layer.clone_from(layer);
                step.usage = *usage;
            }),
            Event::Layer { step, layer } => self.with(*step, |step| {
                step.layer = Some(layer.clone());
            }),
            Event::Warning(text) => {
                if self.warnings.len() < WARNINGS {
                    self.warnings.push(text.clone());
                }
            }
            Event::Log { .. } | Event::Planned { .. } => {}
        }
    }

    /// Nothing more will happen: steps without an end were stopped now.
    pub fn end(&mut self, at: Duration) {
        self.took = self.took.max(at);
        for step in &mut self.steps {
            if step.outcome.is_none() {
                step.outcome = Some(Outcome::Canceled);
                step.took = at.saturating_sub(step.started);
            }
        }
    }

    /// The step with this number, if it started.
    pub fn step(&self, step: StepId) -> Option<&StepRecord> {
        self.places.get(&step).map(|place| &self.steps[*place])
    }

    /// How many steps ended in a way that `wanted` says.
    pub fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        let ended = self.steps.iter().filter_map(|step| step.outcome.as_ref());
        ended.filter(|outcome| wanted(outcome)).count()
    }

    fn with(&mut self, step: StepId, change: impl FnOnce(&mut StepRecord)) {
        if let Some(place) = self.places.get(&step) {
            change(&mut self.steps[*place]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_its_stage() {
        let stage = |name: &str| {
            let step = StepRecord::new(StepId(1), name.to_owned(), Duration::ZERO);
            step.stage().map(str::to_owned)
        };
        assert_eq!(stage("[build 2/5] RUN make").as_deref(), Some("build"));
        assert_eq!(
            stage("[linux/amd64 build 2/5] RUN x").as_deref(),
            Some("build")
        );
        assert_eq!(stage("[stage-1 12/15] RUN x").as_deref(), Some("stage-1"));
        for name in [
            "[2/5] RUN make",
            "[internal] load build definition",
            "exporting to image",
            "[linux/amd64 2/5] RUN x",
            "[a b] x",
            "[",
        ] {
            assert_eq!(stage(name), None, "{name}");
        }
    }

    #[test]
    fn events_become_steps() {
        let second = Duration::from_secs;
        let mut record = Record::default();
        for (at, event) in [
            (
                1,
                Event::Started {
                    step: StepId(3),
                    name: "a".to_owned(),
                    inputs: vec![StepId(1)],
                    line: Some(7),
                },
            ),
            (
                2,
                Event::Note {
                    step: StepId(3),
                    text: "said".to_owned(),
                },
            ),
            (
                2,
                Event::Note {
                    step: StepId(99),
                    text: "of nobody".to_owned(),
                },
            ),
        ] {
            record.event(second(at), &event);
        }
        record.end(second(5));
        let step = record.step(StepId(3)).unwrap();
        assert_eq!(step.outcome, Some(Outcome::Canceled));
        assert_eq!((step.started, step.took), (second(1), second(4)));
        assert_eq!(
            (step.line, &step.notes[..]),
            (Some(7), &["said".to_owned()][..])
        );
        assert_eq!(record.took, second(5));
        assert_eq!(record.count(|outcome| *outcome == Outcome::Canceled), 1);
    }
}
