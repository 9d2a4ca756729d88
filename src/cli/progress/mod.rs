//! Progress of a build on standard error: a terminal's moving picture, lines for
//! people or for programs, or nothing.
//!
//! Steps report from many threads; one thread draws. The channel between them is
//! bounded, so a program that writes faster than the terminal reads waits,
//! instead of filling memory.

mod base64;
mod clip;
mod lines;
mod plain;
mod raw;
mod screen;
mod settings;
mod summary;
mod text;
mod tty;

use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rbuild::progress::{Event, Sink};

pub(crate) use base64::base64;
pub(crate) use settings::Settings;
pub(crate) use summary::Summary;
pub(crate) use text::visible;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// [`Mode::Tty`] on a terminal, else [`Mode::Plain`].
    Auto,
    /// A moving picture; lines where there is no terminal to draw on.
    Tty,
    /// Lines.
    Plain,
    /// Lines of JSON.
    RawJson,
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
            "rawjson" => Ok(Self::RawJson),
            "quiet" => Ok(Self::Quiet),
            "none" => Ok(Self::None),
            other => Err(format!("invalid progress mode: {other}")),
        }
    }
}

/// How a build ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ending {
    /// The image that it made.
    pub(crate) image: Option<String>,
    /// The names that the image got.
    pub(crate) names: Vec<String>,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// Draws events.
trait Renderer {
    /// Something happened.
    fn event(&mut self, at: Instant, event: &Event);
    /// Time went by.
    fn tick(&mut self, now: Instant);
    /// Nothing more will happen.
    fn end(&mut self, now: Instant, ending: &Ending);
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
pub(crate) struct Channel(SyncSender<Message>);

#[derive(Debug)]
enum Message {
    Event(Instant, Event),
    End(Ending),
}

impl Sink for Channel {
    fn event(&self, event: Event) {
        // The drawing thread outlives every sender; if it died, the build matters more.
        let _undrawn = self.0.send(Message::Event(Instant::now(), event));
    }
}

impl Progress {
    /// Starts showing progress.
    pub(crate) fn start(mode: Mode, settings: Settings) -> Self {
        let (sender, receiver) = sync_channel(QUEUE);
        let drawing = thread::spawn(move || {
            let renderer = renderer(mode, &settings);
            draw(&receiver, &settings, renderer)
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
    pub(crate) fn finish(self, ending: Ending) -> Summary {
        let _undrawn = self.sink.0.send(Message::End(ending));
        drop(self.sink);
        self.drawing.join().unwrap_or_default()
    }
}

fn renderer(mode: Mode, settings: &Settings) -> Option<Box<dyn Renderer>> {
    let terminal = || io::stderr().is_terminal();
    match mode {
        Mode::Auto if terminal() && !settings.dumb => Some(Box::new(tty::Tty::new(settings))),
        Mode::Tty if terminal() => Some(Box::new(tty::Tty::new(settings))),
        Mode::Auto | Mode::Tty | Mode::Plain => Some(Box::new(plain::Plain::new(io::stderr()))),
        Mode::RawJson => Some(Box::new(raw::Raw::new(io::stderr(), Instant::now()))),
        Mode::Quiet | Mode::None => None,
    }
}

/// Whether an event says why a step was cached or not.
fn is_reason(event: &Event) -> bool {
    let is_reason = |text: &str| text.starts_with("cached: ") || text.starts_with("not cached: ");
    matches!(event, Event::Note { text, .. } if is_reason(text))
}

fn draw(
    receiver: &Receiver<Message>,
    settings: &Settings,
    mut renderer: Option<Box<dyn Renderer>>,
) -> Summary {
    let mut summary = Summary::new(Instant::now());
    let mut clip = clip::Clip::new(settings.limits);
    let mut ending = Ending::default();
    let mut ticked = Instant::now();
    loop {
        match receiver.recv_timeout(TICK) {
            Ok(Message::Event(at, event)) => {
                summary.event(at, &event);
                if let Some(renderer) = &mut renderer
                    && (settings.reasons || !is_reason(&event))
                    && let Some(event) = clip.event(at, event)
                {
                    renderer.event(at, &event);
                }
            }
            Ok(Message::End(end)) => ending = end,
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
    let now = Instant::now();
    if let Some(renderer) = &mut renderer {
        renderer.end(now, &ending);
    }
    summary.end(now);
    summary
}
