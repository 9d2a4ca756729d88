//! Containers of outside runtimes: everything a user does with them, and what is
//! left when processes are killed.

use std::path::PathBuf;

use serde_json::Value;

use super::base::{exec, inspect, of, sh, until, until_state, up};
use super::runtime_schema::assert_conforms;
use crate::support::{Home, Need, needs};

/// The runtimes of the distribution.
const RUNTIMES: [&str; 2] = ["crun", "runc"];

fn home() -> Option<Home> {
    let needed = [Need::Root, Need::Busybox, Need::Overlay, Need::Runtimes];
    needs(&needed).then(Home::with_busybox)
}

/// Where a running container's runtime keeps what it knows.
fn outside(home: &Home, name: &str) -> PathBuf {
    let id = of(home, name, "/Id").as_str().unwrap().to_owned();
    home.run_root().join("containers").join(id).join("outside")
}

/// The processes that stand between the user and the container: shim and init.
fn keepers(home: &Home, name: &str) -> [i32; 2] {
    let id = of(home, name, "/Id").as_str().unwrap().to_owned();
    let state = home.root().join("containers").join(id).join("state.json");
    let state: Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
    let shim = i32::try_from(state["shim"]["pid"].as_i64().unwrap()).unwrap();
    let init = std::fs::read_to_string(outside(home, name).join("keeper")).unwrap();
    [shim, init.trim().parse().unwrap()]
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn is_alive(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn pid(home: &Home, name: &str) -> i64 {
    of(home, name, "/State/Pid").as_i64().unwrap()
}

/// Groups of containers of this data root that are left.
fn groups(ids: &[String]) -> Vec<PathBuf> {
    let tops = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
    let tops = tops.map(|entry| entry.path().join("rbuild"));
    let all = tops.flat_map(|top| ids.iter().map(move |id| top.join(id)));
    all.filter(|path| path.exists()).collect()
}

#[test]
fn a_container_lives_its_whole_life() {
    let Some(home) = home() else { return };
    for runtime in RUNTIMES {
        let flags = [
            "--runtime",
            runtime,
            "--init",
            "--memory",
            "64m",
            "-e",
            "A=1",
        ];
        let script =
            "trap 'echo term; exit 7' TERM; echo out; echo err >&2; while :; do sleep 0.05; done";
        up(&home, "one", &flags, script);
        assert_eq!(of(&home, "one", "/HostConfig/Runtime"), runtime);
        until("output", || home.run(&["logs", "one"]).ok() == "out");
        assert_eq!(
            exec(&home, "one", "echo $A; tr '\\0' ' ' < /proc/1/cmdline")
                .lines()
                .next(),
            Some("1")
        );
        assert!(exec(&home, "one", "tr '\\0' ' ' < /proc/1/cmdline").contains("docker-init"));
        assert_eq!(home.run(&["exec", "one", "sh", "-c", "exit 5"]).code, 5);
        assert_eq!(
            home.run_with(&["exec", "-i", "one", "cat"], b"in").ok(),
            "in"
        );
        assert!(
            home.run(&["exec", "-t", "one", "tty"])
                .ok()
                .contains("/dev/pts/")
        );
        home.run(&["exec", "one", "nosuch"]).fails(127, "nosuch");
        assert_eq!(
            home.run(&[
                "exec",
                "-u",
                "1:2",
                "-w",
                "/etc",
                "one",
                "sh",
                "-c",
                "id -u; id -g; pwd"
            ])
            .ok(),
            "1\n2\n/etc"
        );
        let top = home.run(&["top", "one"]).ok().to_owned();
        assert!(
            top.contains("docker-init") && top.contains(&pid(&home, "one").to_string()),
            "{top}"
        );
        assert!(
            home.run(&["stats", "--no-stream", "one"])
                .ok()
                .contains("64MiB")
        );
        rests_changes_and_ends(&home);
        // Paused ones can be ended too.
        up(&home, "two", &["--runtime", runtime], "");
        let id = of(&home, "two", "/Id").as_str().unwrap().to_owned();
        home.run(&["pause", "two"]).ok();
        home.run(&["rm", "-f", "two"]).ok();
        assert_eq!(groups(&[id]), Vec::<PathBuf>::new());
    }
}

/// The second half of the life of the container `one`.
fn rests_changes_and_ends(home: &Home) {
    home.run(&["pause", "one"]).ok();
    assert_eq!(of(home, "one", "/State/Status"), "paused");
    home.run(&["exec", "one", "true"]).fails(1, "is paused");
    home.run(&["unpause", "one"]).ok();
    home.run(&["update", "--memory", "128m", "--memory-swap", "256m", "one"])
        .ok();
    assert!(
        home.run(&["stats", "--no-stream", "one"])
            .ok()
            .contains("128MiB")
    );
    home.run(&["stop", "one"]).ok();
    assert_eq!(of(home, "one", "/State/ExitCode"), 7);
    home.run(&["start", "one"]).ok();
    home.run(&["restart", "-t", "0", "one"]).ok();
    until_state(home, "one", "running");
    home.run(&["kill", "one"]).ok();
    assert_eq!(of(home, "one", "/State/ExitCode"), 137);
    assert!(!outside(home, "one").exists());
    home.run(&["rm", "one"]).ok();
}

#[test]
fn a_program_gets_what_it_gets_from_the_built_in_runtime() {
    let Some(home) = home() else { return };
    let file = home.file("f/one", "1");
    let dir = file.parent().unwrap().display().to_string();
    home.run(&["volume", "create", "vol"]).ok();
    sh(&home, &["-v", "vol:/v"], "mkdir /v/sub; echo s > /v/sub/s").ok();
    let bind = format!("{dir}:/bind:ro");
    let flags = [
        "-v",
        &bind,
        "--mount",
        "type=volume,src=vol,dst=/sub,volume-subpath=sub",
        "--tmpfs",
        "/mem:size=1m",
        "--mount",
        "type=image,src=busybox,dst=/image",
        "--hostname",
        "box",
        "--add-host",
        "a.test:10.9.8.7",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--ulimit",
        "nofile=55:66",
        "--shm-size",
        "2m",
        "--cap-add",
        "SYS_NICE",
        "--cap-drop",
        "CHOWN",
        "--security-opt",
        "no-new-privileges",
        "--group-add",
        "44",
        "-u",
        "7:8",
        "-w",
        "/made/here",
        "--device",
        "/dev/zero:/dev/nought:r",
        "--oom-score-adj",
        "77",
        "--read-only",
    ];
    let script = "cat /bind/one /sub/s; touch /bind/x 2>&1 | grep -c Read-only; touch /x 2>&1 | grep -c Read-only; \
        ls /image/bin/busybox; df -k /mem /dev/shm | awk '{print $2}'; hostname; grep a.test /etc/hosts; \
        cat /proc/sys/net/ipv4/ip_forward; ulimit -n; id; pwd; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; \
        head -c 3 /dev/nought | od -An -c; ls -l /dev/nought | cut -c1-10; cat /proc/self/oom_score_adj; \
        ls /proc/kcore; cat /proc/timer_list | wc -c; ls -d /dev/mqueue; env | sort";
    let mut outputs = Vec::new();
    for runtime in ["rbuild", "crun", "runc"] {
        let mut all = vec!["--runtime", runtime];
        all.extend(flags);
        outputs.push(sh(&home, &all, script).ok().to_owned());
    }
    assert!(outputs[0].starts_with("1s\n"), "{}", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(outputs[0], outputs[2]);
}

#[test]
fn namespaces_networks_and_privileges_are_shared_where_asked() {
    let Some(home) = home() else { return };
    for runtime in RUNTIMES {
        let flags = ["--runtime", runtime];
        home.run(&[
            "run",
            "-d",
            "--name",
            "first",
            "--ipc",
            "shareable",
            "--runtime",
            runtime,
            "busybox",
            "sh",
            "-c",
            "echo shared > /dev/shm/s; sleep 600",
        ])
        .ok();
        let own = exec(&home, "first", "readlink /proc/1/ns/net");
        let run = |more: &[&str], script: &str| {
            let mut words = vec!["run", "--rm"];
            words.extend(flags);
            words.extend(more);
            words.extend(["busybox", "sh", "-c", script]);
            home.run(&words)
        };
        let net = run(
            &["--network", "container:first"],
            "readlink /proc/self/ns/net",
        );
        assert_eq!(net.ok(), own);
        until("shared memory", || {
            run(&["--ipc", "container:first"], "cat /dev/shm/s").text() == "shared"
        });
        assert!(
            run(&["--pid", "container:first"], "ps")
                .ok()
                .contains("sleep 600")
        );
        let host = std::fs::read_link("/proc/self/ns/net").unwrap();
        assert_eq!(
            run(&["--network", "host"], "readlink /proc/self/ns/net").ok(),
            host.to_str().unwrap()
        );
        assert_eq!(
            run(
                &["--network", "none"],
                "ls /sys/class/net; ip -o a | grep -c 127.0.0.1"
            )
            .ok(),
            "lo\n1"
        );
        let all = run(
            &["--privileged"],
            "grep CapEff /proc/self/status; ls /dev | wc -l",
        );
        let lines: Vec<&str> = all.ok().lines().collect();
        assert!(!lines[0].contains("00000000a80425fb"), "{lines:?}");
        assert!(lines[1].trim().parse::<u32>().unwrap() > 20, "{lines:?}");
        // Names and ports of networks are not the runtime's business, and work.
        let address = of(&home, "first", "/NetworkSettings/IPAddress");
        assert!(run(&[], &format!("ping -c1 -W5 {}", address.as_str().unwrap())).code == 0);
        // What shares the host's processes does not outlive its container.
        up(
            &home,
            "host",
            &["--runtime", runtime, "--pid", "host"],
            "setsid sleep 4567 & sleep 600",
        );
        until("the child", || {
            exec(&home, "host", "ps | grep -c '[s]leep 4567'") == "1"
        });
        home.run(&["rm", "-f", "host"]).ok();
        let left = run(&["--pid", "host"], "ps | grep '[s]leep 4567'");
        assert_eq!(left.text(), "");
        home.run(&["rm", "-f", "first"]).ok();
    }
}

#[test]
fn limits_hold_and_are_told() {
    let Some(home) = home() else { return };
    for runtime in RUNTIMES {
        let flags = [
            "--runtime",
            runtime,
            "--memory",
            "16m",
            "--pids-limit",
            "20",
        ];
        up(&home, "hog", &flags, "x=a; while :; do x=$x$x; done");
        assert_eq!(home.run(&["wait", "hog"]).ok(), "137");
        assert_eq!(of(&home, "hog", "/State/OOMKilled"), true);
        home.run(&["rm", "hog"]).ok();
        // Docker restarts through the runtime as through its own hands.
        up(
            &home,
            "again",
            &["--runtime", runtime, "--restart", "on-failure:2"],
            "echo run; exit 3",
        );
        until("two restarts", || {
            of(&home, "again", "/RestartCount") == 2
                && of(&home, "again", "/State/Status") == "exited"
        });
        assert_eq!(home.run(&["logs", "again"]).ok(), "run\nrun\nrun");
        home.run(&["rm", "again"]).ok();
        let probe = [
            "--runtime",
            runtime,
            "--health-cmd",
            "test -e /ok",
            "--health-interval",
            "100ms",
            "--health-retries",
            "1",
        ];
        up(&home, "probed", &probe, "");
        until("unhealthy", || {
            of(&home, "probed", "/State/Health/Status") == "unhealthy"
        });
        exec(&home, "probed", "touch /ok");
        until("healthy", || {
            of(&home, "probed", "/State/Health/Status") == "healthy"
        });
        home.run(&["rm", "-f", "probed"]).ok();
    }
}

#[test]
fn what_is_killed_leaves_nothing_that_stands_in_the_way() {
    let Some(home) = home() else { return };
    for runtime in RUNTIMES {
        // The shim: the container goes with it.
        up(&home, "lost", &["--runtime", runtime], "");
        let program = pid(&home, "lost");
        kill(keepers(&home, "lost")[0]);
        until("the program's end", || !is_alive(program));
        assert_eq!(of(&home, "lost", "/State/ExitCode"), 255);
        home.run(&["start", "lost"]).ok();
        // The init: the shim writes the end down.
        let program = pid(&home, "lost");
        kill(keepers(&home, "lost")[1]);
        until_state(&home, "lost", "exited");
        assert!(!is_alive(program));
        assert_eq!(of(&home, "lost", "/State/ExitCode"), 137);
        home.run(&["start", "lost"]).ok();
        // Both: nobody is left who could end the program, until somebody starts or
        // removes the container.
        let id = of(&home, "lost", "/Id").as_str().unwrap().to_owned();
        let program = pid(&home, "lost");
        let both = keepers(&home, "lost");
        let stop = |pid: i32| {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
        };
        both.into_iter().for_each(stop);
        both.into_iter().for_each(kill);
        until("the shim's end", || {
            of(&home, "lost", "/State/Status") == "exited"
        });
        assert_eq!(of(&home, "lost", "/State/ExitCode"), 255);
        assert!(is_alive(program));
        home.run(&["start", "lost"]).ok();
        assert!(!is_alive(program));
        let both = keepers(&home, "lost");
        let program = pid(&home, "lost");
        both.into_iter().for_each(stop);
        both.into_iter().for_each(kill);
        home.run(&["rm", "-f", "lost"]).ok();
        until("the program's end", || !is_alive(program));
        assert_eq!(groups(&[id]), Vec::<PathBuf>::new());
    }
}

#[test]
fn the_document_is_as_the_specification_says() {
    let Some(home) = home() else { return };
    let dir = home.scratch();
    let profile = home.file("p.json", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#);
    let bind = format!("{}:/b:rslave", dir.display());
    let seccomp = format!("seccomp={}", profile.display());
    let plain: &[&str] = &[];
    let rich = [
        "-it",
        "-v",
        &bind,
        "--cpus",
        "0.5",
        "--memory",
        "64m",
        "--memory-reservation",
        "32m",
        "--pids-limit",
        "99",
        "--cpuset-cpus",
        "0",
        "--blkio-weight",
        "300",
        "--device",
        "/dev/zero:/dev/nought:r",
        "--device-cgroup-rule",
        "c 42:* rmw",
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--ulimit",
        "nofile=1000:2000",
        "--oom-score-adj",
        "5",
        "--annotation",
        "a.b=c",
        "--security-opt",
        &seccomp,
        "--init",
        "--group-add",
        "5",
        "--domainname",
        "d.test",
        "--cgroupns",
        "host",
    ];
    let privileged = [
        "--privileged",
        "--network",
        "host",
        "--pid",
        "host",
        "--ipc",
        "host",
        "--uts",
        "host",
    ];
    for (number, flags) in [plain, &rich, &privileged].into_iter().enumerate() {
        let name = format!("doc{number}");
        let mut words = vec!["run", "-d", "--runtime", "runc", "--name", &name];
        words.extend(flags);
        words.extend(["busybox", "sleep", "600"]);
        home.run(&words).ok();
        let path = outside(&home, &name).join("bundle/config.json");
        let document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_conforms(&document);
        if number == 1 {
            assert_eq!(document["annotations"]["a.b"], "c");
            assert_eq!(document["linux"]["resources"]["cpu"]["quota"], 50_000);
        }
        home.run(&["rm", "-f", &name]).ok();
    }
}

#[test]
fn runtimes_are_named_in_the_settings() {
    let Some(home) = home() else { return };
    let settings = home.file(
        "daemon.json",
        r#"{"runtimes":{"mine":{"path":"runc","runtimeArgs":["--debug"]}},"default-runtime":"mine"}"#,
    );
    let run = |words: &[&str]| {
        let mut command = home.command(words);
        command.env("RBUILD_DAEMON_JSON", &settings);
        crate::support::finish(command, b"")
    };
    let info: Value = serde_json::from_str(run(&["info", "-f", "json"]).ok()).unwrap();
    assert_eq!(info["DefaultRuntime"], "mine");
    assert_eq!(info["Runtimes"]["mine"]["runtimeArgs"][0], "--debug");
    assert!(
        info["Runtimes"]["crun"]["path"]
            .as_str()
            .unwrap()
            .ends_with("/crun")
    );
    let shown = run(&["info"]).ok().to_owned();
    assert!(
        shown.contains(" Runtimes: crun mine rbuild runc\n Default Runtime: mine\n"),
        "{shown}"
    );
    run(&[
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "dd",
        "busybox",
        "sleep",
        "600",
    ])
    .ok();
    assert_eq!(of(&home, "dd", "/HostConfig/Runtime"), "mine");
    assert!(outside(&home, "dd").exists());
    // Without the settings nobody knows what `mine` is: it goes on, and can be removed.
    home.run(&["exec", "dd", "true"]).ok();
    home.run(&["stop", "-t", "0", "dd"]).ok();
    home.run(&["start", "dd"])
        .fails(1, "unknown or invalid runtime name: mine");
    home.run(&["rm", "dd"]).ok();
    run(&[
        "run",
        "--rm",
        "--runtime",
        "rbuild",
        "--network",
        "none",
        "busybox",
        "true",
    ])
    .ok();
    let path = rbuild::sys::command::find("runc", None).unwrap();
    let path = path.to_str().unwrap();
    sh(&home, &["--runtime", path], "true").ok();
    std::fs::write(&settings, "{").unwrap();
    run(&["run", "--rm", "busybox", "true"]).fails(125, "cannot use the settings");
}

#[test]
fn runtimes_that_are_not_there_or_refuse_are_told() {
    let Some(home) = home() else { return };
    sh(&home, &["--runtime", "nosuch"], "true")
        .fails(125, "unknown or invalid runtime name: nosuch");
    sh(&home, &["--runtime", "/no/such"], "true")
        .fails(125, "unknown or invalid runtime name: /no/such");
    // A program that is no runtime.
    sh(&home, &["--runtime", "/bin/false"], "true")
        .fails(125, "OCI runtime create failed: false ended with 1");
    let script = home.file("own", "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = --log ] && log=$2; shift; done\necho '{\"level\":\"error\",\"msg\":\"no room here\"}' > \"$log\"\nexit 1\n");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = script.display().to_string();
    sh(&home, &["--runtime", &path], "true").fails(125, "OCI runtime create failed: no room here");
    for runtime in RUNTIMES {
        let run = |word: &str| {
            home.run(&[
                "run",
                "--rm",
                "--network",
                "none",
                "--runtime",
                runtime,
                "busybox",
                word,
            ])
        };
        run("nosuch").fails(127, "OCI runtime create failed");
        run("/etc/passwd").fails(126, "ermission denied");
        let outcome = home.run(&[
            "create",
            "--name",
            "cc",
            "--runtime",
            runtime,
            "busybox",
            "nosuch",
        ]);
        outcome.ok();
        home.run(&["start", "cc"]).fails(1, "nosuch");
        assert_eq!(inspect(&home, "cc")["State"]["ExitCode"], 127);
        home.run(&["rm", "cc"]).ok();
    }
    assert_eq!(home.run(&["ps", "-aq"]).ok(), "");
}
