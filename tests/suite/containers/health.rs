//! Health probes.

use super::base::{home, of, until, up};

#[test]
fn probes_tell_healthy_from_unhealthy() {
    let Some(home) = home() else { return };
    let flags = [
        "--health-cmd",
        "test -e /ok || { echo why; exit 3; }",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
    ];
    up(&home, "aa", &flags, "");
    assert!(
        home.run(&["ps"]).ok().contains("(health: starting)")
            || of(&home, "aa", "/State/Health/Status") != "starting"
    );
    until("unhealthy", || {
        of(&home, "aa", "/State/Health/Status") == "unhealthy"
    });
    let log = of(&home, "aa", "/State/Health/Log");
    let last = log.as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (last["Output"].as_str(), last["ExitCode"].as_i64()),
        (Some("why\n"), Some(3))
    );
    assert!(
        home.run(&["ps", "--filter", "health=unhealthy"])
            .ok()
            .contains("(unhealthy)")
    );
    super::base::exec(&home, "aa", "touch /ok");
    until("healthy", || {
        of(&home, "aa", "/State/Health/Status") == "healthy"
    });
    assert_eq!(of(&home, "aa", "/State/Health/FailingStreak"), 0);
    until("five results", || {
        of(&home, "aa", "/State/Health/Log")
            .as_array()
            .unwrap()
            .len()
            == 5
    });
}

#[test]
fn a_probe_that_takes_too_long_has_failed() {
    let Some(home) = home() else { return };
    let flags = [
        "--health-cmd",
        "sleep 30",
        "--health-interval",
        "100ms",
        "--health-timeout",
        "200ms",
        "--health-retries",
        "1",
    ];
    up(&home, "aa", &flags, "");
    until("unhealthy", || {
        of(&home, "aa", "/State/Health/Status") == "unhealthy"
    });
    let log = of(&home, "aa", "/State/Health/Log").to_string();
    assert!(log.contains("Health check exceeded timeout"), "{log}");
    home.run(&["create", "--health-cmd", "x", "--no-healthcheck", "busybox"])
        .fails(1, "conflicts");
}
