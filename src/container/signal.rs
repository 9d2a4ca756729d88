//! Signals by name and number.

use super::Error;
use crate::dockerfile::signal_number;

/// What ends a container that is asked nicely.
pub const SIGTERM: i32 = 15;
/// What ends a container at once.
pub const SIGKILL: i32 = 9;

/// Parses `KILL`, `SIGKILL`, `9`, `RTMIN+3`: what STOPSIGNAL takes.
pub fn parse(text: &str) -> Result<i32, Error> {
    signal_number(text).map_err(Error::Invalid)
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
