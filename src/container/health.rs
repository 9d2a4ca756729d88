//! What is known of a container's health, and when it is probed next. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::oci::Healthcheck;

/// Docker's defaults.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// How many results are kept, and how much output of each, as Docker's.
const RESULTS: usize = 5;
pub(super) const OUTPUT_LIMIT: usize = 4096;

/// What a request says of health.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthRequest {
    /// No probe, whatever the image says.
    pub off: bool,
    /// The probe; parts that are empty or 0 are the image's.
    pub check: Option<Healthcheck>,
}

impl HealthRequest {
    /// Fills in what the image says and the request does not.
    pub(super) fn merge(&mut self, image: Option<&Healthcheck>) {
        if self.off {
            self.check = Some(Healthcheck {
                test: vec!["NONE".to_owned()],
                ..Healthcheck::default()
            });
            return;
        }
        let (Some(own), Some(image)) = (&mut self.check, image) else {
            self.check = self.check.take().or_else(|| image.cloned());
            return;
        };
        if own.test.is_empty() {
            own.test.clone_from(&image.test);
        }
        for (own, image) in [
            (&mut own.interval, image.interval),
            (&mut own.timeout, image.timeout),
            (&mut own.start_period, image.start_period),
            (&mut own.start_interval, image.start_interval),
            (&mut own.retries, image.retries),
        ] {
            if *own == 0 {
                *own = image;
            }
        }
    }
}

/// Whether there is anything to run.
pub(super) fn probes(check: &Healthcheck) -> bool {
    argv(check, &[]).is_some()
}

/// The probe's argument vector; a command line goes through `shell`.
pub(super) fn argv(check: &Healthcheck, shell: &[String]) -> Option<Vec<String>> {
    let (kind, rest) = check.test.split_first()?;
    match kind.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" if !rest.is_empty() => {
            let mut argv = shell.to_vec();
            if argv.is_empty() {
                argv = vec!["/bin/sh".to_owned(), "-c".to_owned()];
            }
            argv.extend(rest.iter().cloned());
            Some(argv)
        }
        _ => None,
    }
}

/// What is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// No probe has succeeded yet, and not enough have failed.
    Starting,
    /// The last probes succeeded.
    Healthy,
    /// Too many probes in a row failed.
    Unhealthy,
}

impl Health {
    /// Docker's word.
    pub fn text(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A container's health as its state has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HealthState {
    /// The verdict.
    pub(super) status: Health,
    /// Failures in a row.
    pub(super) failing_streak: u32,
    /// The last results, oldest first.
    pub(super) results: Vec<ProbeResult>,
}

/// How one probe went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProbeResult {
    /// When it started, nanoseconds since 1970.
    pub(super) start: i64,
    /// When it ended, nanoseconds since 1970.
    pub(super) end: i64,
    /// Its exit code; -1 when it took too long.
    pub(super) code: i32,
    /// The start of what it wrote.
    pub(super) output: String,
}

impl HealthState {
    /// At the start of a run.
    pub(super) fn starting() -> Self {
        Self {
            status: Health::Starting,
            failing_streak: 0,
            results: Vec::new(),
        }
    }

    /// Takes a result in; `within_start` while failures do not count. Whether the
    /// verdict changed.
    pub(super) fn add(
        &mut self,
        result: ProbeResult,
        check: &Healthcheck,
        within_start: bool,
    ) -> bool {
        let before = self.status;
        if result.code == 0 {
            self.failing_streak = 0;
            self.status = Health::Healthy;
        } else if !(within_start && self.status == Health::Starting) {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries(check) {
                self.status = Health::Unhealthy;
            }
        }
        self.results.push(result);
        let old = self.results.len().saturating_sub(RESULTS);
        self.results.drain(..old);
        before != self.status
    }
}

fn retries(check: &Healthcheck) -> u32 {
    u32::try_from(check.retries)
        .ok()
        .filter(|count| *count > 0)
        .unwrap_or(RETRIES)
}

fn duration(nanoseconds: i64, default: Duration) -> Duration {
    match u64::try_from(nanoseconds) {
        Ok(nanoseconds) if nanoseconds > 0 => Duration::from_nanos(nanoseconds),
        _ => default,
    }
}

/// How long a probe may take.
pub(super) fn timeout(check: &Healthcheck) -> Duration {
    duration(check.timeout, TIMEOUT)
}

/// Whether failures do not count yet, `age` after the start.
pub(super) fn is_within_start(check: &Healthcheck, age: Duration) -> bool {
    age < duration(check.start_period, Duration::ZERO)
}

/// How long to wait for the next probe, `age` after the start.
pub(super) fn pause(check: &Healthcheck, status: Health, age: Duration) -> Duration {
    let usual = duration(check.interval, INTERVAL);
    if status == Health::Starting && is_within_start(check, age) {
        return duration(check.start_interval, START_INTERVAL).min(usual);
    }
    usual
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(retries: i64) -> Healthcheck {
        Healthcheck {
            test: vec!["CMD".to_owned(), "true".to_owned()],
            retries,
            start_period: 1_000_000_000,
            start_interval: 1_000,
            ..Healthcheck::default()
        }
    }

    fn result(code: i32) -> ProbeResult {
        ProbeResult {
            start: 0,
            end: 1,
            code,
            output: String::new(),
        }
    }

    #[test]
    fn failures_in_a_row_make_it_unhealthy_and_one_success_healthy() {
        let check = check(2);
        let mut state = HealthState::starting();
        assert!(!state.add(result(1), &check, true));
        assert_eq!((state.status, state.failing_streak), (Health::Starting, 0));
        assert!(!state.add(result(1), &check, false));
        assert!(state.add(result(1), &check, false));
        assert_eq!(state.status, Health::Unhealthy);
        assert!(state.add(result(0), &check, false));
        assert_eq!((state.status, state.failing_streak), (Health::Healthy, 0));
        for _ in 0..9 {
            state.add(result(0), &check, false);
        }
        assert_eq!(state.results.len(), RESULTS);
    }

    #[test]
    fn pauses_are_dockers() {
        let check = check(0);
        assert_eq!(
            pause(&check, Health::Starting, Duration::ZERO),
            Duration::from_micros(1)
        );
        assert_eq!(pause(&check, Health::Healthy, Duration::ZERO), INTERVAL);
        assert_eq!(
            pause(&check, Health::Starting, Duration::from_secs(2)),
            INTERVAL
        );
        assert_eq!(retries(&check), RETRIES);
    }

    #[test]
    fn the_request_wins_over_the_image_part_by_part() {
        let mut own = HealthRequest {
            off: false,
            check: Some(Healthcheck {
                interval: 5,
                ..Healthcheck::default()
            }),
        };
        own.merge(Some(&check(7)));
        let merged = own.check.unwrap();
        assert_eq!(
            (merged.interval, merged.retries, merged.test.len()),
            (5, 7, 2)
        );
        let mut off = HealthRequest {
            off: true,
            check: None,
        };
        off.merge(Some(&check(7)));
        assert!(!probes(&off.check.unwrap()));
    }
}
