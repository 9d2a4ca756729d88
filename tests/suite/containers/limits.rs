//! Limits, as the kernel has them.

use super::base::{exec, home, of, sh, until, until_state, up};
use crate::support::Home;

/// A cgroup file of a container's first process, whichever version has it.
fn group_file(home: &Home, name: &str, controller: &str, one: &str, two: &str) -> String {
    let pid = of(home, name, "/State/Pid");
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    for line in text.lines() {
        let fields: Vec<&str> = line.splitn(3, ':').collect();
        let (path, file) = if fields[1].split(',').any(|name| name == controller) {
            (format!("/sys/fs/cgroup/{controller}{}", fields[2]), one)
        } else if fields[1].is_empty() {
            (format!("/sys/fs/cgroup{}", fields[2]), two)
        } else {
            continue;
        };
        if let Ok(text) = std::fs::read_to_string(format!("{path}/{file}")) {
            return text.trim().to_owned();
        }
    }
    String::new()
}

#[test]
fn limits_are_in_the_group_and_change_while_it_runs() {
    let Some(home) = home() else { return };
    up(
        &home,
        "aa",
        &[
            "-m",
            "64m",
            "--memory-swap",
            "128m",
            "--cpus",
            "0.5",
            "--pids-limit",
            "33",
        ],
        "",
    );
    let memory = || group_file(&home, "aa", "memory", "memory.limit_in_bytes", "memory.max");
    let pids = || group_file(&home, "aa", "pids", "pids.max", "pids.max");
    assert_eq!(
        (memory(), pids()),
        ((64 << 20).to_string(), "33".to_owned())
    );
    let words = [
        "update",
        "-m",
        "100m",
        "--memory-swap",
        "200m",
        "--cpus",
        "1",
        "--pids-limit",
        "77",
        "aa",
    ];
    home.run(&words).ok();
    assert_eq!(
        (memory(), pids()),
        ((100 << 20).to_string(), "77".to_owned())
    );
    assert_eq!(of(&home, "aa", "/HostConfig/NanoCpus"), 1_000_000_000);
    home.run(&["update", "-m", "300m", "aa"])
        .fails(1, "memoryswap");
    home.run(&["update", "aa"]).fails(1, "one or more flags");
    // One that had no limits gets a group when it is given some.
    up(&home, "bb", &[], "");
    home.run(&["update", "--pids-limit", "9", "bb"]).ok();
    assert_eq!(group_file(&home, "bb", "pids", "pids.max", "pids.max"), "9");
    assert_eq!(
        exec(&home, "bb", "cat /proc/self/cgroup | grep -c rbuild").trim(),
        exec(&home, "bb", "cat /proc/1/cgroup | grep -c rbuild").trim()
    );
    home.run(&["rm", "-f", "aa", "bb"]).ok();
}

#[test]
fn further_limits_reach_the_kernel() {
    let Some(home) = home() else { return };
    up(
        &home,
        "aa",
        &[
            "--cpu-period",
            "50000",
            "--cpu-quota",
            "20000",
            "-m",
            "100m",
            "--memory-reservation",
            "50m",
        ],
        "",
    );
    let quota = group_file(&home, "aa", "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert_eq!(quota.split(' ').next(), Some("20000"));
    let soft = group_file(
        &home,
        "aa",
        "memory",
        "memory.soft_limit_in_bytes",
        "memory.low",
    );
    assert_eq!(soft, (50 << 20).to_string());
    let list = sh(
        &home,
        &["--cpuset-cpus", "0"],
        "grep Cpus_allowed_list /proc/self/status",
    );
    assert!(list.ok().trim().ends_with('0'), "{}", list.text());
    assert_eq!(
        sh(
            &home,
            &["--oom-score-adj", "321"],
            "cat /proc/self/oom_score_adj"
        )
        .ok(),
        "321"
    );
    home.run(&["rm", "-f", "aa"]).ok();
}

#[test]
fn memory_hogs_and_fork_bombs_are_held() {
    let Some(home) = home() else { return };
    let flags = [
        "--name",
        "hog",
        "--network",
        "none",
        "-m",
        "32m",
        "--memory-swap",
        "32m",
        "busybox",
    ];
    let mut words = vec!["run"];
    words.extend(flags);
    words.extend([
        "sh",
        "-c",
        "exec dd if=/dev/zero of=/dev/null bs=200M count=1",
    ]);
    assert_eq!(home.run(&words).code, 137);
    assert_eq!(of(&home, "hog", "/State/OOMKilled"), true);
    up(
        &home,
        "bomb",
        &["--pids-limit", "10"],
        "f() { f | f & }; f 2>/dev/null; sleep 600",
    );
    until("a held bomb", || {
        group_file(&home, "bomb", "pids", "pids.max", "pids.max") == "10"
    });
    home.run(&["rm", "-f", "bomb"]).ok();
    up(&home, "flood", &["--log-opt", "max-size=1m"], "yes");
    home.run(&["stop", "-t", "0", "flood"]).ok();
    until_state(&home, "flood", "exited");
}
