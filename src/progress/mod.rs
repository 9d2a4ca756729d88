//! What happens during long work, as plain values, and the sink that takes them.
//!
//! Workflows report here and never print. The command line renders the events
//! on a terminal or as plain lines; other doors may send them through a socket.

mod path;
mod record;

use std::time::Duration;

pub use path::critical_path;
pub use record::{Record, StepRecord};

/// Names one step of a build for the length of that build, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub u32);

/// Which of a program's two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Done,
    /// Its result was there already.
    Cached,
    /// It failed, with the message to show.
    Failed(String),
    /// It was stopped because another step failed or the user interrupted.
    Canceled,
}

/// What a step's program used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time of all its processes.
    pub cpu: Duration,
    /// Most memory in use, in bytes: of all its processes where a cgroup counts
    /// them, else of the largest one.
    pub memory_peak: u64,
}

/// The layer with which a step's tree ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The snapshot with it, by number.
    pub snapshot: i64,
    /// The snapshot that the step began with; what lies between is the step's.
    pub parent: Option<i64>,
    /// Bytes of the regular files in what is the step's.
    pub bytes: u64,
    /// Its diff ID, where that is known by now.
    pub diff_id: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step began. `name` is the line to show, such as `[build 2/5] RUN make`.
    Started {
        /// Which step.
        step: StepId,
        /// Its line.
        name: String,
        /// The steps whose results it needs.
        inputs: Vec<StepId>,
        /// Its line in the Dockerfile, counted from 1, if it has one.
        line: Option<usize>,
    },
    /// A step's program wrote bytes; not necessarily whole lines.
    Log {
        /// Which step.
        step: StepId,
        /// Which stream.
        stream: Stream,
        /// What it wrote.
        bytes: Vec<u8>,
    },
    /// How far a step's transfer has come, in bytes; `total` where it is known.
    Transfer {
        /// Which step.
        step: StepId,
        /// What is transferred, such as a layer's digest or the last part of a URL.
        name: String,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: Option<u64>,
    },
    /// A line that belongs to a step, such as why the cache was missed.
    Note {
        /// Which step.
        step: StepId,
        /// The line, without a line break.
        text: String,
    },
    /// A step ended.
    Finished {
        /// Which step.
        step: StepId,
        /// How.
        outcome: Outcome,
        /// How long it took.
        took: Duration,
        /// The layer that it made, where it made one or found it made.
        layer: Option<Layer>,
        /// What its program used, where it ran one.
        usage: Option<Usage>,
    },
    /// More became known of a layer after its step had ended: its diff ID, once
    /// it was packed.
    Layer {
        /// Which step.
        step: StepId,
        /// The layer.
        layer: Layer,
    },
    /// The build has a plan: so many steps are to be told of from here on.
    Planned {
        /// How many.
        steps: usize,
    },
    /// Something worth knowing that stops nothing.
    Warning(String),
}

/// Takes events; called from many threads.
pub trait Sink: Send + Sync {
    /// Takes one event. Must not block for long: steps wait for it.
    fn event(&self, event: Event);
}

/// Drops every event.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Sink for Silent {
    fn event(&self, _event: Event) {}
}
