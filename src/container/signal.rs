//! Signals by name and number.

use super::Error;

/// Name without `SIG`, number on the architectures served (x86-64, arm64).
///
/// Source: signal(7), "Signal numbering for standard signals", column x86/ARM.
const SIGNALS: [(&str, i32); 34] = [
    ("ABRT", 6),
    ("ALRM", 14),
    ("BUS", 7),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("FPE", 8),
    ("HUP", 1),
    ("ILL", 4),
    ("INT", 2),
    ("IO", 29),
    ("IOT", 6),
    ("KILL", 9),
    ("PIPE", 13),
    ("POLL", 29),
    ("PROF", 27),
    ("PWR", 30),
    ("QUIT", 3),
    ("SEGV", 11),
    ("STKFLT", 16),
    ("STOP", 19),
    ("SYS", 31),
    ("TERM", 15),
    ("TRAP", 5),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("USR1", 10),
    ("USR2", 12),
    ("VTALRM", 26),
    ("WINCH", 28),
    ("XCPU", 24),
    ("XFSZ", 25),
];
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// What ends a container that is asked nicely.
pub const SIGTERM: i32 = 15;
/// What ends a container at once.
pub const SIGKILL: i32 = 9;

/// Parses `KILL`, `SIGKILL`, `9`, `RTMIN+3`.
pub fn parse(text: &str) -> Result<i32, Error> {
    let invalid = || Error::Invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return (1..=RTMAX)
            .contains(&number)
            .then_some(number)
            .ok_or_else(invalid);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |text: &str| match text {
        "" => Some(0),
        text => text.parse::<i32>().ok(),
    };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest.strip_prefix('+').unwrap_or(rest)).and_then(|n| RTMIN.checked_add(n))
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest.strip_prefix('-').unwrap_or(rest)).and_then(|n| RTMAX.checked_sub(n))
    } else {
        let known = SIGNALS.iter().find(|(known, _)| *known == name);
        return known.map(|(_, number)| *number).ok_or_else(invalid);
    };
    number
        .filter(|number| (RTMIN..=RTMAX).contains(number))
        .ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, want) in [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigusr1", 10),
            ("10", 10),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("RTMIN", 34),
        ] {
            assert_eq!(parse(text).unwrap(), want, "{text}");
        }
        for text in [
            "", "SIG", "SIGNOPE", "0", "65", "-1", "RTMIN+99", "RTMAX-40",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
