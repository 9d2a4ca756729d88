//! What confines a container, told and refused in Docker's words.

use super::base::{home, of, sh};

/// A setting of the host's, which nothing here may change.
fn host_setting() -> String {
    std::fs::read_to_string("/proc/sys/kernel/msgmax").unwrap()
}

#[test]
fn settings_are_the_namespaces_own() {
    let Some(home) = home() else { return };
    let before = host_setting();
    let set = |flags: &[&str], name: &str| {
        sh(
            &home,
            flags,
            &format!("cat /proc/sys/{}", name.replace('.', "/")),
        )
    };
    for (name, value) in [
        ("net.core.somaxconn", "77"),
        ("kernel.msgmax", "1234"),
        ("fs.mqueue.msg_max", "9"),
    ] {
        let pair = format!("{name}={value}");
        assert_eq!(set(&["--sysctl", &pair], name).ok(), value);
    }
    for (flags, why) in [
        (
            &["--sysctl", "vm.swappiness=1"][..],
            "sysctl 'vm.swappiness=1' is not allowed",
        ),
        (
            &["--sysctl", "kernel.panic=1"],
            "sysctl 'kernel.panic=1' is not allowed",
        ),
        (
            &["--sysctl", "net/core/somaxconn=7"],
            "sysctl 'net/core/somaxconn=7' is not allowed",
        ),
        (
            &["--ipc", "host", "--sysctl", "kernel.msgmax=7"],
            "sysctl \"kernel.msgmax\" is not allowed in the hosts ipc namespace",
        ),
        (
            &["--ipc", "host", "--sysctl", "fs.mqueue.msg_max=7"],
            "is not allowed in the hosts ipc namespace",
        ),
        (&["--sysctl", "net.no.such=1"], "net.no.such"),
    ] {
        sh(&home, flags, "true").fails(125, why);
    }
    let words = [
        "run",
        "--rm",
        "--network",
        "host",
        "--sysctl",
        "net.core.somaxconn=7",
        "busybox",
        "true",
    ];
    home.run(&words).fails(
        125,
        "sysctl \"net.core.somaxconn\" not allowed in host network namespace",
    );
    assert_eq!(host_setting(), before);
}

#[test]
fn options_of_security_are_checked() {
    let Some(home) = home() else { return };
    for (option, why) in [
        ("nosuch=1", "invalid --security-opt 2: \"nosuch=1\""),
        ("apparmor", "Invalid --security-opt: \"apparmor\""),
        ("no-new-privileges=maybe", "invalid --security-opt 2"),
        (
            "seccomp=/no/such",
            "opening seccomp profile (/no/such) failed: open /no/such: no such file or directory",
        ),
    ] {
        sh(&home, &["--security-opt", option], "true").fails(125, why);
    }
    let bad = home.file("bad.json", "{\"defaultAction\":\"SCMP_ACT_NOSUCH\"}");
    let option = format!("seccomp={}", bad.display());
    sh(&home, &["--security-opt", &option], "true").fails(125, "SCMP_ACT_NOSUCH");
    // Profiles and labels count where the kernel has such a module, as with Docker.
    let apparmor = std::path::Path::new("/sys/module/apparmor").exists();
    let selinux = std::path::Path::new("/sys/fs/selinux/enforce").exists();
    if !apparmor {
        sh(
            &home,
            &["--security-opt", "apparmor=docker-default"],
            "true",
        )
        .ok();
    }
    if !selinux {
        sh(&home, &["--security-opt", "label=type:some_t"], "true").ok();
    }
    sh(
        &home,
        &[
            "--security-opt",
            "label=disable",
            "--security-opt",
            "apparmor=unconfined",
        ],
        "true",
    )
    .ok();
    let flags = |option: &str| {
        sh(
            &home,
            &["--security-opt", option],
            "grep NoNewPrivs /proc/self/status",
        )
        .ok()
        .to_owned()
    };
    assert!(flags("no-new-privileges").ends_with('1'));
    assert!(flags("no-new-privileges:true").ends_with('1'));
    assert!(flags("no-new-privileges=false").ends_with('0'));
    sh(&home, &["--cap-add", "nosuch"], "true")
        .fails(125, "invalid CapAdd: unknown capability: \"CAP_NOSUCH\"");
    sh(&home, &["--cap-drop", "cap_nosuch"], "true")
        .fails(125, "invalid CapDrop: unknown capability: \"CAP_NOSUCH\"");
    sh(&home, &["--userns", "private"], "true").fails(125, "--userns: invalid USER mode");
    sh(&home, &["--userns", "host"], "true").ok();
}

#[test]
fn limits_of_processes_and_scores_are_checked() {
    let Some(home) = home() else { return };
    assert_eq!(
        sh(
            &home,
            &["--ulimit", "nofile=50:60"],
            "ulimit -n; ulimit -Hn"
        )
        .ok(),
        "50\n60"
    );
    assert_eq!(sh(&home, &["--ulimit", "core=0"], "ulimit -c").ok(), "0");
    for (flag, value, why) in [
        (
            "--ulimit",
            "nofile=10:5",
            "ulimit soft limit must be less than or equal to hard limit: 10 > 5",
        ),
        ("--ulimit", "foo=5", "invalid ulimit type: foo"),
        ("--ulimit", "nofile=x", "x"),
        (
            "--oom-score-adj",
            "1001",
            "Invalid value 1001, range for oom score adj is [-1000, 1000]",
        ),
        ("--oom-score-adj", "-1001", "range for oom score adj"),
        (
            "--device-cgroup-rule",
            "x 1:1 r",
            "invalid device cgroup format 'x 1:1 r'",
        ),
        ("--device", "null", "null is not an absolute path"),
        (
            "--device",
            "/dev/null:/dev/x:rwx",
            "bad mode specified: rwx",
        ),
        (
            "--device",
            "/dev/nosuch",
            "error gathering device information while adding custom device \"/dev/nosuch\": no such file or directory",
        ),
    ] {
        sh(&home, &[flag, value], "true").fails(125, why);
    }
    assert_eq!(
        sh(
            &home,
            &["--oom-score-adj", "500"],
            "cat /proc/self/oom_score_adj"
        )
        .ok(),
        "500"
    );
    assert_eq!(of_parent(&home), "deep/er");
}

/// The group above a container's own, as the host sees it.
fn of_parent(home: &crate::support::Home) -> String {
    let words = [
        "run",
        "-d",
        "--network",
        "none",
        "--name",
        "deep",
        "--cgroup-parent",
        "/deep/er",
        "busybox",
        "sleep",
        "600",
    ];
    home.run(&words).ok();
    let pid = of(home, "deep", "/State/Pid");
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let id = of(home, "deep", "/Id").as_str().unwrap().to_owned();
    let own = groups
        .lines()
        .find_map(|line| line.split(':').nth(2)?.strip_suffix(&id));
    let own = own.unwrap_or_default().trim_matches('/').to_owned();
    assert_eq!(of(home, "deep", "/HostConfig/CgroupParent"), "/deep/er");
    home.run(&["rm", "-f", "deep"]).ok();
    own
}

#[test]
fn the_privileged_have_every_device_and_may_mount() {
    let Some(home) = home() else { return };
    let script = "ls /dev | wc -l; grep Seccomp: /proc/self/status | tr -dc 0-9; echo; mkdir /m; mount -t tmpfs t /m && echo mounted; \
        test -w /proc/sys/kernel/domainname && echo writable; mount | grep -c ' /sys .*ro,'";
    let shown = sh(&home, &["--privileged"], script);
    let lines: Vec<&str> = shown.text().lines().collect();
    let host = std::fs::read_dir("/dev").unwrap().count();
    assert!(
        lines[0].trim().parse::<usize>().unwrap() > host / 2,
        "{lines:?}"
    );
    assert_eq!(lines[1..], ["0", "mounted", "writable", "0"]);
    // A node of the host's that somebody who is not may not make work.
    sh(&home, &[], "mknod /n b 254 0 && head -c 1 /n").fails(1, "");
    sh(&home, &[], "mount -t tmpfs t /tmp").fails(1, "permission denied");
}
