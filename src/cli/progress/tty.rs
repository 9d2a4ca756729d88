//! Progress as a moving picture: finished steps scroll up, running ones stay
//! below with their time and the last lines that they wrote.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rbuild::progress::{Event, Outcome, StepId};

use super::Renderer;
use super::lines::{Lines, visible};
use crate::cli::human;

/// How many of its last lines a running step shows.
const TAIL: usize = 4;
/// Narrowest terminal that is drawn for.
const NARROWEST: usize = 30;

/// Draws on the terminal that standard error is.
#[derive(Debug)]
pub(super) struct Tty {
    multi: MultiProgress,
    header: ProgressBar,
    running: BTreeMap<StepId, Step>,
    started: Instant,
    begun: usize,
    done: usize,
    color: bool,
}

#[derive(Debug)]
struct Step {
    name: String,
    started: Instant,
    bar: ProgressBar,
    lines: Lines,
    tail: VecDeque<String>,
    transferred: Option<(u64, Option<u64>)>,
}

/// Colours of whole lines.
#[derive(Clone, Copy)]
enum Paint {
    Done,
    Failed,
    Dim,
}

impl Tty {
    /// Draws on standard error.
    pub(super) fn new(color: bool) -> Self {
        let multi = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15));
        let header = multi.add(bar());
        let started = Instant::now();
        let tty = Self {
            multi,
            header,
            running: BTreeMap::new(),
            started,
            begun: 0,
            done: 0,
            color,
        };
        tty.draw_header(started);
        tty
    }

    fn draw_header(&self, now: Instant) {
        let seconds = now.duration_since(self.started).as_secs_f64();
        let (done, begun) = (self.done, self.begun);
        self.header
            .set_message(format!("[+] Building {seconds:.1}s ({done}/{begun})"));
    }

    /// One bar holds the step's line and its log, so that they move together.
    fn draw_step(&self, step: &Step, now: Instant) {
        let transferred = match step.transferred {
            Some((done, Some(total))) => {
                format!("{} / {} ", human::size(done), human::size(total))
            }
            Some((done, None)) => format!("{} ", human::size(done)),
            None => String::new(),
        };
        let seconds = now.duration_since(step.started).as_secs_f64();
        let right = format!("{transferred}{seconds:.1}s");
        let mut rows = vec![row(&format!(" => {}", step.name), &right)];
        for line in &step.tail {
            let row = row(&format!(" => => # {line}"), "");
            rows.push(self.paint(row.trim_end().to_owned(), Paint::Dim));
        }
        step.bar.set_message(rows.join("\n"));
    }

    fn paint(&self, text: String, paint: Paint) -> String {
        if !self.color {
            return text;
        }
        let style = match paint {
            Paint::Done => anstyle::AnsiColor::Blue.on_default(),
            Paint::Failed => anstyle::AnsiColor::Red.on_default(),
            Paint::Dim => anstyle::Style::new().dimmed(),
        };
        format!("{style}{text}{style:#}")
    }

    fn log(&mut self, at: Instant, id: StepId, bytes: &[u8]) {
        let Some(step) = self.running.get_mut(&id) else {
            return;
        };
        let lines = step.lines.push(bytes);
        for line in &lines {
            if step.tail.len() == TAIL {
                step.tail.pop_front();
            }
            step.tail.push_back(visible(line));
        }
        if !lines.is_empty() {
            self.draw_step(&self.running[&id], at);
        }
    }

    fn finished(&mut self, id: StepId, outcome: &Outcome, took: Duration, bytes: Option<u64>) {
        let Some(step) = self.running.remove(&id) else {
            return;
        };
        step.bar.finish_and_clear();
        self.multi.remove(&step.bar);
        self.done += 1;
        let (mark, paint) = match outcome {
            Outcome::Done => ("", Paint::Done),
            Outcome::Cached => ("CACHED ", Paint::Done),
            Outcome::Failed(_) => ("ERROR ", Paint::Failed),
            Outcome::Canceled => ("CANCELED ", Paint::Dim),
        };
        let size = bytes
            .filter(|bytes| *bytes > 0)
            .map_or_else(String::new, |bytes| format!("{} ", human::size(bytes)));
        let right = format!("{size}{:.1}s", took.as_secs_f64());
        let row = row(&format!(" => {mark}{}", step.name), &right);
        self.print(&self.paint(row, paint));
    }

    /// A line above everything that moves.
    fn print(&self, line: &str) {
        // A terminal that is gone stops no build.
        let _terminal_gone = self.multi.println(line);
    }
}

impl Renderer for Tty {
    fn event(&mut self, at: Instant, event: &Event) {
        match event {
            Event::Started { step, name, .. } => {
                let state = Step {
                    name: visible(name),
                    started: at,
                    bar: self.multi.add(bar()),
                    lines: Lines::default(),
                    tail: VecDeque::new(),
                    transferred: None,
                };
                self.begun += 1;
                self.draw_step(&state, at);
                self.running.insert(*step, state);
            }
            Event::Log { step, bytes, .. } => self.log(at, *step, bytes),
            Event::Transfer { step, done, total } => {
                if let Some(step) = self.running.get_mut(step) {
                    step.transferred = Some((*done, *total));
                }
            }
            Event::Note { text, .. } => {
                let row = row(&format!(" => => {}", visible(text)), "");
                self.print(row.trim_end());
            }
            Event::Finished {
                step,
                outcome,
                took,
                layer_bytes,
                ..
            } => self.finished(*step, outcome, *took, *layer_bytes),
            Event::Warning(_) => {}
        }
        self.draw_header(at);
    }

    fn tick(&mut self, now: Instant) {
        for step in self.running.values() {
            self.draw_step(step, now);
        }
        self.draw_header(now);
    }

    fn end(&mut self, now: Instant) {
        let ids: Vec<StepId> = self.running.keys().copied().collect();
        for id in ids {
            let took = now.duration_since(self.running[&id].started);
            self.finished(id, &Outcome::Canceled, took, None);
        }
        let seconds = now.duration_since(self.started).as_secs_f64();
        self.header.finish_and_clear();
        let (done, begun) = (self.done, self.begun);
        self.print(&format!(
            "[+] Building {seconds:.1}s ({done}/{begun}) FINISHED"
        ));
    }
}

/// A line of the terminal's width: the left text is cut, the right one kept.
fn row(left: &str, right: &str) -> String {
    let columns =
        rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    let columns = if columns == 0 { 80 } else { columns };
    // The last column stays free: some terminals wrap as soon as it is written.
    let width = columns.max(NARROWEST) - 1;
    let room = width.saturating_sub(right.chars().count() + 1);
    let left = human::ellipsis(left, room);
    format!("{left:<room$} {right}")
}

/// A line that shows its message as it is.
fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style)
}
