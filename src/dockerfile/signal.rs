//! The names of signals, for STOPSIGNAL and `kill`.

/// The first real-time signal that programs may use; the C library keeps the
/// two before it.
const REAL_TIME_MIN: i32 = 34;
/// The last real-time signal.
const REAL_TIME_MAX: i32 = 64;

/// Source: signal(7), numbers for x86 and ARM.
const NAMES: [(&str, i32); 36] = [
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
    ("RTMIN", REAL_TIME_MIN),
    ("RTMAX", REAL_TIME_MAX),
];

/// The number of a signal given by name, with or without `SIG` and in any
/// letter case, or by number. `RTMIN+1` to `RTMIN+15` and `RTMAX-1` to
/// `RTMAX-14` are names.
///
/// # Errors
/// The message, when there is no such signal.
pub fn signal_number(name: &str) -> Result<i32, String> {
    find(name).ok_or_else(|| format!("invalid signal: {name}"))
}

fn find(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return (1..=REAL_TIME_MAX).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let offset = |digits: &str, max: i32| {
        let is_plain = digits.starts_with(|char: char| ('1'..='9').contains(&char));
        let offset = digits.parse().ok().filter(|_| is_plain)?;
        (1..=max).contains(&offset).then_some(offset)
    };
    if let Some(digits) = name.strip_prefix("RTMIN+") {
        return Some(REAL_TIME_MIN + offset(digits, 15)?);
    }
    if let Some(digits) = name.strip_prefix("RTMAX-") {
        return Some(REAL_TIME_MAX - offset(digits, 14)?);
    }
    let known = NAMES.iter().find(|(known, _)| *known == name);
    known.map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::signal_number;

    #[test]
    fn signals_by_name_and_number() {
        let check = |name: &str, want: i32| assert_eq!(signal_number(name), Ok(want), "{name}");
        check("SIGTERM", 15);
        check("term", 15);
        check("sigKill", 9);
        check("9", 9);
        check("64", 64);
        check("SIGRTMIN", 34);
        check("RTMIN+3", 37);
        check("SIGRTMAX-14", 50);
    }

    #[test]
    fn other_words_are_refused() {
        for name in [
            "",
            "0",
            "65",
            "-1",
            "SIG",
            "FOO",
            "SIGSIGTERM",
            "RTMIN+16",
            "RTMIN+01",
            "RTMAX-15",
            "RTMIN+",
        ] {
            assert_eq!(signal_number(name), Err(format!("invalid signal: {name}")));
        }
    }
}
