//! Flags of `run` that share or confine.

use std::os::unix::fs::MetadataExt;

use super::base::{home, inspect, of, sh, up};

#[test]
fn namespaces_are_shared_where_asked() {
    let Some(home) = home() else { return };
    up(
        &home,
        "aa",
        &["--ipc", "shareable"],
        "echo hi > /dev/shm/x; exec sleep 600",
    );
    super::base::until("a file", || {
        !super::base::exec(&home, "aa", "cat /dev/shm/x 2>/dev/null; true").is_empty()
    });
    assert_eq!(
        sh(&home, &["--ipc", "container:aa"], "cat /dev/shm/x").ok(),
        "hi"
    );
    assert_eq!(sh(&home, &[], "ls /dev/shm").ok(), "");
    assert_ne!(sh(&home, &["--ipc", "none"], "ls /dev/shm").code, 0);
    assert!(
        sh(&home, &["--pid", "container:aa"], "ps")
            .ok()
            .contains("sleep 600")
    );
    let own = std::process::id().to_string();
    let seen = sh(
        &home,
        &["--pid", "host"],
        &format!("test -d /proc/{own} && echo seen"),
    );
    assert_eq!(seen.ok(), "seen");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(sh(&home, &["--uts", "host"], "hostname").ok(), host.trim());
    assert_eq!(
        sh(
            &home,
            &["--domainname", "example.test"],
            "cat /proc/sys/kernel/domainname"
        )
        .ok(),
        "example.test"
    );
    up(&home, "bb", &[], "");
    sh(&home, &["--ipc", "container:bb"], "true").fails(125, "");
}

#[test]
fn what_a_shared_pid_namespace_leaves_behind_is_killed() {
    let Some(home) = home() else { return };
    let script = "sleep 4711 & sleep 0.2; exit 0";
    assert_eq!(sh(&home, &["--pid", "host"], script).code, 0);
    let left = std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        std::fs::read(entry.path().join("cmdline")).is_ok_and(|line| line == b"sleep\x004711\0")
    });
    assert!(!left, "a process stayed");
}

#[test]
fn devices_are_those_asked_for() {
    let Some(home) = home() else { return };
    let zero = sh(
        &home,
        &["--device", "/dev/zero:/dev/foo"],
        "head -c 3 /dev/foo | wc -c",
    );
    assert_eq!(zero.ok().trim(), "3");
    // The node is the container's own: its mode and owner are nobody else's.
    let facts = || std::fs::metadata("/dev/zero").map(|meta| (meta.mode(), meta.uid()));
    let before = facts().unwrap();
    let changed = sh(
        &home,
        &["--device", "/dev/zero:/dev/foo"],
        "chmod 600 /dev/foo && chown 5 /dev/foo && ls -ln /dev/foo | cut -c1-10",
    );
    assert_eq!(changed.ok(), "crw-------");
    assert_eq!(facts().unwrap(), before, "the host's node was changed");
    home.run(&["run", "--rm", "--device", "/dev/nosuch", "busybox"])
        .fails(125, "/dev/nosuch");
    let count = |flags: &[&str]| {
        sh(&home, flags, "ls /dev | wc -l")
            .ok()
            .trim()
            .parse::<u32>()
            .unwrap()
    };
    assert!(count(&["--privileged"]) > count(&[]));
    let mounted = sh(
        &home,
        &["--privileged"],
        "mkdir /m && mount -t tmpfs t /m && hostname x && hostname",
    );
    assert_eq!(mounted.ok(), "x");
}

#[test]
fn profiles_of_system_calls_are_the_users() {
    let Some(home) = home() else { return };
    let profile = home.file("p.json", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#);
    let option = format!("seccomp={}", profile.display());
    let flags = ["--security-opt", option.as_str()];
    let run = sh(&home, &flags, "mkdir /x; echo $?");
    assert!(run.ok().ends_with('1'), "{}", run.text());
    let broken = home.file("broken.json", "{");
    let option = format!("seccomp={}", broken.display());
    sh(&home, &["--security-opt", &option], "true").fails(125, "seccomp profile");
    sh(&home, &["--security-opt", "seccomp=/nosuch"], "true").fails(125, "opening seccomp profile");
}

#[test]
fn mounts_come_from_other_containers() {
    let Some(home) = home() else { return };
    up(
        &home,
        "aa",
        &["-v", "/vol"],
        "echo 1 > /vol/f; exec sleep 600",
    );
    super::base::until("a file", || {
        !super::base::exec(&home, "aa", "cat /vol/f 2>/dev/null; true").is_empty()
    });
    assert_eq!(sh(&home, &["--volumes-from", "aa"], "cat /vol/f").ok(), "1");
    assert_ne!(
        sh(&home, &["--volumes-from", "aa:ro"], "touch /vol/g").code,
        0
    );
    sh(&home, &["--volumes-from", "zz"], "true").fails(125, "No such container: zz");
}

#[test]
fn what_was_asked_is_shown() {
    let Some(home) = home() else { return };
    home.run(&[
        "create",
        "--name",
        "aa",
        "--annotation",
        "k=v",
        "--stop-signal",
        "SIGINT",
        "--stop-timeout",
        "3",
        "--log-opt",
        "max-size=1m",
        "--restart",
        "on-failure:5",
        "--init",
        "--pid",
        "host",
        "--cpu-shares",
        "512",
        "--security-opt",
        "systempaths=unconfined",
        "busybox",
    ])
    .fails(1, "--init and --pid host");
    home.run(&[
        "create",
        "--name",
        "aa",
        "--annotation",
        "k=v",
        "--stop-signal",
        "SIGINT",
        "--stop-timeout",
        "3",
        "--log-opt",
        "max-size=1m",
        "--restart",
        "on-failure:5",
        "--init",
        "--ipc",
        "shareable",
        "--cpu-shares",
        "512",
        "--health-cmd",
        "true",
        "busybox",
    ])
    .ok();
    let document = inspect(&home, "aa");
    for (pointer, want) in [
        ("/HostConfig/Annotations/k", "\"v\""),
        ("/Config/StopSignal", "\"SIGINT\""),
        ("/Config/StopTimeout", "3"),
        ("/HostConfig/LogConfig/Config/max-size", "\"1m\""),
        ("/HostConfig/RestartPolicy/MaximumRetryCount", "5"),
        ("/HostConfig/Init", "true"),
        ("/HostConfig/IpcMode", "\"shareable\""),
        ("/HostConfig/CpuShares", "512"),
        ("/Config/Healthcheck/Test/0", "\"CMD-SHELL\""),
    ] {
        assert_eq!(
            document.pointer(pointer).unwrap().to_string(),
            want,
            "{pointer}"
        );
    }
    assert_eq!(of(&home, "aa", "/State/Status"), "created");
}
