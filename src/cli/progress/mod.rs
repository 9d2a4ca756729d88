//! Progress of a build on standard error: a terminal's moving picture, plain
//! lines, or nothing.
//!
//! Steps report from many threads; one thread draws. The channel between them is
//! bounded, so a program that writes faster than the terminal reads waits,
//! instead of filling memory.

mod lines;
mod plain;
mod summary;
mod tty;

use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rbuild::progress::{Event, Sink};

pub(crate) use summary::Summary;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// [`Mode::Tty`] on a terminal, else [`Mode::Plain`].
    Auto,
    /// A moving picture; lines where there is no terminal to draw on.
    Tty,
    /// Lines.
    Plain,
    /// Nothing, and the image's ID at the end.
    Quiet,
    /// Nothing.
    None,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "tty" => Ok(Self::Tty),
            "plain" => Ok(Self::Plain),
            "quiet" => Ok(Self::Quiet),
            "none" => Ok(Self::None),
            other => Err(format!("invalid progress mode: {other}")),
        }
    }
}

/// Draws events.
trait Renderer {
    /// Something happened.
    fn event(&mut self, at: Instant, event: &Event);
    /// Time went by.
    fn tick(&mut self, now: Instant);
    /// Nothing more will happen.
    fn end(&mut self, now: Instant);
}

/// How many events may wait to be drawn.
const QUEUE: usize = 4096;
/// How often running times are drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// Progress being shown.
#[derive(Debug)]
pub(crate) struct Progress {
    sink: Channel,
    drawing: JoinHandle<Summary>,
}

/// The end of the channel that steps report to.
#[derive(Debug, Clone)]
pub(crate) struct Channel(SyncSender<(Instant, Event)>);

impl Sink for Channel {
    fn event(&self, event: Event) {
        // The drawing thread outlives every sender; if it died, the build matters more.
        let _undrawn = self.0.send((Instant::now(), event));
    }
}

impl Progress {
    /// Starts showing progress.
    pub(crate) fn start(mode: Mode, color: bool) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let drawing = thread::spawn(move || {
            let renderer: Option<Box<dyn Renderer>> = match mode {
                Mode::Auto | Mode::Tty if io::stderr().is_terminal() => {
                    Some(Box::new(tty::Tty::new(color)))
                }
                Mode::Auto | Mode::Tty | Mode::Plain => {
                    Some(Box::new(plain::Plain::new(io::stderr())))
                }
                Mode::Quiet | Mode::None => None,
            };
            draw(&receiver, renderer)
        });
        Self {
            sink: Channel(sender),
            drawing,
        }
    }

    /// Where steps report to. Every copy must be dropped before [`Progress::finish`].
    pub(crate) fn sink(&self) -> &Channel {
        &self.sink
    }

    /// Draws what is left and ends.
    pub(crate) fn finish(self) -> Summary {
        drop(self.sink);
        self.drawing.join().unwrap_or_default()
    }
}

fn draw(receiver: &Receiver<(Instant, Event)>, mut renderer: Option<Box<dyn Renderer>>) -> Summary {
    let mut summary = Summary::default();
    let mut ticked = Instant::now();
    loop {
        match receiver.recv_timeout(TICK) {
            Ok((at, event)) => {
                summary.event(at, &event);
                if let Some(renderer) = &mut renderer {
                    renderer.event(at, &event);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        // Events may come without a pause; running times go on all the same.
        let now = Instant::now();
        if let Some(renderer) = &mut renderer
            && now.duration_since(ticked) >= TICK
        {
            renderer.tick(now);
            ticked = now;
        }
    }
    if let Some(renderer) = &mut renderer {
        renderer.end(Instant::now());
    }
    summary
}
