//! Layers on their way, as lines or as bars.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rbuild::oci::Digest;
use rbuild::transfer::{LayerState, Watch};

/// Which of Docker's words the states have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Words {
    Pull,
    Push,
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
    Lines,
    Bars {
        all: MultiProgress,
        bars: Mutex<HashMap<Digest, ProgressBar>>,
    },
}

impl Layers {
    pub(crate) fn new(words: Words, quiet: bool) -> Self {
        let view = if quiet {
            View::Nothing
        } else if io::stdout().is_terminal() {
            View::Bars {
                all: MultiProgress::new(),
                bars: Mutex::default(),
            }
        } else {
            View::Lines
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
            LayerState::Exists => ("Already exists", "Layer already exists"),
        };
        Some(if self == Self::Pull { pull } else { push }.to_owned())
    }

    /// A style with a bar.
    fn moving(self) -> ProgressStyle {
        match self {
            Self::Pull => style("{prefix}: Downloading [{bar:30}] {bytes}/{total_bytes}"),
            Self::Push => style("{prefix}: Pushing [{bar:30}] {bytes}/{total_bytes}"),
        }
    }
}

impl Watch for Layers {
    fn layer(&self, layer: Digest, state: LayerState) {
        let id = layer.short();
        match &self.view {
            View::Nothing => {}
            View::Lines => {
                if let Some(word) = self.words.of(&state) {
                    // A reader that is gone misses nothing.
                    let _gone = writeln!(io::stdout().lock(), "{id}: {word}");
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
