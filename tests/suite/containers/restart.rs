//! Restart policies.

use super::base::{home, of, until, until_state, up};

#[test]
fn failures_are_started_again_as_often_as_allowed() {
    let Some(home) = home() else { return };
    up(
        &home,
        "aa",
        &["--restart", "on-failure:2"],
        "echo round; exit 3",
    );
    until_state(&home, "aa", "exited");
    assert_eq!(of(&home, "aa", "/RestartCount"), 2);
    assert_eq!(of(&home, "aa", "/State/ExitCode"), 3);
    assert_eq!(home.run(&["logs", "aa"]).ok(), "round\nround\nround");
    up(&home, "bb", &["--restart", "on-failure"], "exit 0");
    until_state(&home, "bb", "exited");
    assert_eq!(of(&home, "bb", "/RestartCount"), 0);
}

#[test]
fn what_somebody_stops_stays_stopped() {
    let Some(home) = home() else { return };
    up(&home, "aa", &["--restart", "always"], "exit 1");
    until("a restart", || {
        of(&home, "aa", "/RestartCount").as_u64() > Some(1)
    });
    until("restarting", || {
        home.run(&["ps"]).ok().contains("Restarting (1)")
    });
    home.run(&["rm", "aa"]).fails(1, "container is ");
    home.run(&["stop", "aa"]).ok();
    assert_eq!(of(&home, "aa", "/State/Status"), "exited");
    up(&home, "bb", &["--restart", "unless-stopped"], "");
    home.run(&["kill", "bb"]).ok();
    until_state(&home, "bb", "exited");
    home.run(&["start", "bb"]).ok();
    assert_eq!(of(&home, "bb", "/RestartCount"), 0);
    // Killed by somebody else, it comes back as another process.
    let pid = of(&home, "bb", "/State/Pid").as_i64().unwrap();
    let target = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(target, rustix::process::Signal::KILL).unwrap();
    until("another process", || {
        let now = of(&home, "bb", "/State/Pid").as_i64().unwrap();
        now != 0 && now != pid
    });
    home.run(&["update", "--restart", "no", "bb"]).ok();
    assert_eq!(of(&home, "bb", "/HostConfig/RestartPolicy/Name"), "no");
    home.run(&["rm", "-f", "bb"]).ok();
}

#[test]
fn policies_hold_when_the_machine_starts() {
    let Some(home) = home() else { return };
    up(&home, "always", &["--restart", "always"], "");
    up(&home, "unless", &["--restart", "unless-stopped"], "");
    up(&home, "stopped", &["--restart", "unless-stopped"], "");
    up(&home, "never", &[], "");
    home.run(&["stop", "-t", "0", "stopped", "always"]).ok();
    // What is left after a power cut: nobody wrote an end down.
    for name in ["unless", "never"] {
        let id = of(&home, name, "/Id");
        let path = home.root().join("containers").join(id.as_str().unwrap());
        let state = std::fs::read(path.join("state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        let shim = i32::try_from(state["shim"]["pid"].as_i64().unwrap()).unwrap();
        let shim = rustix::process::Pid::from_raw(shim).unwrap();
        rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
        until_state(&home, name, "exited");
    }
    let unit = home.run(&["system", "restart-policy"]);
    assert!(
        unit.ok().contains("system restart-policy --apply"),
        "{}",
        unit.text()
    );
    let started = home.run(&["system", "restart-policy", "--apply"]);
    let mut names: Vec<&str> = started.ok().lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["always", "unless"]);
    home.run(&["rm", "-f", "always", "unless"]).ok();
}
