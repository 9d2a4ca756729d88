//! Full disks, reboots, crowds, floods, and programs that are replaced.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::Value;

use super::base::{exec, home, inspect, of, sh, until, until_state, up};
use crate::support::{Home, busybox_archive, finish};

fn state_file(home: &Home, name: &str) -> std::path::PathBuf {
    let id = of(home, name, "/Id").as_str().unwrap().to_owned();
    home.root().join("containers").join(id).join("state.json")
}

fn shim(home: &Home, name: &str) -> i32 {
    let state = std::fs::read(state_file(home, name)).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    i32::try_from(state["shim"]["pid"].as_i64().unwrap()).unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[test]
fn a_full_disk_costs_lines_that_are_counted_and_nothing_else() {
    let Some(home) = home() else { return };
    let archive = home.file("busybox.tar", busybox_archive());
    let small = home.scratch().join("small");
    std::fs::create_dir(&small).unwrap();
    // The data root is a small file system of the script's own mounts.
    let script = format!(
        r#"set -e
        mount -t tmpfs -o size=24m t {small}
        rb() {{ "$RB" --root {small}/data --run-root {run} "$@"; }}
        RB=$1
        rb load -q -i {archive}
        program='trap "echo bye; exit 9" TERM; i=0; while :; do echo line $i; i=$((i+1)); [ $i -lt 200 ] || sleep 0.01; done'
        rb run -d --name cc --network none busybox sh -c "$program"
        rb run -d --name full --network none --restart on-failure:1 busybox sh -c 'echo start; while [ -e /proc/self ]; do sleep 0.01; done'
        log=$(rb inspect -f '{{{{.LogPath}}}}' cc)
        i=0; while ! grep -q 'line 10' $log; do sleep 0.05; i=$((i+1)); [ $i -lt 600 ]; done
        dd if=/dev/zero of={small}/fill bs=64k 2> /dev/null || true
        before=$(stat -c %s $log)
        i=0; while dd if=/dev/zero of={small}/more bs=4k 2> /dev/null; do i=$((i+1)); [ $i -lt 100 ]; done
        sleep 1
        echo "state while full: $(rb inspect -f '{{{{.State.Status}}}}' cc)"
        rb stop -t 5 full > /dev/null; echo "end while full: $(rb inspect -f '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' full)"
        rm {small}/fill {small}/more
        i=0; while ! grep -q 'could not be logged' $log; do sleep 0.05; i=$((i+1)); [ $i -lt 600 ]; done
        rb stop -t 20 cc > /dev/null
        rb inspect -f 'end: {{{{.State.ExitCode}}}}' cc
        rb logs cc 2>&1 | tail -n 100000 > {out}
        rb rm cc full > /dev/null
        "#,
        small = small.display(),
        run = home.scratch().join("run").display(),
        archive = archive.display(),
        out = home.scratch().join("out").display(),
    );
    let wrapper = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let outcome = home.run_in(&wrapper, &[""; 0]);
    let text = outcome.ok().to_owned();
    assert!(text.contains("state while full: running\n"), "{text}");
    assert!(text.contains("end while full: exited 137\n"), "{text}");
    assert!(text.ends_with("end: 9"), "{text}");
    let log = std::fs::read_to_string(home.scratch().join("out")).unwrap();
    assert!(
        log.contains("lines of output could not be logged: no space left on device\n"),
        "{log}"
    );
    // Every line is there or counted, and the last one is there.
    let told = |line: &str| {
        line.strip_prefix("rbuild: ")
            .and_then(|rest| rest.split(' ').next()?.parse::<usize>().ok())
    };
    let lost: usize = log.lines().filter_map(told).sum();
    let lines: Vec<usize> = log
        .lines()
        .filter_map(|line| line.strip_prefix("line ")?.parse().ok())
        .collect();
    assert!(lost > 0 && lines.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(lines.len() + lost, lines.last().unwrap() + 1, "{lost}");
    assert!(
        log.ends_with("bye\n"),
        "{}",
        &log[log.len().saturating_sub(300)..]
    );
}

#[test]
fn after_a_reboot_nothing_that_looks_alive_is_taken_for_it() {
    let Some(home) = home() else { return };
    up(&home, "again", &["--restart", "always"], "");
    up(&home, "rests", &[], "");
    up(&home, "paused", &[], "");
    home.run(&["pause", "paused"]).ok();
    let names = ["again", "rests", "paused"];
    for name in names {
        kill(shim(&home, name));
        until_state(&home, name, "exited");
    }
    // A process of today has the number and the start time of a shim of yesterday.
    let this = rbuild::store::Process::this();
    for name in names {
        let path = state_file(&home, name);
        let mut state: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert!(state["shim"]["boot"].as_u64().unwrap() > 0);
        state["shim"] = serde_json::json!({ "pid": this.pid, "started": this.started, "boot": 1 });
        state["pid"] = serde_json::json!(this.pid);
        std::fs::write(&path, state.to_string()).unwrap();
    }
    // `/run` is empty after a boot.
    std::fs::remove_dir_all(home.run_root()).unwrap();
    for name in names {
        let state = inspect(&home, name)["State"].clone();
        assert_eq!(
            (&state["Status"], &state["ExitCode"]),
            (&"exited".into(), &255.into()),
            "{name}"
        );
        assert_eq!(state["Pid"], 0);
    }
    assert_eq!(home.run(&["ps", "-q"]).ok(), "");
    home.run(&["exec", "rests", "true"])
        .fails(1, "is not running");
    home.run(&["stop", "rests"]).ok();
    assert_eq!(
        home.run(&["system", "restart-policy", "--apply"]).ok(),
        "again"
    );
    until_state(&home, "again", "running");
    home.run(&["start", "rests"]).ok();
    home.run(&["start", "paused"]).ok();
    assert_eq!(exec(&home, "paused", "echo up"), "up");
    home.run(&["rm", "-f", "again", "rests", "paused"]).ok();
}

#[test]
fn two_hundred_start_at_once_and_go_at_once() {
    const COUNT: usize = 200;
    let Some(home) = home() else { return };
    let home = &home;
    let outcomes: Vec<String> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..COUNT)
            .map(|_| {
                scope.spawn(|| {
                    home.run(&["run", "-d", "busybox", "sleep", "600"])
                        .ok()
                        .to_owned()
                })
            })
            .collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    let ids: BTreeSet<&str> = outcomes.iter().map(String::as_str).collect();
    assert_eq!(ids.len(), COUNT);
    let mut words = vec![
        "inspect",
        "-f",
        "{{.Name}} {{.NetworkSettings.IPAddress}} {{.State.Running}}",
    ];
    words.extend(&ids);
    let shown = home.run(&words).ok().to_owned();
    let column = |at: usize| {
        shown
            .lines()
            .map(|line| line.split(' ').nth(at).unwrap())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(column(0).len(), COUNT, "names are unique");
    assert_eq!(column(1).len(), COUNT, "addresses are unique");
    assert_eq!(column(2), BTreeSet::from(["true"]));
    std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(move || home.run(&["rm", "-f", id]).ok().to_owned());
        }
    });
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
    for dir in [
        home.root().join("containers"),
        home.run_root().join("containers"),
    ] {
        assert_eq!(
            std::fs::read_dir(&dir).unwrap().count(),
            0,
            "{}",
            dir.display()
        );
    }
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let root = home.root().display().to_string();
    let left = processes.filter(|entry| {
        std::fs::read(entry.path().join("cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&root))
    });
    assert_eq!(left.count(), 0, "processes stayed");
}

#[test]
fn a_flood_is_bounded_on_disk_and_in_memory() {
    let Some(home) = home() else { return };
    let options = ["--log-opt", "max-size=100k", "--log-opt", "max-file=3"];
    up(
        &home,
        "flood",
        &options,
        "head -c 4000000 /dev/zero | tr '\\0' 'x'; yes | head -n 150000; echo end; sleep 600",
    );
    until("the end of the flood", || {
        home.run(&["logs", "--tail", "1", "flood"]).text() == "end"
    });
    let log = of(&home, "flood", "/LogPath").as_str().unwrap().to_owned();
    let dir = std::path::Path::new(&log).parent().unwrap();
    let logs = std::fs::read_dir(dir).unwrap().flatten();
    let logs: Vec<u64> = logs
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("log"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert!(
        logs.len() <= 3 && logs.iter().sum::<u64>() <= 330_000,
        "{logs:?}"
    );
    let status = std::fs::read_to_string(format!("/proc/{}/status", shim(&home, "flood"))).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 64 << 10, "the shim had {peak} kB");
    home.run(&["rm", "-f", "flood"]).ok();
}

#[test]
fn following_goes_on_while_files_turn_over() {
    let Some(home) = home() else { return };
    for more in [&[][..], &["--log-opt", "compress=true"]] {
        let mut flags = vec!["--log-opt", "max-size=20k", "--log-opt", "max-file=100"];
        flags.extend(more);
        let script = "while [ ! -e /go ]; do sleep 0.05; done; i=0; while [ $i -lt 6000 ]; do echo $i; i=$((i+1)); done";
        up(&home, "turns", &flags, script);
        let follower = home
            .command(&["logs", "-f", "turns"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        exec(&home, "turns", "touch /go");
        let output = follower.wait_with_output().unwrap();
        let lines: Vec<u32> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| line.parse().unwrap())
            .collect();
        if more.is_empty() {
            let odd = lines.iter().zip(0..).find(|(line, at)| **line != *at);
            assert!(
                odd.is_none() && lines.len() == 6_000,
                "{odd:?}, {} lines",
                lines.len()
            );
        } else {
            assert!(lines.windows(2).all(|pair| pair[0] < pair[1]) && lines.last() == Some(&5_999));
        }
        home.run(&["rm", "turns"]).ok();
    }
}

#[test]
fn a_container_outlives_the_program_that_started_it() {
    let Some(home) = home() else { return };
    // An older copy of the program, which goes away or becomes something else.
    let copy = home.scratch().join("rbuild");
    // By a program of its own: this one's threads would keep the copy open in what they start.
    let words = [env!("CARGO_BIN_EXE_rbuild"), copy.to_str().unwrap()];
    finish(other("cp", &words), b"").ok();
    let start = |name: &str| {
        let old = copy.to_str().unwrap();
        let (root, run) = (home.root(), home.run_root());
        let mut all = vec![
            "--root",
            root.to_str().unwrap(),
            "--run-root",
            run.to_str().unwrap(),
        ];
        all.extend([
            "run",
            "-d",
            "--network",
            "none",
            "--name",
            name,
            "--restart",
            "on-failure:3",
        ]);
        all.extend([
            "--health-cmd",
            "true",
            "--health-interval",
            "200ms",
            "busybox",
        ]);
        all.extend(["sh", "-c", "echo up; sleep 600; exit 3"]);
        finish(other(old, &all), b"").ok();
    };
    start("gone");
    start("replaced");
    std::fs::remove_file(&copy).unwrap();
    std::fs::write(&copy, "#!/bin/sh\nexit 99\n").unwrap();
    for name in ["gone", "replaced"] {
        assert_eq!(exec(&home, name, "echo works"), "works");
        assert_eq!(home.run(&["logs", name]).ok(), "up");
        home.run(&["pause", name]).ok();
        home.run(&["unpause", name]).ok();
        home.run(&["update", "--restart", "on-failure:2", name])
            .ok();
        until("health", || {
            of(&home, name, "/State/Health/Status") == "healthy"
        });
        // It starts the program again, although its own file is gone.
        exec(
            &home,
            name,
            "kill -9 $(pidof sleep | cut -d' ' -f1) 2>/dev/null; true",
        );
        until("a restart", || {
            of(&home, name, "/RestartCount") == 1 && of(&home, name, "/State/Status") == "running"
        });
        home.run(&["stop", "-t", "0", name]).ok();
        assert_eq!(of(&home, name, "/State/ExitCode"), 137);
        home.run(&["start", name]).ok();
        home.run(&["rm", "-f", name]).ok();
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "another copy of the program is what the test is about"
)]
fn other(program: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.args(arguments);
    command
}

#[test]
fn several_clients_hear_the_same() {
    let Some(home) = home() else { return };
    up(
        &home,
        "heard",
        &["-i"],
        "read word; echo got $word; sleep 1; exit 4",
    );
    let attach = || {
        home.command(&["attach", "--no-stdin", "heard"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let listeners: Vec<_> = (0..3).map(|_| attach()).collect();
    let connected = || {
        let pid = shim(&home, "heard");
        let files = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .flatten();
        files
            .filter(|file| {
                std::fs::read_link(file.path())
                    .is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
            })
            .count()
    };
    until("three listeners", || connected() >= 5);
    let speaker = home.run_with(&["attach", "heard"], b"hello\n");
    assert_eq!((speaker.code, speaker.text()), (4, "got hello"));
    for listener in listeners {
        let output = listener.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(4));
        assert_eq!(output.stdout, b"got hello\n");
    }
    home.run(&["rm", "heard"]).ok();
    // A flooded client that reads nothing holds the program up, as with Docker, and
    // is out of the way when it is gone.
    up(
        &home,
        "held",
        &[],
        "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; echo $((n=n+1)) > /n; done",
    );
    let mut deaf = home
        .command(&["attach", "--no-stdin", "held"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let number = || exec(&home, "held", "cat /n");
    until("the program's rest", || {
        let before = number();
        std::thread::sleep(std::time::Duration::from_millis(300));
        number() == before
    });
    deaf.kill().unwrap();
    deaf.wait().unwrap();
    let before = number();
    until("the program going on", || number() != before);
    home.run(&["rm", "-f", "held"]).ok();
    sh(&home, &[], "true").ok();
}
