//! What happens during long work, as plain values, and the sink that takes them.
//!
//! Workflows report here and never print. The command line renders the events
//! on a terminal or as plain lines; other doors may send them through a socket.

use std::time::Duration;

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
        /// Size of the layer that it made, in bytes, where it made one.
        layer_bytes: Option<u64>,
        /// What its program used, where it ran one.
        usage: Option<Usage>,
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
