//! A shell in the sandbox of a step, on the terminal or the standard input of
//! the command.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rbuild::build::{Error, RunNetwork, Scene, Stands, Visitor};
use rbuild::progress::{Event, Sink};
use rbuild::sandbox::{Stdio, Terminal};
use rbuild::sys::signals::Signals;
use rustix::pipe::{PipeFlags, pipe_with};

use super::converse::{self, Ends};
use crate::cli::commands::containers::terminal::{self, Raw};
use crate::cli::output::Output;
use crate::cli::progress::{Channel, Ending, Progress, Summary};
use crate::cli::report::Failure;

/// SIGWINCH of signal(7).
const WINDOW_CHANGED: i32 = 28;

/// Says why a step failed, before the shell is opened.
pub(super) type Explain<'a> = dyn Fn(&Error, &Summary) -> String + Sync + 'a;

/// Shows progress until somebody is let into a sandbox, and then the shell.
pub(crate) struct Host<'a> {
    /// Where events go; nowhere once the shell has the terminal.
    channel: Mutex<Option<Channel>>,
    progress: Mutex<Option<Progress>>,
    summary: Mutex<Summary>,
    resized: &'a Signals,
    /// The value of TERM.
    kind: String,
    explain: &'a Explain<'a>,
    outcome: Mutex<Option<Result<u8, String>>>,
}

/// Catches the signal of a changed window; before any other thread is made.
pub(crate) fn catch_resizing() -> Result<Signals, Failure> {
    Signals::catch(&[WINDOW_CHANGED])
        .map_err(|err| Failure::new(1, format!("cannot watch for signals: {err}")))
}

impl<'a> Host<'a> {
    /// Takes over from `progress`.
    pub(crate) fn new(
        progress: Progress,
        resized: &'a Signals,
        kind: Option<&String>,
        explain: &'a Explain<'a>,
    ) -> Self {
        Self {
            channel: Mutex::new(Some(progress.sink().clone())),
            progress: Mutex::new(Some(progress)),
            summary: Mutex::default(),
            resized,
            kind: kind.map_or_else(|| "xterm".to_owned(), Clone::clone),
            explain,
            outcome: Mutex::new(None),
        }
    }

    /// Ends progress, if nobody has yet: what it has to say in the end, and how
    /// the shell ended, where there was one.
    pub(crate) fn finish(self, ending: Ending) -> (Summary, Option<Result<u8, String>>) {
        self.quiet(ending);
        let summary = self.summary.into_inner();
        let outcome = self.outcome.into_inner();
        (
            summary.unwrap_or_else(PoisonError::into_inner),
            outcome.unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Draws what is left of progress and ends it.
    fn quiet(&self, ending: Ending) {
        drop(lock(&self.channel).take());
        if let Some(progress) = lock(&self.progress).take() {
            *lock(&self.summary) = progress.finish(ending);
        }
    }

    fn open(&self, scene: &Scene<'_>) -> Result<u8, String> {
        let on_terminal = terminal::stdin_is_one() && io::stdout().is_terminal();
        if on_terminal {
            self.on_terminal(scene)
        } else {
            with_pipes(scene)
        }
    }

    fn on_terminal(&self, scene: &Scene<'_>) -> Result<u8, String> {
        let (rows, columns) = terminal::size();
        let size = Terminal { rows, columns };
        let talk = |running: &mut rbuild::sandbox::Running| -> io::Result<u8> {
            let master = running.take_terminal().ok_or(io::ErrorKind::NotFound)?;
            let _raw = Raw::of_stdin()?;
            converse::serve(running, Ends::Terminal(master), Some(self.resized))
        };
        let kind = Some((size, self.kind.as_str()));
        said(scene.run(Stdio::Terminal, kind, talk))
    }
}

/// The shell with the command's own standard streams, carried by pipes: they may be
/// files of the host, which nothing in the sandbox may get hold of.
fn with_pipes(scene: &Scene<'_>) -> Result<u8, String> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|err| format!("cannot make a pipe: {err}"));
    let (stdin, input) = pipe()?;
    let (output, stdout) = pipe()?;
    let (errors, stderr) = pipe()?;
    let stdio = Stdio::Descriptors {
        stdin: stdin.as_fd(),
        stdout: stdout.as_fd(),
        stderr: stderr.as_fd(),
    };
    let ends = Ends::Pipes {
        input: Some(input),
        outputs: [output, errors],
    };
    said(scene.run(stdio, None, |running| converse::serve(running, ends, None)))
}

impl Sink for Host<'_> {
    fn event(&self, event: Event) {
        if let Some(channel) = &*lock(&self.channel) {
            channel.event(event);
        }
    }
}

impl Visitor for Host<'_> {
    fn visit(&self, scene: &Scene<'_>, error: Option<&Error>) {
        self.quiet(Ending {
            error: error.map(ToString::to_string),
            ..Ending::default()
        });
        let mut text = match error {
            Some(error) => (self.explain)(error, &lock(&self.summary)),
            None => String::new(),
        };
        text.push_str(&introduction(scene));
        Output::notice(&text);
        *lock(&self.outcome) = Some(self.open(scene));
    }
}

/// What the user has before them.
fn introduction(scene: &Scene<'_>) -> String {
    let network = match scene.network() {
        RunNetwork::Default => "the build's network",
        RunNetwork::None => "no network",
        RunNetwork::Host => "the host's network",
    };
    let place = match scene.stands() {
        Stands::Before => "before",
        Stands::After => "after",
        Stands::Failed => "in what is left of",
    };
    format!(
        "\nA shell {place} {title}\n  {user} in {directory}, with the mounts and the environment of the step and {network}.\n  \
         `exit` leaves it; what is changed in it is thrown away.\n",
        title = shortened(scene.title()),
        user = scene.user(),
        directory = scene.directory(),
    )
}

/// A step's line, of which the beginning tells which one it is.
fn shortened(title: &str) -> String {
    const LONGEST: usize = 100;
    match title.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &title[..at]),
        None => title.to_owned(),
    }
}

/// The shell's exit code, or why there was none.
fn said(result: Result<io::Result<u8>, Error>) -> Result<u8, String> {
    match result {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(err)) => Err(format!("lost the shell: {err}")),
        Err(err) => Err(err.to_string()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
