//! Layers on their way, as lines or as bars.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use rbuild::engine::{Engine, Reach};
use rbuild::oci::{Digest, Platform, Reference};
use rbuild::transfer::{LayerState, Pulled, Watch};

use crate::cli::report::Failure;

/// Which of Docker's words the states have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Pull,
    Push,
    Copy,
}

/// Where progress goes: `pull` and `push` tell it on standard output, `run`,
/// whose standard output is its program's, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
}

impl Target {
    fn is_terminal(self) -> bool {
        match self {
            Self::Stdout => io::stdout().is_terminal(),
            Self::Stderr => io::stderr().is_terminal(),
        }
    }

    fn draw(self) -> ProgressDrawTarget {
        match self {
            Self::Stdout => ProgressDrawTarget::stdout(),
            Self::Stderr => ProgressDrawTarget::stderr(),
        }
    }

    /// Writes a line; a reader that is gone misses nothing.
    fn line(self, text: &str) {
        let _gone = match self {
            Self::Stdout => writeln!(io::stdout().lock(), "{text}"),
            Self::Stderr => writeln!(io::stderr().lock(), "{text}"),
        };
    }
}

/// Pulls an image and tells about it in Docker's words; the name is not
/// repeated at the end.
pub(crate) fn pull(
    engine: &Engine,
    reference: &Reference,
    platform: Option<&Platform>,
    reach: Reach,
    quiet: bool,
    to: Target,
) -> Result<Pulled, Failure> {
    let say = |text: String| {
        if !quiet {
            to.line(&text);
        }
    };
    let what = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or("latest").to_owned(),
    };
    say(format!("{what}: Pulling from {}", reference.path()));
    let layers = Layers::new(Words::Pull, quiet, to);
    let pulled = engine.pull(reference, platform, reach, &layers);
    layers.end();
    let pulled = pulled?;
    let name = reference.familiar();
    say(format!("Digest: {}", pulled.digest));
    say(if pulled.was_current {
        format!("Status: Image is up to date for {name}")
    } else {
        format!("Status: Downloaded newer image for {name}")
    });
    Ok(pulled)
}

/// Shows the layers of a transfer: bars on a terminal, else a line for each
/// change that matters, in Docker's words.
#[derive(Debug)]
pub(crate) struct Layers {
    words: Words,
    view: View,
}

#[derive(Debug)]
enum View {
    Nothing,
    Lines(Target),
    Bars {
        all: MultiProgress,
        bars: Mutex<HashMap<Digest, ProgressBar>>,
    },
}

impl Layers {
    pub(crate) fn new(words: Words, quiet: bool, to: Target) -> Self {
        let view = if quiet {
            View::Nothing
        } else if to.is_terminal() {
            View::Bars {
                all: MultiProgress::with_draw_target(to.draw()),
                bars: Mutex::default(),
            }
        } else {
            View::Lines(to)
        };
        Self { words, view }
    }

    /// Leaves the bars as they are now.
    pub(crate) fn end(&self) {
        if let View::Bars { bars, .. } = &self.view {
            for bar in bars.lock().unwrap_or_else(PoisonError::into_inner).values() {
                bar.abandon();
            }
        }
    }
}

impl Words {
    /// Docker's word for a state; nothing for those that only a bar shows.
    fn of(self, state: &LayerState) -> Option<String> {
        let (pull, push) = match state {
            LayerState::Moving { .. } => return None,
            LayerState::Mounted(from) => return Some(format!("Mounted from {from}")),
            LayerState::Waiting => ("Pulling fs layer", "Preparing"),
            LayerState::Unpacking => ("Download complete", "Pushing"),
            LayerState::Done => ("Pull complete", "Pushed"),
            LayerState::Skipped => ("Skipped foreign layer", "Skipped foreign layer"),
            LayerState::Exists => ("Already exists", "Layer already exists"),
        };
        let copy = match state {
            LayerState::Waiting => "Waiting",
            LayerState::Done => "Copied",
            LayerState::Exists => "Already exists",
            _ => "Copying",
        };
        let word = match self {
            Self::Pull => pull,
            Self::Push => push,
            Self::Copy => copy,
        };
        Some(word.to_owned())
    }

    /// A style with a bar.
    fn moving(self) -> ProgressStyle {
        match self {
            Self::Pull => style("{prefix}: Downloading [{bar:30}] {bytes}/{total_bytes}"),
            Self::Push => style("{prefix}: Pushing [{bar:30}] {bytes}/{total_bytes}"),
            Self::Copy => style("{prefix}: Copying [{bar:30}] {bytes}/{total_bytes}"),
        }
    }
}

impl Watch for Layers {
    fn warning(&self, text: &str) {
        let line = || Target::Stderr.line(&format!("WARNING: {text}"));
        match &self.view {
            View::Bars { all, .. } => all.suspend(line),
            _ => line(),
        }
    }

    fn layer(&self, layer: Digest, state: LayerState) {
        let id = layer.short();
        match &self.view {
            View::Nothing => {}
            View::Lines(to) => {
                if let Some(word) = self.words.of(&state) {
                    to.line(&format!("{id}: {word}"));
                }
            }
            View::Bars { all, bars } => {
                let mut bars = bars.lock().unwrap_or_else(PoisonError::into_inner);
                let bar = bars.entry(layer).or_insert_with(|| {
                    let bar = all.add(ProgressBar::new(0));
                    bar.set_prefix(id);
                    bar.set_style(plain());
                    bar
                });
                match state {
                    LayerState::Moving { done, total } => {
                        bar.set_style(self.words.moving());
                        bar.set_length(total.unwrap_or(done));
                        bar.set_position(done);
                    }
                    other => {
                        bar.set_style(plain());
                        bar.set_message(self.words.of(&other).unwrap_or_default());
                    }
                }
            }
        }
    }
}

fn plain() -> ProgressStyle {
    style("{prefix}: {msg}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
