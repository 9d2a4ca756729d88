//! Output of steps, clipped: a program that prints without end must not make
//! the build's log endless.
//!
//! As BuildKit clips it: by size, and by speed, where each second that a step
//! has run lets through some more. What is dropped counts as well, so a step
//! that prints too fast is heard again once it has been quiet for long enough.

use std::collections::HashMap;
use std::time::Instant;

use rbuild::progress::{Event, StepId};

use super::settings::LogLimits;
use crate::cli::human;

/// Clips the logs of all steps.
#[derive(Debug)]
pub(super) struct Clip {
    limits: LogLimits,
    running: HashMap<StepId, Written>,
}

#[derive(Debug)]
struct Written {
    started: Instant,
    bytes: u64,
    clipping: bool,
    /// Whether what was shown last ended in the middle of a line.
    open: bool,
}

impl Clip {
    /// Nothing was written yet.
    pub(super) fn new(limits: LogLimits) -> Self {
        Self {
            limits,
            running: HashMap::new(),
        }
    }

    /// The event as it is to be shown; `None` when nothing of it is.
    pub(super) fn event(&mut self, at: Instant, event: Event) -> Option<Event> {
        match &event {
            Event::Started { step, .. } => {
                let written = Written {
                    started: at,
                    bytes: 0,
                    clipping: false,
                    open: false,
                };
                self.running.insert(*step, written);
            }
            Event::Finished { step, .. } => {
                self.running.remove(step);
            }
            _ => {}
        }
        let Event::Log {
            step,
            stream,
            mut bytes,
        } = event
        else {
            return Some(event);
        };
        if let Some(written) = self.running.get_mut(&step) {
            written.clip(self.limits, at, &mut bytes);
        }
        (!bytes.is_empty()).then_some(Event::Log {
            step,
            stream,
            bytes,
        })
    }
}

impl Written {
    fn clip(&mut self, limits: LogLimits, at: Instant, bytes: &mut Vec<u8>) {
        let seconds = at.duration_since(self.started).as_secs() + 1;
        let by_speed = limits.speed.map(|speed| speed.saturating_mul(seconds));
        let limit = match (limits.size, by_speed) {
            (Some(size), Some(speed)) => size.min(speed),
            (Some(limit), None) | (None, Some(limit)) => limit,
            (None, None) => return,
        };
        let room = limit.saturating_sub(self.bytes);
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            self.clipping = false;
        } else {
            bytes.truncate(room);
            if !self.clipping {
                self.clipping = true;
                let open = bytes.last().map_or(self.open, |last| *last != b'\n');
                let what = if limits.size == Some(limit) {
                    human::binary_size(limit)
                } else {
                    format!("{}/s", human::binary_size(limits.speed.unwrap_or(0)))
                };
                let line = format!("[output clipped, log limit {what} reached]\n");
                bytes.extend(open.then_some(b'\n'));
                bytes.extend_from_slice(line.as_bytes());
            }
        }
        if let Some(last) = bytes.last() {
            self.open = *last != b'\n';
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rbuild::progress::Stream;

    use super::*;

    const STEP: StepId = StepId(1);

    fn clip(size: Option<u64>, speed: Option<u64>, writes: &[(u64, &str)]) -> String {
        let mut clip = Clip::new(LogLimits { size, speed });
        let start = Instant::now();
        let started = Event::Started {
            step: STEP,
            name: String::new(),
            inputs: Vec::new(),
            line: None,
        };
        clip.event(start, started);
        let mut shown = Vec::new();
        for (second, text) in writes {
            let event = Event::Log {
                step: STEP,
                stream: Stream::Stdout,
                bytes: text.as_bytes().to_vec(),
            };
            let at = start + Duration::from_secs(*second);
            if let Some(Event::Log { bytes, .. }) = clip.event(at, event) {
                shown.extend_from_slice(&bytes);
            }
        }
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn a_size_is_not_exceeded() {
        assert_eq!(
            clip(Some(2048), None, &[(0, &"x".repeat(3000)), (9, "more\n")]),
            "x".repeat(2048) + "\n[output clipped, log limit 2KiB reached]\n"
        );
        assert_eq!(clip(Some(5), None, &[(0, "four\n")]), "four\n");
    }

    #[test]
    fn a_speed_lets_more_through_later() {
        assert_eq!(
            clip(None, Some(4), &[(0, "ab\ncdef"), (0, "gh"), (5, "i\n")]),
            "ab\nc\n[output clipped, log limit 4B/s reached]\ni\n"
        );
    }

    #[test]
    fn without_limits_everything_is_shown() {
        let long = "x".repeat(5 << 20);
        assert_eq!(clip(None, None, &[(0, &long)]), long);
        let usual = LogLimits::default();
        let clipped = clip(usual.size, usual.speed, &[(0, &long)]);
        assert!(clipped.ends_with("[output clipped, log limit 200KiB/s reached]\n"));
        let clipped = clip(usual.size, usual.speed, &[(60, &long)]);
        assert!(clipped.ends_with("[output clipped, log limit 2MiB reached]\n"));
    }
}
