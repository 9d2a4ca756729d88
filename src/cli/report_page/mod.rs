//! A build told afterwards: as one HTML page that needs nothing else, and as
//! Markdown for the pages of continuous integration.
//!
//! In: the record of a build and what its layers hold. Out: text. Names of
//! files, instructions and messages are foreign; whatever puts them into a page
//! escapes them.

mod html;
mod layers;
mod markdown;
mod steps;

use std::collections::BTreeMap;

use jiff::Timestamp;
use rbuild::engine::Engine;
use rbuild::progress::{Outcome, Record, StepRecord, critical_path};
use rbuild::snapshot::{Contents, ContentsLimits};

pub(crate) use html::page;
pub(crate) use markdown::summary;

use crate::cli::progress::visible;

/// How many entries of layers are looked at for one page.
const ENTRIES: usize = 1_000_000;
/// How many entries of layers one page shows.
const TOLD: usize = 20_000;
/// How many entries of one step's layers it shows.
const TOLD_OF_STEP: usize = 600;

/// A build and what came of it.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// What its steps did.
    pub(crate) record: &'a Record,
    /// The image's ID.
    pub(crate) image: Option<String>,
    /// The image's names.
    pub(crate) names: Vec<String>,
    /// Why it failed, with the place and the log, as the terminal shows it.
    pub(crate) failure: Option<String>,
    /// When it ended.
    pub(crate) ended: Timestamp,
}

impl Report<'_> {
    /// What the build is of.
    fn title(&self) -> &str {
        self.names
            .first()
            .or(self.image.as_ref())
            .map_or("an image", String::as_str)
    }

    /// The failure without colours.
    fn failure(&self) -> Option<String> {
        let lines = self.failure.as_ref()?.lines().map(visible);
        Some(lines.collect::<Vec<_>>().join("\n").trim().to_owned())
    }

    fn totals(&self) -> Totals {
        Totals::of(self.record)
    }
}

/// A build in numbers.
#[derive(Debug, Default)]
struct Totals {
    /// Places of the steps on the critical path.
    path: Vec<usize>,
    steps: usize,
    cached: usize,
    layers: usize,
    /// Bytes of the layers that were made now.
    bytes: u64,
    cpu: Option<std::time::Duration>,
    memory_peak: Option<u64>,
    path_took: std::time::Duration,
}

impl Totals {
    fn of(record: &Record) -> Self {
        let path = critical_path(&record.steps);
        let mut totals = Self {
            path_took: path.iter().map(|place| record.steps[*place].took).sum(),
            steps: record.steps.len(),
            cached: record.count(|outcome| *outcome == Outcome::Cached),
            path,
            ..Self::default()
        };
        for step in &record.steps {
            if step.outcome == Some(Outcome::Done)
                && let Some(layer) = &step.layer
                && layer.bytes > 0
            {
                totals.layers += 1;
                totals.bytes += layer.bytes;
            }
            if let Some(usage) = step.usage {
                totals.cpu = Some(totals.cpu.unwrap_or_default() + usage.cpu);
                let peak = totals.memory_peak.unwrap_or(0).max(usage.memory_peak);
                totals.memory_peak = Some(peak);
            }
        }
        totals
    }
}

/// What the layers of the steps hold, by the steps' places in the record. What
/// cannot be read, because it was removed meanwhile, is left out.
pub(crate) fn contents(engine: &Engine, record: &Record) -> BTreeMap<usize, Vec<Contents>> {
    let layers = record.steps.iter().enumerate();
    let layers: Vec<_> = layers
        .filter_map(|(place, step)| Some((place, step.layer.as_ref()?)))
        .collect();
    let mut entries = ENTRIES;
    let mut told = TOLD;
    let mut found = BTreeMap::new();
    for (index, (place, layer)) in layers.iter().enumerate() {
        let limits = ContentsLimits {
            entries,
            told: (told / (layers.len() - index)).min(TOLD_OF_STEP),
        };
        let Ok(contents) = engine.layer_contents(layer, limits) else {
            continue;
        };
        entries -= contents
            .iter()
            .map(|one| one.entries)
            .sum::<usize>()
            .min(entries);
        told = told.saturating_sub(limits.told);
        found.insert(*place, contents);
    }
    found
}

/// One word for how a step ended.
fn state(step: &StepRecord) -> &'static str {
    match step.outcome {
        Some(Outcome::Done) => "ran",
        Some(Outcome::Cached) => "cached",
        Some(Outcome::Failed(_)) => "failed",
        Some(Outcome::Canceled) | None => "canceled",
    }
}

/// A span of time: `0.04s`, `12.3s`, `2m 05s`.
fn seconds(span: std::time::Duration) -> String {
    let seconds = span.as_secs_f64();
    match span.as_secs() {
        0..10 => format!("{seconds:.2}s"),
        10..60 => format!("{seconds:.1}s"),
        whole @ 60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        whole => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests;
