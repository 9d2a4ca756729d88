//! Layers on their way, as lines or as bars.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use rbuild::oci::Digest;
use rbuild::transfer::{LayerState, Watch};

/// Shows the layers of a transfer: bars on a terminal, else a line for each
/// change that matters, in Docker's words.
#[derive(Debug)]
pub(crate) struct Layers {
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
    pub(crate) fn new(quiet: bool) -> Self {
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
        Self { view }
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

/// Docker's word for a state; nothing for those that only a bar shows.
fn word(state: &LayerState) -> Option<String> {
    Some(match state {
        LayerState::Waiting => "Pulling fs layer".to_owned(),
        LayerState::Moving { .. } => return None,
        LayerState::Unpacking => "Download complete".to_owned(),
        LayerState::Done => "Pull complete".to_owned(),
        LayerState::Exists => "Already exists".to_owned(),
        LayerState::Mounted(from) => format!("Mounted from {from}"),
    })
}

impl Watch for Layers {
    fn layer(&self, layer: Digest, state: LayerState) {
        let id = layer.short();
        match &self.view {
            View::Nothing => {}
            View::Lines => {
                if let Some(word) = word(&state) {
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
                        bar.set_style(moving());
                        bar.set_length(total.unwrap_or(done));
                        bar.set_position(done);
                    }
                    other => {
                        bar.set_style(plain());
                        bar.set_message(word(&other).unwrap_or_default());
                    }
                }
            }
        }
    }
}

fn plain() -> ProgressStyle {
    style("{prefix}: {msg}")
}

fn moving() -> ProgressStyle {
    style("{prefix}: Downloading [{bar:30}] {bytes}/{total_bytes}")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
