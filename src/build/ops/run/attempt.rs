//! How a step's command ended, limits of time, and further tries.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Scope;
use std::time::{Duration, Instant};

use super::error::RunError;
use super::{Ran, Usage};
use crate::build::Retry;
use crate::build::ops::Tools;
use crate::progress::StepId;
use crate::sandbox::{Exit, Killer, ResourceLimits};
use crate::store::SnapshotId;

/// How often a waiting build looks whether it was stopped.
const PAUSE: Duration = Duration::from_millis(50);

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// Whether it was killed because its time was over.
    pub(super) timed_out: bool,
    pub(super) out_of_memory: bool,
    pub(super) usage: Option<Usage>,
}

impl Ended {
    /// Anything but the code 0 is an error.
    pub(super) fn check(
        &self,
        command: &str,
        timeout: Option<Duration>,
        limits: &ResourceLimits,
    ) -> Result<(), RunError> {
        let command = command.to_owned();
        match (timeout, self.exit) {
            (Some(limit), _) if self.timed_out => Err(RunError::Timeout { command, limit }),
            (_, Exit::Code(0)) => Ok(()),
            (_, exit) => Err(RunError::Exit {
                command,
                code: exit.code(),
                why: self.why(limits),
            }),
        }
    }

    fn why(&self, limits: &ResourceLimits) -> String {
        if !self.out_of_memory {
            return String::new();
        }
        let mut why = ": cannot allocate memory".to_owned();
        if let (Some(usage), Some(limit)) = (self.usage, limits.memory_bytes) {
            let (peak, limit) = (mebibytes(usage.memory_peak), mebibytes(limit));
            why.push_str(&format!(" (peak {peak} MiB, limit {limit} MiB)"));
        }
        why
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// Adds what one try used.
pub(super) fn add(usage: &mut Option<Usage>, more: Option<Usage>) {
    *usage = match (*usage, more) {
        (Some(one), Some(other)) => Some(Usage {
            cpu: one.cpu + other.cpu,
            memory_peak: one.memory_peak.max(other.memory_peak),
        }),
        (one, other) => one.or(other),
    };
}

/// Waits for a command, which is killed when its time is over. Says whether it was.
pub(super) fn within<'scope>(
    scope: &'scope Scope<'scope, '_>,
    limit: Option<Duration>,
    killer: Killer,
    wait: impl FnOnce() -> io::Result<Exit>,
) -> (io::Result<Exit>, bool) {
    let Some(limit) = limit else {
        return (wait(), false);
    };
    let (ended, end) = channel::<()>();
    let watch = scope.spawn(move || {
        let is_over = end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if is_over {
            killer.kill();
        }
        is_over
    });
    let exit = wait();
    drop(ended);
    (exit, watch.join().unwrap_or(false))
}

/// Tries, and tries again while it fails and may. Only a command that failed by
/// itself or was too slow is worth it.
pub(super) fn with_retries(
    tools: &Tools<'_>,
    retry: Option<Retry>,
    step: StepId,
    mut once: impl FnMut(&mut Option<Usage>) -> Result<SnapshotId, RunError>,
) -> Ran {
    let times = retry.map_or(0, |retry| retry.times);
    let mut delay = retry.map_or(Duration::ZERO, |retry| retry.delay);
    let mut usage = None;
    let mut tried = 0;
    loop {
        let result = once(&mut usage);
        tried += 1;
        let failed = match &result {
            Err(RunError::Exit { code, .. }) => format!("exit code: {code}"),
            Err(RunError::Timeout { .. }) => "it took too long".to_owned(),
            _ => return Ran { result, usage },
        };
        if tried > times || tools.cancel.is_stopped() {
            return Ran { result, usage };
        }
        let tries = times + 1;
        let text = format!("try {tried} of {tries} failed ({failed}), trying again");
        tools.note(step, text);
        if !pause(tools, delay) {
            let result = Err(RunError::Canceled);
            return Ran { result, usage };
        }
        delay = delay.saturating_mul(2);
    }
}

/// Waits; false when the build was stopped meanwhile.
fn pause(tools: &Tools<'_>, delay: Duration) -> bool {
    let began = Instant::now();
    while began.elapsed() < delay {
        if tools.cancel.is_stopped() {
            return false;
        }
        std::thread::sleep(PAUSE.min(delay.saturating_sub(began.elapsed())));
    }
    !tools.cancel.is_stopped()
}
