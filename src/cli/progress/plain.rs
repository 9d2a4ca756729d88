//! Progress as lines, in BuildKit's plain form:
//!
//! ```text
//! #5 [2/3] RUN make
//! #5 0.123 cc main.c
//! #5 DONE 1.2s
//! ```

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use rbuild::progress::{Event, Outcome, StepId};

use super::Renderer;
use super::lines::Lines;
use crate::cli::human;

/// How much of one step's output is shown, as BuildKit limits it.
const LOG_LIMIT: usize = 2 << 20;

/// Writes lines.
#[derive(Debug)]
pub(super) struct Plain<W> {
    out: W,
    running: BTreeMap<StepId, Step>,
    /// The step that the last line belongs to.
    current: Option<StepId>,
    /// Whether a step has ended since, so that an empty line is due.
    ended: bool,
}

#[derive(Debug)]
struct Step {
    name: String,
    started: Instant,
    lines: Lines,
    logged: usize,
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

    /// Writes a line of a step. A change to another step is shown by an empty
    /// line and the other's name.
    fn line(&mut self, step: StepId, text: &str) {
        let mut rows = Vec::new();
        if self.current != Some(step) {
            if let Some(left) = self.current.take() {
                rows.push(format!("#{} ...\n\n", left.0));
            } else if self.ended {
                rows.push("\n".to_owned());
            }
            self.ended = false;
            let state = self.running.get(&step);
            rows.extend(state.map(|state| format!("#{} {}\n", step.0, state.name)));
            self.current = Some(step);
        }
        if !text.is_empty() {
            rows.push(format!("#{} {text}\n", step.0));
        }
        let whole = rows.concat();
        // A reader that is gone stops no build.
        let _reader_gone = self.out.write_all(whole.as_bytes());
    }

    fn log(&mut self, at: Instant, id: StepId, bytes: &[u8]) {
        let Some(step) = self.running.get_mut(&id) else {
            return;
        };
        if step.logged >= LOG_LIMIT {
            return;
        }
        step.logged += bytes.len();
        let clipped = step.logged >= LOG_LIMIT;
        let seconds = at.duration_since(step.started).as_secs_f64();
        for line in step.lines.push(bytes) {
            self.line(id, &format!("{seconds:.3} {line}"));
        }
        if clipped {
            self.line(id, "[output clipped, log limit 2MiB reached]");
        }
    }

    fn finished(&mut self, at: Instant, id: StepId, last: &str) {
        let rest = self.running.get_mut(&id).and_then(|step| {
            let seconds = at.duration_since(step.started).as_secs_f64();
            let line = step.lines.finish()?;
            Some(format!("{seconds:.3} {line}"))
        });
        if let Some(rest) = rest {
            self.line(id, &rest);
        }
        self.line(id, last);
        self.running.remove(&id);
        self.current = None;
        self.ended = true;
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
                    logged: 0,
                };
                self.running.insert(*step, state);
                self.line(*step, "");
            }
            Event::Log { step, bytes, .. } => self.log(at, *step, bytes),
            Event::Note { step, text } => self.line(*step, text),
            Event::Finished {
                step,
                outcome,
                took,
                layer_bytes,
                ..
            } => {
                let seconds = took.as_secs_f64();
                let size = layer_bytes.filter(|bytes| *bytes > 0);
                let last = match (outcome, size) {
                    (Outcome::Done, None) => format!("DONE {seconds:.1}s"),
                    (Outcome::Done, Some(bytes)) => {
                        format!("DONE {seconds:.1}s ({})", human::size(bytes))
                    }
                    (Outcome::Cached, _) => "CACHED".to_owned(),
                    (Outcome::Failed(message), _) => format!("ERROR: {message}"),
                    (Outcome::Canceled, _) => "CANCELED".to_owned(),
                };
                self.finished(at, *step, &last);
            }
            Event::Transfer { .. } | Event::Warning(_) => {}
        }
    }

    fn tick(&mut self, _now: Instant) {}

    fn end(&mut self, _now: Instant) {
        let _reader_gone = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rbuild::progress::Stream;

    use super::*;

    fn render(events: &[Event]) -> String {
        let mut out = Vec::new();
        let mut plain = Plain::new(&mut out);
        let start = Instant::now();
        for event in events {
            plain.event(start, event);
        }
        plain.end(start);
        String::from_utf8(out).unwrap()
    }

    fn started(step: u32, name: &str) -> Event {
        Event::Started {
            step: StepId(step),
            name: name.to_owned(),
            inputs: Vec::new(),
        }
    }

    fn log(step: u32, text: &str) -> Event {
        Event::Log {
            step: StepId(step),
            stream: Stream::Stdout,
            bytes: text.as_bytes().to_vec(),
        }
    }

    fn finished(step: u32, outcome: Outcome, layer_bytes: Option<u64>) -> Event {
        Event::Finished {
            step: StepId(step),
            outcome,
            took: Duration::from_millis(1234),
            layer_bytes,
            usage: None,
        }
    }

    #[test]
    fn a_step_is_a_block() {
        let text = render(&[
            started(1, "[1/2] FROM busybox"),
            finished(1, Outcome::Cached, None),
            started(2, "[2/2] RUN make"),
            log(2, "one\ntw"),
            log(2, "o"),
            finished(2, Outcome::Done, Some(1500)),
        ]);
        assert_eq!(
            text,
            "#1 [1/2] FROM busybox\n#1 CACHED\n\n#2 [2/2] RUN make\n#2 0.000 one\n#2 0.000 two\n#2 DONE 1.2s (1.5kB)\n"
        );
    }

    #[test]
    fn steps_side_by_side_are_told_apart() {
        let text = render(&[
            started(1, "a"),
            started(2, "b"),
            log(1, "x\n"),
            finished(1, Outcome::Failed("exit code: 1".to_owned()), None),
            finished(2, Outcome::Canceled, None),
        ]);
        assert_eq!(
            text,
            "#1 a\n#1 ...\n\n#2 b\n#2 ...\n\n#1 a\n#1 0.000 x\n#1 ERROR: exit code: 1\n\n#2 b\n#2 CANCELED\n"
        );
    }

    #[test]
    fn endless_output_is_clipped() {
        let line = "x".repeat(1023) + "\n";
        let mut events = vec![started(1, "a")];
        events.extend((0..3000).map(|_| log(1, &line)));
        let text = render(&events);
        assert!(text.len() < LOG_LIMIT + (LOG_LIMIT / 50));
        assert!(text.ends_with("[output clipped, log limit 2MiB reached]\n"));
    }
}
