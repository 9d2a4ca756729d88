//! What processes use at one moment: of a group, or counted process by process
//! where there is none.

use std::path::Path;
use std::time::Duration;

use super::group::{Group, Version, read};

/// Clock ticks a second in `/proc`. Source: proc(5), always 100 on Linux.
const TICKS: u64 = 100;

/// What processes have used up to a moment, and what they hold at it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Processor time.
    pub cpu: Duration,
    /// Memory in use without files that can be read again, in bytes.
    pub memory: u64,
    /// Limit of memory in bytes; that of the machine where there is no other.
    pub memory_limit: u64,
    /// Bytes read from disks.
    pub read: u64,
    /// Bytes written to disks.
    pub written: u64,
    /// Processes and threads.
    pub pids: u64,
}

impl Group {
    /// What the processes of the group use.
    pub fn sample(&self) -> Sample {
        let mut sample = Sample {
            memory_limit: machine_memory(),
            ..Sample::default()
        };
        sample.cpu = self.usage().cpu.unwrap_or_default();
        for dir in &self.dirs {
            let number = |file: &str| read(&dir.path, file).ok()?.trim().parse::<u64>().ok();
            let (usage, limit, inactive) = match dir.version {
                Version::One => (
                    "memory.usage_in_bytes",
                    "memory.limit_in_bytes",
                    "total_inactive_file",
                ),
                Version::Two => ("memory.current", "memory.max", "inactive_file"),
            };
            if let Some(usage) = number(usage) {
                let inactive = value_of(&dir.path, "memory.stat", inactive);
                sample.memory = usage.saturating_sub(inactive);
                let limit = number(limit).unwrap_or(u64::MAX);
                sample.memory_limit = sample.memory_limit.min(limit);
            }
            sample.pids = sample.pids.max(number("pids.current").unwrap_or(0));
            let (read, written) = match dir.version {
                Version::One => blocks(&dir.path, "blkio.throttle.io_service_bytes_recursive"),
                Version::Two => blocks_of_two(&dir.path),
            };
            sample.read += read;
            sample.written += written;
        }
        sample
    }
}

impl Sample {
    /// What these processes use, by what `/proc` says of each.
    pub fn of_processes(pids: &[i32]) -> Self {
        let mut sample = Self {
            memory_limit: machine_memory(),
            ..Self::default()
        };
        for pid in pids {
            let dir = Path::new("/proc").join(pid.to_string());
            sample.cpu += processor_time(&dir);
            sample.memory += resident(&dir);
            sample.read += value_of(&dir, "io", "read_bytes:");
            sample.written += value_of(&dir, "io", "write_bytes:");
            sample.pids += value_of(&dir, "status", "Threads:");
        }
        sample
    }
}

/// Processor time of a process and of the children that it collected.
fn processor_time(process: &Path) -> Duration {
    let text = read(process, "stat").unwrap_or_default();
    // The name in brackets may contain anything; what follows it are numbers from the third on.
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .map_or("", |(_, rest)| rest)
        .split_ascii_whitespace()
        .collect();
    let ticks: u64 = (11..15)
        .filter_map(|at| fields.get(at)?.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// Memory of a process' own and its part of what it shares with others, without files.
fn resident(process: &Path) -> u64 {
    let kibibytes = |name: &str| value_of(process, "smaps_rollup", name);
    (kibibytes("Pss_Anon:") + kibibytes("Pss_Shmem:")) << 10
}

/// The number behind a name at the start of a line.
fn value_of(dir: &Path, file: &str, name: &str) -> u64 {
    let text = read(dir, file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|rest| rest.split_ascii_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Memory of the machine in bytes.
fn machine_memory() -> u64 {
    value_of(Path::new("/proc"), "meminfo", "MemTotal:") << 10
}

/// Bytes read and written: lines such as `8:0 Read 4096`.
fn blocks(dir: &Path, file: &str) -> (u64, u64) {
    let text = read(dir, file).unwrap_or_default();
    let sum = |word: &str| {
        text.lines()
            .filter_map(|line| line.split_once(word)?.1.trim().parse::<u64>().ok())
            .sum()
    };
    (sum(" Read "), sum(" Write "))
}

/// The same of version 2: `8:0 rbytes=4096 wbytes=0 ...`.
fn blocks_of_two(dir: &Path) -> (u64, u64) {
    let text = read(dir, "io.stat").unwrap_or_default();
    let sum = |key: &str| {
        text.split_ascii_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.parse::<u64>().ok())
            .sum()
    };
    (sum("rbytes="), sum("wbytes="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_sampled_by_its_files() {
        let own = i32::try_from(std::process::id()).unwrap();
        let sample = Sample::of_processes(&[own]);
        assert!(sample.pids >= 1 && sample.memory > 0 && sample.memory_limit > sample.memory);
        assert_eq!(Sample::of_processes(&[i32::MAX]).pids, 0);
    }

    #[test]
    fn block_counts_are_read_in_both_forms() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("one"),
            "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\nTotal 31\n",
        )
        .unwrap();
        assert_eq!(blocks(dir.path(), "one"), (11, 20));
        std::fs::write(
            dir.path().join("io.stat"),
            "8:0 rbytes=7 wbytes=8 rios=1\n8:1 rbytes=1 wbytes=0\n",
        )
        .unwrap();
        assert_eq!(blocks_of_two(dir.path()), (8, 8));
    }
}
