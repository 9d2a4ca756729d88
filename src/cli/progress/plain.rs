//! Progress as lines, in BuildKit's plain form:
//!
//! ```text
//! #5 [2/3] RUN make
//! #5 0.123 cc main.c
//! #5 DONE 1.2s
//! ```
//!
//! Of steps that run side by side one is shown at a time, so that what belongs
//! together stands together: the lines of the others wait until it ends, or
//! until it has had its turn. A step that ends is shown at once.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{Duration, Instant};

use rbuild::progress::{Event, Layer, Outcome, StepId};

use super::Renderer;
use super::lines::Lines;
use super::text::visible;
use crate::cli::human;

/// How long a step is shown before another one gets its turn.
const TURN: Duration = Duration::from_secs(5);
/// How much of a step may wait to be shown, in bytes.
const WAITING_LIMIT: usize = 1 << 20;
/// How often a transfer that goes on gets a line.
const TRANSFER_EVERY: Duration = Duration::from_secs(5);

/// Writes lines.
#[derive(Debug)]
pub(super) struct Plain<W> {
    out: W,
    running: BTreeMap<StepId, Step>,
    /// The step that the last line belongs to, and since when it is shown.
    current: Option<(StepId, Instant)>,
    /// Whether a step has ended since, so that an empty line is due.
    ended: bool,
}

#[derive(Debug)]
struct Step {
    name: String,
    started: Instant,
    lines: Lines,
    transfers: Vec<Transfer>,
    /// Lines that were not shown yet, and since when.
    waiting: String,
    since: Option<Instant>,
}

#[derive(Debug)]
struct Transfer {
    name: String,
    started: Instant,
    shown: Instant,
    done: u64,
    total: Option<u64>,
}

impl Transfer {
    fn line(&self, now: Instant, end: &str) -> String {
        let seconds = now.duration_since(self.started).as_secs_f64();
        let done = human::size(self.done);
        let amount = match (self.total, self.done) {
            (Some(total), _) if total > 0 => format!(" {done} / {}", human::size(total)),
            // What has no bytes is something that is being done.
            (None, 0) => String::new(),
            _ => format!(" {done}"),
        };
        format!("{}{amount} {seconds:.1}s{end}", visible(&self.name))
    }
}

impl<W: Write> Plain<W> {
    /// Writes to `out`.
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            running: BTreeMap::new(),
            current: None,
            ended: false,
        }
    }

    /// A line of a step: shown now if the step is being shown or none is, else later.
    fn line(&mut self, at: Instant, id: StepId, text: &str) {
        let Some(step) = self.running.get_mut(&id) else {
            return;
        };
        if !text.is_empty() {
            step.waiting.push_str(&format!("#{} {text}\n", id.0));
        }
        step.since.get_or_insert(at);
        let full = step.waiting.len() > WAITING_LIMIT;
        if full || self.current.is_none_or(|(current, _)| current == id) {
            self.show(at, id);
        }
    }

    /// Writes what waits of a step. A change to another step is shown by an
    /// empty line and the other's name.
    fn show(&mut self, at: Instant, id: StepId) {
        let Some(step) = self.running.get_mut(&id) else {
            return;
        };
        let mut text = String::new();
        match self.current {
            Some((current, _)) if current == id => {}
            before => {
                if let Some((left, _)) = before {
                    text.push_str(&format!("#{} ...\n\n", left.0));
                } else if self.ended {
                    text.push('\n');
                }
                text.push_str(&format!("#{} {}\n", id.0, step.name));
                self.ended = false;
                self.current = Some((id, at));
            }
        }
        text.push_str(&std::mem::take(&mut step.waiting));
        step.since = None;
        // A reader that is gone stops no build.
        let _reader_gone = self.out.write_all(text.as_bytes());
    }

    fn log(&mut self, at: Instant, id: StepId, bytes: &[u8]) {
        let Some(step) = self.running.get_mut(&id) else {
            return;
        };
        let seconds = at.duration_since(step.started).as_secs_f64();
        let lines = step.lines.push(bytes);
        for line in lines {
            self.line(at, id, &format!("{seconds:.3} {line}"));
        }
    }

    fn transfer(&mut self, at: Instant, id: StepId, name: &str, done: u64, total: Option<u64>) {
        let Some(step) = self.running.get_mut(&id) else {
            return;
        };
        let known = step.transfers.iter().position(|known| known.name == name);
        let place = known.unwrap_or_else(|| {
            step.transfers.push(Transfer {
                name: name.to_owned(),
                started: at,
                shown: at,
                done,
                total,
            });
            step.transfers.len() - 1
        });
        let transfer = &mut step.transfers[place];
        let whole = total == Some(done) && transfer.done != done;
        (transfer.done, transfer.total) = (done, total);
        if known.is_none() || whole || at.duration_since(transfer.shown) >= TRANSFER_EVERY {
            transfer.shown = at;
            let line = transfer.line(at, "");
            self.line(at, id, &line);
        }
    }

    fn finished(&mut self, at: Instant, id: StepId, last: &str) {
        let Some(step) = self.running.get_mut(&id) else {
            return;
        };
        let seconds = at.duration_since(step.started).as_secs_f64();
        let mut rest: Vec<String> = step
            .transfers
            .iter()
            .map(|transfer| transfer.line(at, " done"))
            .collect();
        rest.extend(
            step.lines
                .finish()
                .map(|line| format!("{seconds:.3} {line}")),
        );
        rest.push(last.to_owned());
        for line in rest {
            let Some(step) = self.running.get_mut(&id) else {
                return;
            };
            step.waiting.push_str(&format!("#{} {line}\n", id.0));
        }
        self.show(at, id);
        self.running.remove(&id);
        self.current = None;
        self.ended = true;
    }

    /// The running step whose lines have waited longest.
    fn next(&self) -> Option<StepId> {
        let waiting = self.running.iter();
        let waiting = waiting.filter_map(|(id, step)| Some((step.since?, *id)));
        waiting.min().map(|(_, id)| id)
    }
}

/// The last line of a step.
fn last_line(outcome: &Outcome, took: Duration, layer: Option<&Layer>) -> String {
    let seconds = took.as_secs_f64();
    let size = layer.map(|layer| layer.bytes).filter(|bytes| *bytes > 0);
    match (outcome, size) {
        (Outcome::Done, None) => format!("DONE {seconds:.1}s"),
        (Outcome::Done, Some(bytes)) => format!("DONE {seconds:.1}s ({})", human::size(bytes)),
        (Outcome::Cached, _) => "CACHED".to_owned(),
        (Outcome::Failed(message), _) => format!("ERROR: {message}"),
        (Outcome::Canceled, _) => "CANCELED".to_owned(),
    }
}

impl<W: Write> Renderer for Plain<W> {
    fn event(&mut self, at: Instant, event: &Event) {
        match event {
            Event::Started { step, name, .. } => {
                let state = Step {
                    name: name.clone(),
                    started: at,
                    lines: Lines::default(),
                    transfers: Vec::new(),
                    waiting: String::new(),
                    since: None,
                };
                self.running.insert(*step, state);
                self.line(at, *step, "");
            }
            Event::Log { step, bytes, .. } => self.log(at, *step, bytes),
            Event::Note { step, text } => self.line(at, *step, text),
            Event::Transfer {
                step,
                name,
                done,
                total,
            } => self.transfer(at, *step, name, *done, *total),
            Event::Finished {
                step,
                outcome,
                took,
                layer,
                ..
            } => self.finished(at, *step, &last_line(outcome, *took, layer.as_ref())),
            Event::Layer { .. } | Event::Planned { .. } | Event::Warning(_) => {}
        }
    }

    fn tick(&mut self, now: Instant) {
        let over = self
            .current
            .is_none_or(|(_, since)| now.duration_since(since) >= TURN);
        if let Some(next) = self.next().filter(|_| over) {
            self.show(now, next);
        }
    }

    fn end(&mut self, now: Instant, _ending: &super::Ending) {
        while let Some(next) = self.next() {
            self.show(now, next);
        }
        let _reader_gone = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use rbuild::progress::Stream;

    use super::*;

    /// What is shown of events at these seconds.
    fn render(events: &[(u64, Event)]) -> String {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        let start = Instant::now();
        for (second, event) in events {
            let at = start + Duration::from_secs(*second);
            plain.tick(at);
            plain.event(at, event);
        }
        plain.end(start, &super::super::Ending::default());
        String::from_utf8(out).unwrap()
    }

    fn started(step: u32, name: &str) -> Event {
        Event::Started {
            step: StepId(step),
            name: name.to_owned(),
            inputs: Vec::new(),
            line: None,
        }
    }

    fn log(step: u32, text: &str) -> Event {
        Event::Log {
            step: StepId(step),
            stream: Stream::Stdout,
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn transfer(step: u32, done: u64) -> Event {
        Event::Transfer {
            step: StepId(step),
            name: "sha256:abc".to_owned(),
            done,
            total: Some(3_000_000),
        }
    }

    fn finished(step: u32, outcome: Outcome, bytes: Option<u64>) -> Event {
        Event::Finished {
            step: StepId(step),
            outcome,
            took: Duration::from_millis(1234),
            layer: bytes.map(|bytes| Layer {
                snapshot: 1,
                parent: None,
                bytes,
                diff_id: None,
            }),
            usage: None,
        }
    }

    #[test]
    fn a_step_is_a_block() {
        let text = render(&[
            (0, started(1, "[1/2] FROM busybox")),
            (0, finished(1, Outcome::Cached, Some(9))),
            (0, started(2, "[2/2] RUN make")),
            (0, log(2, "one\ntw")),
            (0, log(2, "o")),
            (0, finished(2, Outcome::Done, Some(1500))),
        ]);
        assert_eq!(
            text,
            "#1 [1/2] FROM busybox\n#1 CACHED\n\n#2 [2/2] RUN make\n#2 0.000 one\n#2 0.000 two\n#2 DONE 1.2s (1.5kB)\n"
        );
    }

    #[test]
    fn lines_of_other_steps_wait_for_the_end_of_one() {
        let text = render(&[
            (0, started(1, "a")),
            (0, started(2, "b")),
            (0, log(2, "y\n")),
            (0, log(1, "x\n")),
            (1, log(2, "z\n")),
            (
                1,
                finished(1, Outcome::Failed("exit code: 1".to_owned()), None),
            ),
            (1, finished(2, Outcome::Canceled, None)),
        ]);
        assert_eq!(
            text,
            "#1 a\n#1 0.000 x\n#1 ERROR: exit code: 1\n\n#2 b\n#2 0.000 y\n#2 1.000 z\n#2 CANCELED\n"
        );
    }

    #[test]
    fn another_step_gets_its_turn() {
        let text = render(&[
            (0, started(1, "a")),
            (0, started(2, "b")),
            (1, log(2, "y\n")),
            (6, log(1, "x\n")),
            (7, finished(2, Outcome::Done, None)),
            (8, finished(1, Outcome::Done, None)),
        ]);
        assert_eq!(
            text,
            "#1 a\n#1 ...\n\n#2 b\n#2 1.000 y\n#2 DONE 1.2s\n\n#1 a\n#1 6.000 x\n#1 DONE 1.2s\n"
        );
    }

    #[test]
    fn a_step_that_ends_is_shown_at_once() {
        let text = render(&[
            (0, started(1, "a")),
            (0, started(2, "b")),
            (1, finished(2, Outcome::Cached, None)),
            (2, finished(1, Outcome::Done, None)),
        ]);
        assert_eq!(
            text,
            "#1 a\n#1 ...\n\n#2 b\n#2 CACHED\n\n#1 a\n#1 DONE 1.2s\n"
        );
    }

    #[test]
    fn transfers_have_lines_now_and_then() {
        let text = render(&[
            (0, started(1, "a")),
            (0, transfer(1, 0)),
            (1, transfer(1, 100)),
            (6, transfer(1, 1_200_000)),
            (7, transfer(1, 3_000_000)),
            (7, transfer(1, 3_000_000)),
            (8, finished(1, Outcome::Done, None)),
        ]);
        assert_eq!(
            text,
            "#1 a\n#1 sha256:abc 0B / 3MB 0.0s\n#1 sha256:abc 1.2MB / 3MB 6.0s\n\
             #1 sha256:abc 3MB / 3MB 7.0s\n#1 sha256:abc 3MB / 3MB 8.0s done\n#1 DONE 1.2s\n"
        );
    }
}
