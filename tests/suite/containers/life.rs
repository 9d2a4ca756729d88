//! Pauses, processes, statistics, new names, and what `rm` takes.

use super::base::{exec, home, inspect, of, sh, until, until_state, up};

#[test]
fn a_paused_container_rests_and_its_group_goes_with_it() {
    let Some(home) = home() else { return };
    up(
        &home,
        "aa",
        &[],
        "while :; do echo x >> /n; sleep 0.05; done",
    );
    let id = of(&home, "aa", "/Id").as_str().unwrap().to_owned();
    home.run(&["pause", "aa"]).ok();
    assert_eq!(of(&home, "aa", "/State/Status"), "paused");
    assert!(home.run(&["ps"]).ok().contains("(Paused)"));
    home.run(&["pause", "aa"]).fails(1, "already paused");
    home.run(&["exec", "aa", "true"]).fails(1, "is paused");
    home.run(&["unpause", "aa"]).ok();
    home.run(&["unpause", "aa"]).fails(1, "is not paused");
    let lines = |text: String| text.trim().parse::<u64>().unwrap();
    let before = lines(exec(&home, "aa", "wc -l < /n"));
    until("more lines", || {
        lines(exec(&home, "aa", "wc -l < /n")) > before
    });
    // Stopped while it rests: it must hear of it all the same.
    home.run(&["pause", "aa"]).ok();
    home.run(&["stop", "-t", "1", "aa"]).ok();
    until_state(&home, "aa", "exited");
    assert!(!group_exists(&id), "a group stayed");
    home.run(&["start", "aa"]).ok();
    home.run(&["pause", "aa"]).ok();
    home.run(&["rm", "-f", "aa"]).ok();
    assert!(!group_exists(&id), "a group stayed");
    home.run(&["pause", "aa"]).fails(1, "No such container: aa");
}

fn group_exists(id: &str) -> bool {
    let roots = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let mut paths: Vec<_> = roots.map(|entry| entry.path()).collect();
    paths.push("/sys/fs/cgroup".into());
    paths
        .iter()
        .any(|path| path.join("rbuild").join(id).exists())
}

#[test]
fn processes_and_statistics_are_shown() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    let pid = of(&home, "aa", "/State/Pid").to_string();
    let top = home.run(&["top", "aa"]).ok().to_owned();
    let mut lines = top.lines();
    assert!(lines.next().unwrap().starts_with("UID"));
    let line = lines.next().unwrap();
    assert!(line.contains(&pid) && line.ends_with("sleep 600"), "{line}");
    assert_eq!(
        home.run(&["top", "aa", "-o", "pid,args"])
            .ok()
            .lines()
            .nth(1)
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>(),
        [pid.as_str(), "sleep", "600"]
    );
    home.run(&["top", "aa", "-o", "args"]).fails(1, "PID");
    let format = "{{.Name}} {{.PIDs}} {{.CPUPerc}}";
    let stats = home.run(&["stats", "--no-stream", "--format", format, "aa"]);
    assert!(stats.ok().starts_with("aa 1 "), "{}", stats.text());
    home.run(&["create", "--name", "bb", "busybox"]).ok();
    home.run(&["top", "bb"]).fails(1, "is not running");
    home.run(&["stats", "--no-stream", "zz"])
        .fails(1, "No such container: zz");
}

#[test]
fn memory_of_a_container_without_limits_is_counted() {
    let Some(home) = home() else { return };
    up(
        &home,
        "aa",
        &[],
        "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo ready; sleep 600; echo $x | wc -c",
    );
    until("ready", || home.run(&["logs", "aa"]).ok().contains("ready"));
    let usage = home.run(&["stats", "--no-stream", "--format", "{{.MemUsage}}", "aa"]);
    let usage = usage.ok().split("MiB").next().unwrap().to_owned();
    let usage: f64 = usage.parse().unwrap();
    assert!((18.0..120.0).contains(&usage), "{usage}");
}

#[test]
fn several_are_handled_although_one_is_missing() {
    let Some(home) = home() else { return };
    up(&home, "aa", &["--init"], "");
    up(&home, "bb", &["--init"], "");
    let stopped = home.run(&["stop", "aa", "zz", "bb"]);
    stopped.fails(1, "No such container: zz");
    assert_eq!(
        String::from_utf8_lossy(&stopped.stdout)
            .lines()
            .collect::<Vec<_>>(),
        ["aa", "bb"]
    );
    assert_eq!(of(&home, "aa", "/State/ExitCode"), 143);
    home.run(&["rename", "aa", "cc"]).ok();
    home.run(&["rename", "cc", "bb"]).fails(1, "already in use");
    assert_eq!(home.run(&["rm", "bb", "cc"]).ok().trim(), "bb\ncc");
}

#[test]
fn the_init_collects_passes_on_and_ends_as_its_program() {
    let Some(home) = home() else { return };
    let orphans = sh(
        &home,
        &["--init"],
        "(sleep 0.1 &); sleep 0.4; ps -o stat,comm | grep -c Z; true",
    );
    assert_eq!(orphans.ok().trim(), "0");
    let names = sh(&home, &["--init"], "cat /proc/1/cmdline | tr '\\0' ' '");
    assert!(
        names.ok().starts_with("/sbin/docker-init -- sh -c"),
        "{}",
        names.text()
    );
    assert_eq!(sh(&home, &["--init"], "exit 7").code, 7);
    assert_eq!(sh(&home, &["--init"], "kill -9 $$").code, 137);
    home.run(&[
        "run",
        "--rm",
        "--init",
        "--network",
        "none",
        "busybox",
        "/nosuch",
    ])
    .fails(127, "");
    let read_only = sh(&home, &["--init"], "echo x > /proc/1/exe");
    assert_ne!(read_only.code, 0, "the program can be overwritten");
}

#[test]
fn waiting_tells_codes_in_order() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "sleep 0.5; exit 4");
    up(&home, "bb", &[], "exit 5");
    assert_eq!(home.run(&["wait", "aa", "bb"]).ok().trim(), "4\n5");
    assert_eq!(inspect(&home, "aa")["State"]["Running"], false);
}
