//! What bad input gets.

use super::base::{home, up};

#[test]
fn bad_flags_are_told_in_dockers_words() {
    let Some(home) = home() else { return };
    for (flags, part) in [
        (
            &["--memory", "1m"][..],
            "Minimum memory limit allowed is 6MB",
        ),
        (
            &["-m", "10m", "--memory-swap", "5m"],
            "memoryswap limit should be larger",
        ),
        (&["--memory-swap", "50m"], "always set the Memory limit"),
        (&["--cpus", "9999"], "Range of CPUs is from 0.01 to"),
        (
            &["--cpus", "1", "--cpu-quota", "5000"],
            "Nano CPUs and CPU Quota cannot both be set",
        ),
        (
            &["--cpuset-cpus", "9999"],
            "Requested CPUs are not available",
        ),
        (
            &["--blkio-weight", "5"],
            "Range of blkio weight is from 10 to 1000",
        ),
        (
            &["--oom-score-adj", "2000"],
            "range for oom score adj is [-1000, 1000]",
        ),
        (&["--restart", "sometimes"], "invalid restart policy"),
        (
            &["--rm", "--restart", "always"],
            "cannot specify both --restart and --rm",
        ),
        (&["--pid", "nosuch"], "--pid: invalid PID mode"),
        (&["--uts", "nosuch"], "--uts: invalid UTS mode"),
        (&["--ipc", "nosuch"], "invalid IPC mode"),
        (&["--ipc", "container:zz"], "No such container: zz"),
        (
            &["--device-cgroup-rule", "x"],
            "invalid device cgroup format",
        ),
        (&["--security-opt", "nosuch"], "invalid --security-opt"),
        (
            &["--runtime", "nosuch"],
            "unknown or invalid runtime name: nosuch",
        ),
        (
            &["--health-cmd", "x", "--health-interval", "x"],
            "invalid duration",
        ),
        (
            &["--health-cmd", "x", "--health-interval", "1us"],
            "cannot be less than 1ms",
        ),
        (&["--link", "zz"], "No such container: zz"),
        (
            &["--platform", "linux/riscv64", "--pull", "never"],
            "does not provide the specified platform",
        ),
        (&["-u", "nosuchuser"], "nosuchuser"),
    ] {
        let mut words = vec!["run"];
        words.extend(flags);
        words.extend(["busybox", "true"]);
        let outcome = home.run(&words);
        outcome.fails(125, part);
    }
    assert_eq!(
        home.run(&["ps", "-aq", "--filter", "status=running"]).ok(),
        ""
    );
}

#[test]
fn names_and_states_stand_in_the_way() {
    let Some(home) = home() else { return };
    up(&home, "aa", &[], "");
    home.run(&["create", "--name", "aa", "busybox"])
        .fails(1, "Conflict. The container name \"/aa\" is already in use");
    home.run(&["rm", "aa"]).fails(1, "container is running");
    home.run(&["run", "-it", "--rm", "busybox", "sh"])
        .fails(1, "the input device is not a TTY");
    home.run(&["exec", "-it", "aa", "sh"])
        .fails(1, "the input device is not a TTY");
    home.run(&["exec", "--env-file", "/nosuch", "aa", "true"])
        .fails(1, "/nosuch");
    let file = home.file("env", "A=1\n# no\nB\n");
    let shown = home.run(&[
        "exec",
        "--env-file",
        file.to_str().unwrap(),
        "aa",
        "sh",
        "-c",
        "echo $A$B",
    ]);
    assert_eq!(shown.ok(), "1");
    home.run(&["run", "--rm", "--pull", "never", "nosuch:1"])
        .fails(125, "nosuch:1");
}

#[test]
fn many_at_once_leave_nothing() {
    const COUNT: usize = 40;
    let Some(home) = home() else { return };
    std::thread::scope(|scope| {
        let run = |number: usize| {
            let home = &home;
            move || {
                let text = format!("echo out{number}");
                let words = [
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "busybox",
                    "sh",
                    "-c",
                    &text,
                ];
                assert_eq!(home.run(&words).ok(), format!("out{number}"));
            }
        };
        for number in 0..COUNT {
            scope.spawn(run(number));
        }
    });
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
    let left = std::fs::read_dir(home.root().join("containers"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "directories stayed");
}

#[test]
fn a_removed_working_directory_is_no_reason_to_fail() {
    let Some(home) = home() else { return };
    let gone = home.scratch().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let words = ["run", "--rm", "--network", "none", "busybox", "echo", "ok"];
    let script = format!(
        "cd {} && rmdir {} && exec \"$@\"",
        gone.display(),
        gone.display()
    );
    let outcome = home.run_in(&["sh", "-c", &script, "sh"], &words);
    assert_eq!(outcome.ok(), "ok");
}
