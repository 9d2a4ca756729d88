//! What a terminal shows of a build: rows, from events and a size.
//!
//! Steps that ended are rows that scroll away upwards, once. Beneath them stand
//! the rows that move: a header, the running steps, and as many of their last
//! lines as there is room for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anstyle::Style;
use rbuild::progress::{Event, Layer, Outcome, StepId};

use super::lines::Lines;
use super::settings::{Palette, Settings};
use super::text::{bar, cut, row, visible, width};
use crate::cli::human;

/// How many transfers of one step are shown.
const TRANSFERS: usize = 4;
/// How wide a transfer's bar is, where there is room for one.
const BAR: usize = 22;
/// Narrowest terminal with room for bars, and for a name and a line side by side.
const WIDE: usize = 60;
/// How much of a line is kept: no terminal is wider.
const LINE_LIMIT: usize = 2000;

/// The size of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    /// Characters in a row.
    pub(super) columns: usize,
    /// Rows.
    pub(super) rows: usize,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Its text; narrower than the terminal.
    pub(super) text: String,
    /// Its style.
    pub(super) style: Style,
}

/// A build on a terminal.
#[derive(Debug)]
pub(super) struct Screen {
    palette: Palette,
    log_lines: usize,
    started: Instant,
    /// Running steps, in the order in which they started.
    running: Vec<Step>,
    /// What has ended and is not shown yet.
    ended: Vec<Line>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    begun: usize,
    planned: usize,
    done: usize,
    /// Steps of the Dockerfile that ended well, and those of them that were cached.
    steps: usize,
    cached: usize,
    layers: usize,
    bytes: u64,
}

#[derive(Debug)]
struct Step {
    id: StepId,
    name: String,
    started: Instant,
    lines: Lines,
    tail: VecDeque<String>,
    transfers: Vec<Transfer>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Transfer {
    name: String,
    done: u64,
    total: Option<u64>,
}

/// A row before its width is known.
#[derive(Debug)]
struct Line {
    left: String,
    right: String,
    style: Style,
}

impl Line {
    /// The last column stays free: some terminals wrap as soon as it is written.
    fn row(&self, columns: usize) -> Row {
        Row {
            text: row(&self.left, &self.right, columns.saturating_sub(1)),
            style: self.style,
        }
    }
}

impl Screen {
    /// An empty screen; the build begins at `now`.
    pub(super) fn new(settings: &Settings, now: Instant) -> Self {
        Self {
            palette: settings.palette,
            log_lines: settings.log_lines,
            started: now,
            running: Vec::new(),
            ended: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Something happened.
    pub(super) fn event(&mut self, at: Instant, event: &Event) {
        match event {
            Event::Started { step, name, .. } => {
                self.counts.begun += 1;
                self.running.push(Step {
                    id: *step,
                    name: visible(name),
                    started: at,
                    lines: Lines::default(),
                    tail: VecDeque::new(),
                    transfers: Vec::new(),
                    notes: Vec::new(),
                });
            }
            Event::Planned { steps } => self.counts.planned = self.counts.begun + steps,
            Event::Log { step, bytes, .. } => {
                let limit = self.log_lines;
                if let Some(step) = self.step(*step) {
                    step.log(bytes, limit);
                }
            }
            Event::Transfer {
                step,
                name,
                done,
                total,
            } => {
                if let Some(step) = self.step(*step) {
                    step.transfer(name, *done, *total);
                }
            }
            Event::Note { step, text } => {
                if let Some(step) = self.step(*step) {
                    step.notes.push(visible(text));
                }
            }
            Event::Finished {
                step,
                outcome,
                took,
                layer,
                ..
            } => self.finished(*step, outcome, *took, layer.as_ref()),
            Event::Layer { .. } | Event::Warning(_) => {}
        }
    }

    fn step(&mut self, id: StepId) -> Option<&mut Step> {
        self.running.iter_mut().find(|step| step.id == id)
    }

    fn finished(&mut self, id: StepId, outcome: &Outcome, took: Duration, layer: Option<&Layer>) {
        let Some(place) = self.running.iter().position(|step| step.id == id) else {
            return;
        };
        let step = self.running.remove(place);
        let bytes = layer.map_or(0, |layer| layer.bytes);
        self.counts.done += 1;
        let counted = step.name.starts_with('[') && !step.name.starts_with("[internal]");
        let (mark, style) = match outcome {
            Outcome::Done => ("", self.palette.run),
            Outcome::Cached => ("CACHED ", self.palette.dim),
            Outcome::Failed(_) => ("ERROR ", self.palette.error),
            Outcome::Canceled => ("CANCELED ", self.palette.cancel),
        };
        if counted && matches!(outcome, Outcome::Done | Outcome::Cached) {
            self.counts.steps += 1;
            self.counts.cached += usize::from(*outcome == Outcome::Cached);
        }
        let mut size = String::new();
        if *outcome == Outcome::Done && bytes > 0 {
            self.counts.layers += 1;
            self.counts.bytes += bytes;
            size = format!("{} ", human::size(bytes));
        }
        self.ended.push(Line {
            left: format!(" => {mark}{}", step.name),
            right: format!("{size}{:.1}s", took.as_secs_f64()),
            style,
        });
        let style = self.palette.dim;
        self.ended.extend(step.notes.into_iter().map(|note| Line {
            left: format!(" => => {note}"),
            right: String::new(),
            style,
        }));
    }

    /// The rows of what ended since the last call.
    pub(super) fn take_ended(&mut self, columns: usize) -> Vec<Row> {
        let ended = std::mem::take(&mut self.ended);
        ended.iter().map(|line| line.row(columns)).collect()
    }

    /// The rows that move: at least one, and fewer than the terminal has.
    pub(super) fn moving(&self, now: Instant, size: Size) -> Vec<Row> {
        let mut room = size.rows.saturating_sub(2);
        let mut rows = vec![self.header(now).row(size.columns)];
        let mut shown = &self.running[..];
        let mut more = None;
        if shown.len() > room {
            shown = &shown[..room.saturating_sub(1)];
            more = (room > 0).then(|| self.running.len() - shown.len());
        }
        room = room.saturating_sub(shown.len() + usize::from(more.is_some()));
        let granted = grant(shown, room, self.log_lines);
        for (step, granted) in shown.iter().zip(granted) {
            let mut line = step.line(now);
            if granted == 0 && size.columns >= WIDE {
                step.share_row(&mut line, size.columns);
            }
            rows.push(line.row(size.columns));
            rows.extend(self.details(step, granted, size.columns));
        }
        rows.extend(more.map(|count| Row {
            text: cut(
                &format!(" => … and {count} more running"),
                size.columns.saturating_sub(1),
            ),
            style: self.palette.dim,
        }));
        rows
    }

    fn header(&self, now: Instant) -> Line {
        let seconds = now.duration_since(self.started).as_secs_f64();
        let Counts {
            begun,
            done,
            cached,
            planned,
            ..
        } = self.counts;
        let all = planned.max(begun);
        let mut right = format!("{} running", self.running.len());
        if cached > 0 {
            right.push_str(&format!(", {cached} cached"));
        }
        Line {
            left: format!("[+] Building {seconds:.1}s ({done}/{all})"),
            right,
            style: self.palette.header,
        }
    }

    fn details(&self, step: &Step, granted: usize, columns: usize) -> Vec<Row> {
        let style = self.palette.dim;
        let transfers = step.going().take(granted);
        let mut rows: Vec<Row> = transfers
            .map(|transfer| Row {
                text: transfer.line(columns).row(columns).text,
                style: self.palette.run,
            })
            .collect();
        let tail = step.last_lines(granted - rows.len(), self.log_lines);
        rows.extend(tail.into_iter().map(|line| Row {
            text: cut(&format!(" => => # {line}"), columns.saturating_sub(1)),
            style,
        }));
        rows
    }

    /// Nothing more will happen: what runs was stopped. The last rows.
    pub(super) fn end(&mut self, now: Instant, columns: usize) -> Vec<Row> {
        while let Some(step) = self.running.first() {
            let (id, took) = (step.id, now.duration_since(step.started));
            self.finished(id, &Outcome::Canceled, took, None);
        }
        let mut rows = self.take_ended(columns);
        let seconds = now.duration_since(self.started).as_secs_f64();
        let Counts {
            begun,
            done,
            planned,
            ..
        } = self.counts;
        let all = planned.max(begun);
        let header = Line {
            left: format!("[+] Building {seconds:.1}s ({done}/{all}) FINISHED"),
            right: String::new(),
            style: self.palette.header,
        };
        rows.push(header.row(columns));
        rows.extend(self.totals().map(|line| line.row(columns)));
        rows
    }

    /// What was cached and how much is new.
    fn totals(&self) -> Option<Line> {
        let Counts {
            steps,
            cached,
            layers,
            bytes,
            ..
        } = self.counts;
        if steps == 0 {
            return None;
        }
        let steps_word = if steps == 1 { "step" } else { "steps" };
        let mut left = format!(" => {cached} of {steps} {steps_word} cached");
        if layers > 0 {
            let layers_word = if layers == 1 { "layer" } else { "layers" };
            left.push_str(&format!(
                ", {layers} new {layers_word} of {}",
                human::size(bytes)
            ));
        }
        Some(Line {
            left,
            right: String::new(),
            style: self.palette.dim,
        })
    }
}

/// Gives each step some of the `room` rows for details: one each, then a second
/// one each, and so on, as far as they have any.
fn grant(steps: &[Step], mut room: usize, log_lines: usize) -> Vec<usize> {
    let wanted: Vec<usize> = steps
        .iter()
        .map(|step| step.going().count() + step.last_lines(log_lines, log_lines).len())
        .collect();
    let mut granted = vec![0; steps.len()];
    while room > 0 {
        let before = room;
        for (granted, wanted) in granted.iter_mut().zip(&wanted) {
            if *granted < *wanted && room > 0 {
                *granted += 1;
                room -= 1;
            }
        }
        if room == before {
            break;
        }
    }
    granted
}

impl Step {
    fn line(&self, now: Instant) -> Line {
        let seconds = now.duration_since(self.started).as_secs_f64();
        Line {
            left: format!(" => {}", self.name),
            right: format!("{seconds:.1}s"),
            style: Style::new(),
        }
    }

    /// Puts the last line that it wrote, or a transfer, into the row of its name,
    /// for want of rows; the name keeps two fifths.
    fn share_row(&self, line: &mut Line, columns: usize) {
        let transfer = self.going().next().map(|one| {
            let one = one.line(0);
            format!("{} {}", one.right, one.left.trim_start_matches(" => => "))
        });
        let Some(last) = transfer.or_else(|| self.last_lines(1, 1).pop()) else {
            return;
        };
        let name = cut(&line.left, columns * 2 / 5);
        let gap = " ".repeat((columns * 2 / 5).saturating_sub(width(&name)));
        line.left = format!("{name}{gap} # {}", last.trim_start());
    }

    fn log(&mut self, bytes: &[u8], limit: usize) {
        for line in self.lines.push(bytes) {
            self.tail.push_back(shortened(&line));
            if self.tail.len() > limit {
                self.tail.pop_front();
            }
        }
    }

    /// The last `count` lines, the unfinished one included, of those that are kept.
    fn last_lines(&self, count: usize, limit: usize) -> Vec<String> {
        let rest = Some(shortened(&self.lines.rest())).filter(|rest| !rest.is_empty());
        let lines: Vec<String> = self.tail.iter().cloned().chain(rest).collect();
        let count = count.min(limit).min(lines.len());
        lines[lines.len() - count..].to_vec()
    }

    fn transfer(&mut self, name: &str, done: u64, total: Option<u64>) {
        let known = self.transfers.iter_mut().find(|known| known.name == name);
        match known {
            Some(known) => (known.done, known.total) = (done, total),
            None => self.transfers.push(Transfer {
                name: visible(name),
                done,
                total,
            }),
        }
        // The whole ones are of no interest any more.
        if self.transfers.len() > TRANSFERS * 16 {
            self.transfers.retain(|one| one.total != Some(one.done));
        }
    }

    /// The transfers that are not whole yet.
    fn going(&self) -> impl Iterator<Item = &Transfer> {
        let going = self.transfers.iter();
        going
            .filter(|one| one.total != Some(one.done))
            .take(TRANSFERS)
    }
}

impl Transfer {
    fn line(&self, columns: usize) -> Line {
        let done = human::size(self.done);
        let right = match self.total {
            Some(total) if columns >= WIDE => {
                let bar = bar(self.done, total, BAR);
                format!("{bar} {done} / {}", human::size(total))
            }
            Some(total) => format!("{done} / {}", human::size(total)),
            None => done,
        };
        Line {
            left: format!(" => => {}", self.name),
            right,
            style: Style::new(),
        }
    }
}

/// A line as it may be shown, bounded.
fn shortened(line: &str) -> String {
    let line = visible(line);
    if width(&line) <= LINE_LIMIT && line.len() <= LINE_LIMIT * 4 {
        return line;
    }
    line.chars().take(LINE_LIMIT).collect()
}

#[cfg(test)]
mod tests;
