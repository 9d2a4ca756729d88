//! Rights, limits of time and of resources of RUN steps.

use super::{Project, RUNS, needs};

#[test]
fn an_insecure_step_has_what_root_has() {
    if !needs(&RUNS) {
        return;
    }
    let script = "grep CapEff /proc/self/status; mount -t tmpfs none /mnt && echo mounted; \
                  echo 1 2>/dev/null > /proc/sys/vm/drop_caches_not || true; \
                  grep -c ' /proc/kcore ' /proc/mounts; grep Seccomp: /proc/self/status; \
                  mknod /n c 1 3 && echo x > /n && echo node; rm /n";
    let project = Project::on_busybox(&format!(
        "FROM busybox\nRUN mkdir -p /mnt\n\
         RUN --security=insecure {{ {script}; }} > /insecure 2>&1\n\
         RUN --security=sandbox {{ {script}; }} > /sandbox 2>&1 || true\n"
    ));
    project
        .try_build(&[])
        .fails(1, "security.insecure is not allowed");
    project.build(&["--allow", "security.insecure"]);
    let tree = project.tree();
    let insecure = tree.text("insecure");
    for part in ["mounted\n", "\n0\n", "Seccomp:\t0", "node\n"] {
        assert!(insecure.contains(part), "{part:?}: {insecure}");
    }
    let sandbox = tree.text("sandbox");
    assert!(sandbox.contains("CapEff:\t00000000a80425fb"), "{sandbox}");
    for part in ["mounted", "Seccomp:\t0", "node"] {
        assert!(!sandbox.contains(part), "{part:?}: {sandbox}");
    }
    assert!(!tree.has("n"));
    project.assert_quiet();
}

#[test]
fn rights_are_given_by_name() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN --network=host ls /sys/class/net\n");
    let outcome = project.try_build(&[]);
    outcome.fails(1, "network.host is not allowed");
    assert!(
        outcome.stderr.contains("--allow network.host"),
        "{outcome:?}"
    );
    // The flag for all steps gives it to each.
    project.build(&["--network=host"]);
    project.build(&["--allow=network.host,security.insecure", "--allow=device"]);
    project
        .try_build(&["--allow=network"])
        .fails(1, "unknown entitlement network");
    project.build(&[
        "--security-opt",
        "seccomp=unconfined",
        "--allow=network.host",
    ]);
    project
        .try_build(&["--security-opt=nonsense"])
        .fails(1, "invalid --security-opt");
}

#[test]
fn a_step_that_takes_too_long_is_killed_with_all_it_started() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS quick\nRUN sleep 0.1\n\
         FROM quick AS slow\nRUN sleep 1000 & sleep 1000\n",
    );
    let outcome = project.try_build(&["--timeout=slow=300ms", "--timeout", "RUN sleep 0.1=10m"]);
    outcome.fails(1, "did not complete within 300ms: killed");
    assert!(outcome.stderr.contains("sleep 1000 & sleep 1000"));
    project.assert_tidy();
    project
        .try_build(&["--timeout=never"])
        .fails(1, "invalid --timeout");
    project.file("Dockerfile", "FROM busybox\nRUN true\n");
    project.build(&["--timeout=5m", "--retry=2,0"]);
}

#[test]
fn a_step_is_tried_again_on_a_fresh_tree() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/tries && \
         echo x >> /layer && test $(wc -l < /c/tries) = 3\n",
    );
    project.try_build(&[]).fails(1, "exit code: 1");
    let outcome = project.build(&["--retry=RUN*=5,10ms"]);
    let said = "try 1 of 6 failed (exit code: 1), trying again";
    assert!(outcome.stderr.contains(said), "{outcome:?}");
    assert!(!outcome.stderr.contains("try 2 of 6"), "{outcome:?}");
    assert_eq!(project.tree().text("layer"), "x\n");
    project.assert_tidy();
}

/// Whether the machine has a version 1 or 2 controller of that name.
fn controller(name: &str) -> bool {
    let v1 = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let has_v1 = v1
        .lines()
        .any(|line| line.contains(" - cgroup ") && line.split([' ', ',']).any(|word| word == name));
    has_v1 || v2.split_whitespace().any(|word| word == name)
}

#[test]
fn resources_are_limited_or_named_in_a_warning() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN cd /sys/fs/cgroup; \
         cat cpu/cpu.shares cpu.weight cpuset/cpuset.cpus cpuset.cpus \
         memory/memory.limit_in_bytes memory.max > /limits 2>/dev/null; cat /proc/self/cgroup > /group\n",
    );
    let group = format!("rbuild-test-{}", std::process::id());
    let outcome = project.build(&[
        "--cpu-shares=512",
        "--resource=cpuset-cpus=0",
        "--resource=memory=64m",
        "--cpus=0.5",
        "--cgroup-parent",
        &group,
    ]);
    let limits = project.tree().text("limits");
    let lines: Vec<&str> = limits.lines().collect();
    for (name, limit, values) in [
        ("cpu", "CPU share", &["512", "20"][..]),
        ("cpuset", "processor set", &["0"]),
        ("memory", "memory", &["67108864"]),
    ] {
        if controller(name) {
            let set = values.iter().any(|value| lines.contains(value));
            assert!(set, "{name}: {limits} {outcome:?}");
        } else {
            let warning = format!("the {limit} limit is not set");
            assert!(outcome.stderr.contains(&warning), "{outcome:?}");
        }
    }
    // They are no part of the key.
    assert_eq!(project.build(&[]).ended("CACHED").len(), 1);
    let left: Vec<_> = std::fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .map(|entry| entry.unwrap().path().join(&group))
        .filter(|path| path.exists())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_step_that_needs_too_much_memory_says_so() {
    if !needs(&RUNS) || !controller("memory") {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN head -c 200m /dev/zero | tail -c 190m > /dev/null\n",
    );
    let outcome = project.try_build(&["--memory=32m", "--memory-swap=32m"]);
    outcome.fails(1, "cannot allocate memory");
    assert!(outcome.stderr.contains("limit 32 MiB"), "{outcome:?}");
    project
        .try_build(&["--memory-swap=1g"])
        .fails(1, "always set the Memory limit");
}
