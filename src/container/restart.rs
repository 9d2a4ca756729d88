//! What happens after a container's end. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;

/// The first pause before a restart, and the longest. Source: moby `restartmanager`.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// A run of this length makes the next pause the first one again.
const GOOD_RUN: Duration = Duration::from_secs(10);

/// When a container is started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When its program failed, so many times at most; 0 for any number.
    OnFailure(u32),
    /// Whenever it ends, and when the machine starts.
    Always,
    /// The same, unless somebody stopped it.
    UnlessStopped,
}

impl RestartPolicy {
    /// Parses `no`, `on-failure[:N]`, `always`, `unless-stopped`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let invalid = |why: &str| Err(Error::Invalid(format!("invalid restart policy: {why}")));
        let (name, count) = match text.split_once(':') {
            Some((name, count)) => (name, Some(count)),
            None => (text, None),
        };
        let number = match count.map(str::parse::<i64>) {
            None => 0,
            Some(Ok(number)) => number,
            Some(Err(_)) => return invalid("maximum retry count must be an integer"),
        };
        let policy = match name {
            "" if count.is_some() => return invalid("policy name is missing"),
            "" | "no" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" => match u32::try_from(number) {
                Ok(number) => return Ok(Self::OnFailure(number)),
                Err(_) => return invalid("maximum retry count cannot be negative"),
            },
            other => {
                return invalid(&format!(
                    "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
                ));
            }
        };
        if number != 0 {
            return invalid("maximum retry count can only be used with 'on-failure'");
        }
        Ok(policy)
    }

    /// Docker's name of it, and the number of `on-failure`.
    pub fn parts(self) -> (&'static str, u32) {
        match self {
            Self::No => ("no", 0),
            Self::OnFailure(count) => ("on-failure", count),
            Self::Always => ("always", 0),
            Self::UnlessStopped => ("unless-stopped", 0),
        }
    }

    /// Whether a container is started again that ended with `code` by itself,
    /// after `count` restarts.
    pub(super) fn wants(self, code: i32, count: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure(most) => code != 0 && (most == 0 || count < most),
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

/// How long to wait before a restart: longer each time, until a run was good.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BackOff {
    last: Option<Duration>,
}

impl BackOff {
    /// The pause after a run of this length.
    pub(super) fn next(&mut self, run: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if run < GOOD_RUN => (last * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.last = Some(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_parsed() {
        for (text, want) in [
            ("", RestartPolicy::No),
            ("no", RestartPolicy::No),
            ("always", RestartPolicy::Always),
            ("unless-stopped", RestartPolicy::UnlessStopped),
            ("on-failure", RestartPolicy::OnFailure(0)),
            ("on-failure:3", RestartPolicy::OnFailure(3)),
        ] {
            assert_eq!(RestartPolicy::parse(text).unwrap(), want, "{text}");
        }
        for wrong in ["never", "always:3", "on-failure:x", "on-failure:-1", ":2"] {
            assert!(RestartPolicy::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn failures_are_counted() {
        assert!(!RestartPolicy::OnFailure(0).wants(0, 0));
        assert!(RestartPolicy::OnFailure(0).wants(1, 99));
        assert!(RestartPolicy::OnFailure(2).wants(1, 1));
        assert!(!RestartPolicy::OnFailure(2).wants(1, 2));
        assert!(RestartPolicy::Always.wants(0, 1_000));
        assert!(!RestartPolicy::No.wants(1, 0));
    }

    #[test]
    fn pauses_grow_until_a_run_is_good() {
        let mut pauses = BackOff::default();
        let short = Duration::from_millis(5);
        let list: Vec<u128> = (0..12).map(|_| pauses.next(short).as_millis()).collect();
        assert_eq!(list[..4], [100, 200, 400, 800]);
        assert_eq!(list[11], 60_000);
        assert_eq!(pauses.next(GOOD_RUN), FIRST_PAUSE);
    }
}
