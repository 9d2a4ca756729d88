//! The processes of a container, as `ps` on the host would list them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::dir::Dir;
use super::{Error, bundle, find};
use crate::store::Store;
use crate::sys::cgroup::{Group, Hierarchies, members, tree};

/// Clock ticks a second in `/proc`. Source: proc(5), always 100 on Linux.
const TICKS: u64 = 100;

/// The columns of `ps -ef` and `ps aux`: each column's name in `-o` and its title.
const FULL: [&str; 8] = ["user", "pid", "ppid", "c", "stime", "tname", "time", "args"];
const BSD: [&str; 11] = [
    "user", "pid", "pcpu", "pmem", "vsz", "rss", "tty", "stat", "start", "bsdtime", "command",
];

/// Lists the processes of the running container `text`, in the columns that the
/// words of `ps` in `options` ask for: `-ef` without any. Returns titles and rows.
///
/// # Errors
/// [`Error::NotRunning`], and [`Error::Invalid`] for words that are not understood.
pub fn top(
    store: &Store,
    text: &str,
    options: &[String],
) -> Result<(Vec<String>, Vec<Vec<String>>), Error> {
    let row = find(store, text)?;
    let dir = Dir::new(store.paths(), &row.id);
    let state = dir.state()?;
    if !state.has_process() {
        return Err(Error::NotRunning(row.id));
    }
    let columns = columns(options)?;
    let request = dir.record()?.request;
    let group = Group::existing(
        &Hierarchies::discover(),
        &bundle::group_name(&request, &row.id),
    );
    let mut pids = if request.shares_processes() {
        tree(&[state.pid])
    } else {
        members(state.pid)
    };
    pids.extend(group.map(|group| group.processes()).unwrap_or_default());
    pids.sort_unstable();
    pids.dedup();
    let machine = Machine::read();
    let processes = pids.into_iter().filter_map(Process::read);
    let rows = processes.map(|process| {
        let cell = |column: &Column| process.cell(column.name, &machine);
        columns.iter().map(cell).collect()
    });
    let rows = rows.collect();
    Ok((
        columns.into_iter().map(|column| column.title).collect(),
        rows,
    ))
}

#[derive(Debug, PartialEq, Eq)]
struct Column {
    name: &'static str,
    title: String,
}

/// Every column: its names, the first of which is used here, and its title.
const KNOWN: [(&[&str], &str); 22] = [
    (&["user", "euser", "uname"], "USER"),
    (&["uid", "euid"], "UID"),
    (&["group", "egroup"], "GROUP"),
    (&["gid", "egid"], "GID"),
    (&["pid"], "PID"),
    (&["ppid"], "PPID"),
    (&["pgid", "pgrp"], "PGID"),
    (&["sid", "sess", "session"], "SID"),
    (&["c"], "C"),
    (&["pcpu", "%cpu"], "%CPU"),
    (&["pmem", "%mem"], "%MEM"),
    (&["vsz", "vsize"], "VSZ"),
    (&["rss", "rssize", "rsz"], "RSS"),
    (&["stime"], "STIME"),
    (&["start", "start_time", "lstart"], "START"),
    (&["etime"], "ELAPSED"),
    (&["time", "cputime", "bsdtime"], "TIME"),
    (&["tname", "tt", "tty"], "TTY"),
    (&["stat", "state", "s"], "STAT"),
    (&["nlwp", "thcount"], "NLWP"),
    (&["ni", "nice"], "NI"),
    (&["args", "cmd", "command", "comm", "ucmd"], "COMMAND"),
];

fn columns(options: &[String]) -> Result<Vec<Column>, Error> {
    let mut columns = Vec::new();
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let letters = word.trim_start_matches('-');
        let list = if let Some(at) = letters.find('o').filter(|_| word.starts_with('-')) {
            let rest = &letters[at + 1..];
            let given = if rest.is_empty() {
                words.next().map(String::as_str)
            } else {
                Some(rest)
            };
            given.unwrap_or_default().to_owned()
        } else if word.starts_with('-') && letters.chars().all(|c| "efAFlyjwa".contains(c)) {
            continue;
        } else if !word.starts_with('-') && letters.chars().all(|c| "auxwef".contains(c)) {
            columns.extend(BSD.iter().filter_map(|name| known(name)));
            continue;
        } else {
            return Err(Error::Invalid(format!("ps: unsupported option: {word}")));
        };
        for part in list.split([',', ' ']).filter(|part| !part.is_empty()) {
            let (name, title) = part
                .split_once('=')
                .map_or((part, None), |(name, title)| (name, Some(title)));
            let unknown = || Error::Invalid(format!("ps: unknown column: {name}"));
            let mut column = known(name).ok_or_else(unknown)?;
            if let Some(title) = title {
                title.clone_into(&mut column.title);
            }
            columns.push(column);
        }
    }
    if columns.is_empty() {
        columns.extend(FULL.iter().filter_map(|name| known(name)));
        for (column, title) in columns
            .iter_mut()
            .zip(["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"])
        {
            title.clone_into(&mut column.title);
        }
    }
    if !columns.iter().any(|column| column.name == "pid") {
        return Err(Error::Invalid(
            "Couldn't find PID field in ps output".to_owned(),
        ));
    }
    Ok(columns)
}

fn known(name: &str) -> Option<Column> {
    let (names, title) = KNOWN.iter().find(|(names, _)| names.contains(&name))?;
    let title = match name {
        "cmd" | "ucmd" => "CMD",
        "tt" => "TT",
        _ => title,
    };
    Some(Column {
        // `comm` is the short name; all others of its line are the same.
        name: if name == "comm" {
            "comm"
        } else {
            names.first()?
        },
        title: title.to_owned(),
    })
}

/// What the cells are counted against.
struct Machine {
    now: Timestamp,
    uptime: Duration,
    memory_kib: u64,
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Machine {
    fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let uptime = text("/proc/uptime");
        let seconds = uptime
            .split(' ')
            .next()
            .and_then(|word| word.parse::<f64>().ok());
        let memory = text("/proc/meminfo");
        let memory = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"));
        let memory = memory.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok());
        let names = |path: &str| {
            let text = text(path);
            let pairs = text.lines().filter_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?.to_owned();
                Some((fields.nth(1)?.parse().ok()?, name))
            });
            pairs.collect()
        };
        Self {
            now: Timestamp::now(),
            uptime: Duration::from_secs_f64(seconds.unwrap_or(0.0).max(0.0)),
            memory_kib: memory.unwrap_or(1),
            users: names("/etc/passwd"),
            groups: names("/etc/group"),
        }
    }
}

/// One process as `/proc` shows it.
struct Process {
    /// The fields of `stat` behind the name, from the state on.
    stat: Vec<String>,
    pid: i32,
    name: String,
    command: String,
    status: BTreeMap<String, String>,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let dir = PathBuf::from(format!("/proc/{pid}"));
        let stat = std::fs::read_to_string(dir.join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let bytes = std::fs::read(dir.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&bytes).replace('\0', " ");
        let command = match command.trim_end() {
            "" => format!("[{name}]"),
            command => command.to_owned(),
        };
        let status = std::fs::read_to_string(dir.join("status")).unwrap_or_default();
        let status = status.lines().filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            Some((key.to_owned(), value.trim().to_owned()))
        });
        Some(Self {
            stat: rest.split_ascii_whitespace().map(str::to_owned).collect(),
            pid,
            name,
            command,
            status: status.collect(),
        })
    }

    /// A number of `stat`, counted as proc(5) does.
    fn number(&self, field: usize) -> i64 {
        let text = self.stat.get(field.saturating_sub(3));
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    fn id(&self, key: &str) -> u32 {
        let text = self.status.get(key);
        let effective = text.and_then(|text| text.split_ascii_whitespace().nth(1)?.parse().ok());
        effective.unwrap_or(0)
    }

    fn ticks(&self, field: usize) -> u64 {
        u64::try_from(self.number(field)).unwrap_or(0)
    }

    fn cpu(&self) -> Duration {
        Duration::from_millis((self.ticks(14) + self.ticks(15)) * 1_000 / TICKS)
    }

    fn age(&self, machine: &Machine) -> Duration {
        let started = Duration::from_millis(self.ticks(22) * 1_000 / TICKS);
        machine.uptime.saturating_sub(started)
    }

    fn started(&self, machine: &Machine) -> String {
        let zone = TimeZone::system();
        let started = machine
            .now
            .checked_sub(self.age(machine))
            .unwrap_or(machine.now);
        let started: Zoned = started.to_zoned(zone.clone());
        let today = machine.now.to_zoned(zone).date();
        let format = if started.date() == today {
            "%H:%M"
        } else {
            "%b%d"
        };
        started.strftime(format).to_string()
    }

    /// Per mille of one part of another, as `12.3`.
    fn percent(part: u128, whole: u128) -> String {
        let tenths = part * 1_000 / whole.max(1);
        format!("{}.{}", tenths / 10, tenths % 10)
    }

    fn cell(&self, column: &str, machine: &Machine) -> String {
        let (cpu, age) = (self.cpu().as_millis(), self.age(machine).as_millis());
        let named = |names: &BTreeMap<u32, String>, id: u32| {
            names.get(&id).cloned().unwrap_or_else(|| id.to_string())
        };
        let resident = self.ticks(24) * 4;
        match column {
            "user" => named(&machine.users, self.id("Uid")),
            "uid" => self.id("Uid").to_string(),
            "group" => named(&machine.groups, self.id("Gid")),
            "gid" => self.id("Gid").to_string(),
            "pid" => self.pid.to_string(),
            "ppid" => self.number(4).to_string(),
            "pgid" => self.number(5).to_string(),
            "sid" => self.number(6).to_string(),
            "c" => (cpu * 100 / age.max(1)).min(99).to_string(),
            "pcpu" => Self::percent(cpu, age),
            "pmem" => Self::percent(resident.into(), machine.memory_kib.into()),
            "vsz" => (self.ticks(23) >> 10).to_string(),
            "rss" => resident.to_string(),
            "stime" | "start" => self.started(machine),
            "etime" => elapsed(self.age(machine)),
            "time" => {
                let seconds = self.cpu().as_secs();
                format!(
                    "{:02}:{:02}:{:02}",
                    seconds / 3600,
                    seconds / 60 % 60,
                    seconds % 60
                )
            }
            "tname" => terminal(self.number(7)),
            "stat" => self.stat.first().cloned().unwrap_or_default(),
            "nlwp" => self.number(20).to_string(),
            "ni" => self.number(19).to_string(),
            "comm" => self.name.clone(),
            _ => self.command.clone(),
        }
    }
}

/// `1-02:03:04`, `02:03:04` or `03:04`.
fn elapsed(age: Duration) -> String {
    let seconds = age.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let rest = format!("{minutes:02}:{:02}", seconds % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

/// The name of a terminal by its device number.
///
/// Source: the kernel's admin-guide/devices.
fn terminal(number: i64) -> String {
    let number = u64::try_from(number).unwrap_or(0);
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    match (major, minor) {
        (0, _) => "?".to_owned(),
        (136..=143, minor) => format!("pts/{}", u64::from(major - 136) * 256 + u64::from(minor)),
        (4, minor @ 0..=63) => format!("tty{minor}"),
        (4, minor) => format!("ttyS{}", minor - 64),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(options: &[&str]) -> Result<String, Error> {
        let options: Vec<String> = options.iter().map(|&word| word.to_owned()).collect();
        let columns = columns(&options)?;
        let titles: Vec<String> = columns.into_iter().map(|column| column.title).collect();
        Ok(titles.join(" "))
    }

    #[test]
    fn the_words_of_ps_choose_columns() {
        assert_eq!(titles(&[]).unwrap(), "UID PID PPID C STIME TTY TIME CMD");
        assert_eq!(titles(&["-ef"]).unwrap(), titles(&[]).unwrap());
        assert!(titles(&["aux"]).unwrap().starts_with("USER PID %CPU"));
        assert_eq!(titles(&["-o", "pid,comm"]).unwrap(), "PID COMMAND");
        assert_eq!(titles(&["-eo", "pid=P,args"]).unwrap(), "P COMMAND");
        for wrong in [&["-o", "comm"][..], &["-o", "pid,nosuch"], &["--forest"]] {
            assert!(titles(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_process_has_cells() {
        let own = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        let machine = Machine::read();
        assert_eq!(own.cell("pid", &machine), std::process::id().to_string());
        assert!(own.cell("rss", &machine).parse::<u64>().unwrap() > 0);
        assert_eq!(elapsed(Duration::from_secs(93_784)), "1-02:03:04");
    }
}
