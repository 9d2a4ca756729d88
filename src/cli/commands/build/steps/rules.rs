//! `--timeout` and `--retry`.

use std::time::Duration;

use rbuild::build::{Retry, StepPattern, StepRule};
use rbuild::dockerfile::duration;

/// How long to wait before another try, unless named.
const DELAY: Duration = Duration::from_secs(1);
/// Most further tries; more is a mistake.
const MOST_TRIES: u32 = 1_000;

/// `[PATTERN=]TIME`.
pub(super) fn timeout(text: &str) -> Result<StepRule, String> {
    let (pattern, time) = split(text);
    let time = time_of(time).map_err(|why| format!("invalid --timeout {text:?}: {why}"))?;
    if time.is_zero() {
        return Err(format!(
            "invalid --timeout {text:?}: it must be more than 0"
        ));
    }
    Ok(StepRule {
        pattern,
        timeout: Some(time),
        retry: None,
    })
}

/// `[PATTERN=]TIMES[,DELAY]`.
pub(super) fn retry(text: &str) -> Result<StepRule, String> {
    let wrong = |why: &str| format!("invalid --retry {text:?}: {why}");
    let (pattern, value) = split(text);
    let (times, delay) = match value.split_once(',') {
        Some((times, delay)) => (times, time_of(delay).map_err(|why| wrong(&why))?),
        None => (value, DELAY),
    };
    let times = times
        .trim()
        .parse()
        .ok()
        .filter(|times| *times <= MOST_TRIES);
    let times = times.ok_or_else(|| wrong("expected a number of further tries"))?;
    Ok(StepRule {
        pattern,
        timeout: None,
        retry: Some(Retry { times, delay }),
    })
}

/// The pattern may have `=` itself, what follows has none.
fn split(text: &str) -> (Option<StepPattern>, &str) {
    match text.rsplit_once('=') {
        Some((pattern, value)) => (Some(StepPattern::new(pattern)), value),
        None => (None, text),
    }
}

/// `1m30s`; a bare number is seconds.
fn time_of(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let nanoseconds = duration(text)?;
    u64::try_from(nanoseconds)
        .map(Duration::from_nanos)
        .map_err(|_| "it is negative".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_have_an_optional_pattern() {
        let rule = timeout("1m30s").unwrap();
        assert_eq!(
            (rule.pattern, rule.timeout),
            (None, Some(Duration::from_secs(90)))
        );
        let rule = timeout("RUN A=1 make*=20").unwrap();
        assert_eq!(rule.pattern, Some(StepPattern::new("RUN A=1 make*")));
        assert_eq!(rule.timeout, Some(Duration::from_secs(20)));
        let rule = retry("test=3,500ms").unwrap();
        let wanted = Retry {
            times: 3,
            delay: Duration::from_millis(500),
        };
        assert_eq!(rule.retry, Some(wanted));
        assert_eq!(retry("2").unwrap().retry.unwrap().delay, DELAY);
        for wrong in ["", "x", "-1s", "0"] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "x", "-1", "1,x", "5000"] {
            assert!(retry(wrong).is_err(), "{wrong}");
        }
    }
}
