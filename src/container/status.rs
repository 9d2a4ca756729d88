//! Docker's words for times and states. Pure.

use std::time::Duration;

use super::health::Health;
use super::record::{State, Status};

/// A length of time as Docker words it.
///
/// Source: docker/go-units `duration.go`, `HumanDuration`.
fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Rounded to the nearest hour, as Docker does.
    let hours = (seconds + 1_800) / 3_600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., ..48) => format!("{hours} hours"),
        (.., ..336) => format!("{} days", hours / 24),
        (.., ..1_440) => format!("{} weeks", hours / 24 / 7),
        (.., ..17_520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3_600 / 24 / 365),
    }
}

/// The time between two instants in nanoseconds since 1970; nothing when it is negative.
pub(super) fn since(then: i64, now: i64) -> Duration {
    Duration::from_nanos(u64::try_from(now.saturating_sub(then)).unwrap_or(0))
}

/// The STATUS column.
pub(super) fn render(state: &State, now: i64) -> String {
    let ago = |then: Option<i64>| human_duration(since(then.unwrap_or(now), now));
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Running => match &state.health {
            None => format!("Up {}", ago(state.started_at)),
            Some(health) => {
                let word = match health.status {
                    Health::Starting => "health: starting",
                    other => other.text(),
                };
                format!("Up {} ({word})", ago(state.started_at))
            }
        },
        Status::Paused => format!("Up {} (Paused)", ago(state.started_at)),
        Status::Restarting => format!(
            "Restarting ({}) {} ago",
            state.exit_code,
            ago(state.finished_at)
        ),
        Status::Exited => format!(
            "Exited ({}) {} ago",
            state.exit_code,
            ago(state.finished_at)
        ),
        Status::Dead => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Process;
    use super::*;

    #[test]
    fn durations_are_dockers() {
        for (seconds, want) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60 + 59, "59 minutes"),
            (3_600, "About an hour"),
            (3_600 * 2, "2 hours"),
            (3_600 * 47, "47 hours"),
            (3_600 * 48, "2 days"),
            (3_600 * 24 * 14, "2 weeks"),
            (3_600 * 24 * 60, "2 months"),
            (3_600 * 24 * 365 * 2, "2 years"),
        ] {
            assert_eq!(
                human_duration(Duration::from_secs(seconds)),
                want,
                "{seconds}"
            );
        }
    }

    #[test]
    fn states_are_dockers() {
        const SECOND: i64 = 1_000_000_000;
        let shim = Process {
            pid: 1,
            started: 1,
            boot: 0,
        };
        let created = State::created();
        assert_eq!(render(&created, 0), "Created");
        let running = created.running(2, shim, 0);
        assert_eq!(render(&running, 300 * SECOND), "Up 5 minutes");
        let exited = running.exited(137, false, 300 * SECOND);
        assert_eq!(render(&exited, 302 * SECOND), "Exited (137) 2 seconds ago");
    }
}
