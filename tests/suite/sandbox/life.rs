//! Start and end of sandboxes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rbuild::sandbox::{self, ExecSpec, Exit, Seccomp, Stdio, Terminal};

use super::base::{Base, run_with, start};

const PATIENCE: Duration = Duration::from_secs(10);

#[track_caller]
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

/// Host pids of processes whose command line has the text.
fn processes_with(text: &str) -> Vec<i32> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text)
        })
        .collect()
}

#[test]
fn a_killer_ends_everything_in_the_sandbox() {
    let Some(base) = Base::new() else { return };
    let mark = format!("{}", 100_000 + std::process::id());
    let script = format!("sleep {mark}9 & sleep {mark}9 & touch /ready; wait");
    let mut running = start(&base.script(&script));
    eventually("the script runs", || base.top.join("upper/ready").exists());
    assert_eq!(processes_with(&format!("{mark}9")).len(), 3);
    let killer = running.killer();
    let kill = std::thread::spawn(move || killer.kill());
    assert_eq!(running.wait().unwrap(), Exit::Signal(9));
    kill.join().unwrap();
    assert_eq!(processes_with(&format!("{mark}9")), Vec::<i32>::new());
    assert_eq!(Exit::Signal(9).code(), 137);
}

#[test]
fn dropping_ends_it_too() {
    let Some(base) = Base::new() else { return };
    let running = start(&base.spec(&["sleep", "1000"]));
    let pid = running.pid();
    assert!(is_alive(pid));
    drop(running);
    assert!(!is_alive(pid));
    // The same directories can be used again at once.
    assert_eq!(base.sh("echo again"), "again");
}

#[test]
fn signals_reach_the_first_process() {
    let Some(base) = Base::new() else { return };
    let script = "trap 'exit 7' USR1; touch /ready; while :; do sleep 0.01; done";
    let mut running = start(&base.script(script));
    eventually("the script runs", || base.top.join("upper/ready").exists());
    running.signal(libc::SIGUSR1).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(7));
    assert_eq!(running.wait().unwrap(), Exit::Code(7));
    assert!(running.signal(0).is_err());
}

#[test]
fn the_pid_stays_taken_until_the_end_was_heard() {
    let Some(base) = Base::new() else { return };
    let mut running = start(&base.spec(&["true"]));
    std::thread::sleep(Duration::from_millis(50));
    let pid = rustix::process::Pid::from_raw(running.pid()).unwrap();
    let flags = rustix::process::PidfdFlags::empty();
    assert!(rustix::process::pidfd_open(pid, flags).is_ok());
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
}

#[test]
fn the_starting_thread_may_end_before_the_program() {
    let Some(base) = Base::new() else { return };
    let spec = base.script("sleep 0.2; exit 5");
    let mut running = std::thread::spawn(move || start(&spec)).join().unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(5));
}

/// Starts a sandbox and waits to be killed; run by the test below.
#[test]
#[ignore = "part of another test"]
fn victim() {
    let top = std::env::vars_os().find(|(name, _)| name == "RBUILD_TEST_TOP");
    let base = Base::at(Path::new(&top.unwrap().1));
    let script = "sleep 1000 & sleep 1000";
    let running = start(&base.script(script));
    println!("pid {}", running.pid());
    std::io::stdout().flush().unwrap();
    std::thread::sleep(Duration::from_secs(1000));
}

#[test]
#[allow(clippy::disallowed_methods, reason = "starts this program again")]
fn nothing_outlives_a_parent_that_is_killed() {
    let Some(base) = Base::new() else { return };
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "sandbox::life::victim",
            "--ignored",
            "--nocapture",
        ])
        .env("RBUILD_TEST_TOP", &base.top)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(victim.stdout.take().unwrap()).lines();
    let pid = lines
        .map_while(Result::ok)
        .find_map(|line| line.split_once("pid ")?.1.trim().parse::<i32>().ok())
        .unwrap();
    assert!(is_alive(pid));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let init = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    let init: i32 = init.unwrap().parse().unwrap();
    victim.kill().unwrap();
    victim.wait().unwrap();
    eventually("the sandbox ends", || !is_alive(pid) && !is_alive(init));
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(base.top.to_str().unwrap()), "{mounts}");
    assert_eq!(base.sh("echo again"), "again");
}

#[test]
fn an_init_that_is_killed_takes_the_program_along() {
    let Some(base) = Base::new() else { return };
    let mut running = start(&base.spec(&["sleep", "1000"]));
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let init = status.lines().find_map(|line| line.strip_prefix("PPid:\t"));
    let init = rustix::process::Pid::from_raw(init.unwrap().parse().unwrap()).unwrap();
    rustix::process::kill_process(init, rustix::process::Signal::KILL).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(9));
    eventually("the program ends", || !is_alive(running.pid()));
}

#[test]
fn a_terminal_is_the_programs_own() {
    let Some(base) = Base::new() else { return };
    let mut spec = base
        .script("tty; stty size; echo to-console > /dev/console; ls /dev/pts; read x; echo got $x");
    spec.uid = 1000;
    spec.terminal = Some(Terminal {
        rows: 33,
        columns: 111,
    });
    let mut running = sandbox::spawn(&spec, Stdio::Terminal, None).unwrap();
    let mut terminal = std::fs::File::from(running.take_terminal().unwrap());
    assert!(running.take_terminal().is_none());
    terminal.write_all(b"word\n").unwrap();
    let mut text = Vec::new();
    // A terminal without users says EIO.
    let _end = terminal.read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(0), "{text}");
    for expected in ["/dev/pts/0\r\n", "33 111", "to-console", "got word"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
}

#[test]
fn ctrl_c_at_the_terminal_reaches_the_program() {
    let Some(base) = Base::new() else { return };
    let mut spec =
        base.script("trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.01; done");
    spec.terminal = Some(Terminal {
        rows: 0,
        columns: 0,
    });
    let mut running = sandbox::spawn(&spec, Stdio::Terminal, None).unwrap();
    let mut terminal = std::fs::File::from(running.take_terminal().unwrap());
    let mut seen = [0; 5];
    terminal.read_exact(&mut seen).unwrap();
    terminal.write_all(&[3]).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(3));
}

fn exec_spec(argv: &[&str]) -> ExecSpec {
    ExecSpec {
        argv: argv.iter().map(|text| (*text).to_owned()).collect(),
        env: vec!["PATH=/bin".to_owned(), "E=x".to_owned()],
        cwd: PathBuf::from("/tmp"),
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        capabilities: sandbox::DEFAULT_CAPABILITIES.to_vec(),
        no_new_privileges: false,
        seccomp: Seccomp::Default,
        rlimits: Vec::new(),
        terminal: None,
        cgroup: None,
    }
}

#[test]
fn a_further_process_joins_the_sandbox() {
    let Some(base) = Base::new() else { return };
    let first = start(&base.spec(&["sleep", "1000"]));
    let exec = |argv: &[&str]| {
        let spec = exec_spec(argv);
        run_with(|stdio| sandbox::enter(first.pid(), &spec, stdio))
    };
    let script = "pwd; hostname; echo $E; ps | grep -c '[s]leep 1000$'; \
        grep -E '^(CapEff|Seccomp):' /proc/self/status; ls /proc/self/fd | wc -l; \
        for n in mnt net ipc uts pid cgroup; do \
        [ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo other $n; done; exit 9";
    let outcome = exec(&["sh", "-c", script]).unwrap();
    assert_eq!(outcome.exit, Exit::Code(9));
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "/tmp",
            "box",
            "x",
            "1",
            "CapEff:\t00000000a80425fb",
            "Seccomp:\t2",
            "4"
        ]
    );
    let missing = exec(&["nope"]).unwrap_err();
    assert!(
        matches!(missing, sandbox::Error::CommandNotFound(_)),
        "{missing:?}"
    );
    assert!(is_alive(first.pid()));
}

#[test]
fn a_further_process_can_have_a_terminal_and_dies_with_the_sandbox() {
    let Some(base) = Base::new() else { return };
    let first = start(&base.spec(&["sleep", "1000"]));
    let mut spec = exec_spec(&["sh", "-c", "tty; stty size; sleep 1000"]);
    spec.terminal = Some(Terminal {
        rows: 5,
        columns: 6,
    });
    let mut second = sandbox::enter(first.pid(), &spec, Stdio::Terminal).unwrap();
    let terminal = std::fs::File::from(second.take_terminal().unwrap());
    let mut lines = BufReader::new(terminal).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "/dev/pts/0");
    assert_eq!(lines.next().unwrap().unwrap(), "5 6");
    drop(first);
    assert_eq!(second.wait().unwrap(), Exit::Signal(9));
}

#[test]
fn entering_what_has_ended_is_an_error() {
    let Some(base) = Base::new() else { return };
    let mut first = start(&base.spec(&["true"]));
    first.wait().unwrap();
    let pid = first.pid();
    drop(first);
    let spec = exec_spec(&["true"]);
    let result = run_with(|stdio| sandbox::enter(pid, &spec, stdio));
    assert!(
        matches!(result, Err(sandbox::Error::SetUp { .. })),
        "{result:?}"
    );
}

#[test]
fn what_a_sandbox_used_is_known_after_its_end() {
    let Some(base) = Base::new() else { return };
    // Most of it is used by a process that the first one starts and waits for, some by
    // one that nobody waits for.
    let script = "(x=$(head -c 20m /dev/zero | tr '\\0' x); i=0; while [ $i -lt 100000 ]; do i=$((i + 1)); done; \
                  test ${#x} -gt 0); sleep 1000 & true";
    let mut running = start(&base.script(script));
    assert_eq!(running.usage(), None);
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
    let usage = running.usage().unwrap();
    assert!(usage.cpu > Duration::from_millis(1), "{usage:?}");
    assert!(usage.memory_peak > 20 << 20, "{usage:?}");
}
