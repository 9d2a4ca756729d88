//! Which process something belongs to, and whether that process still lives.

/// A process, told from a later one with the same number by its start time.
///
/// Source: proc_pid_stat(5), field 22.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks after boot.
    pub started: u64,
}

impl Process {
    /// The calling process.
    pub fn this() -> Self {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Self {
            pid,
            started: start_time("/proc/self/stat").unwrap_or_default(),
        }
    }

    /// The process that has the number `pid` now; `None` when there is none or
    /// it has ended and only waits to be collected by its parent.
    pub fn of(pid: i32) -> Option<Self> {
        let started = start_time(&format!("/proc/{pid}/stat"))?;
        Some(Self { pid, started })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

fn start_time(path: &str) -> Option<u64> {
    parse(&std::fs::read(path).ok()?)
}

fn parse(stat: &[u8]) -> Option<u64> {
    // The second field is the program's name in parentheses, and that may hold
    // anything, parentheses and blanks included.
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..])
        .ok()?
        .split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    // The state was the third field.
    fields.nth(22 - 4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_a_reused_number_is_not() {
        let this = Process::this();
        assert!(this.is_alive());
        assert_eq!(Process::of(this.pid), Some(this));
        let earlier = Process {
            started: this.started - 1,
            ..this
        };
        assert!(!earlier.is_alive());
        assert!(Process::of(i32::MAX).is_none());
    }

    #[test]
    fn names_with_parentheses_are_skipped() {
        let tail = "1 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 777 9 9";
        let stat = format!("12 (a) R ( b) S {tail}");
        assert_eq!(parse(stat.as_bytes()), Some(777));
        let zombie = format!("12 (a) Z {tail}");
        assert_eq!(parse(zombie.as_bytes()), None);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"1 (x) S 2"), None);
    }
}
