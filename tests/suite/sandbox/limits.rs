//! Limits of the cgroup, where there are any.

use std::path::Path;

use rbuild::sandbox::{ResourceLimits, Spec};

use super::base::{Base, run, start};

/// Whether a controller can be limited here; says so where not.
fn has(controller: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let v1 = mounts.lines().any(|line| {
        line.contains(" - cgroup ") && line.split([' ', ',']).any(|word| word == controller)
    });
    let v2 = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let found = v1 || v2.split_whitespace().any(|word| word == controller);
    if !found {
        println!("skipped: no `{controller}` controller");
    }
    found
}

fn limited(base: &Base, name: &str, script: &str, resources: ResourceLimits) -> Spec {
    let mut spec = base.script(script);
    spec.cgroup = Some(format!("rbuild-test-{}/{name}", std::process::id()));
    spec.resources = resources;
    spec
}

/// Directories of the group that are left on the host.
fn leftovers() -> Vec<std::path::PathBuf> {
    let name = format!("rbuild-test-{}", std::process::id());
    let entries = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten();
    entries
        .flatten()
        .map(|entry| entry.path())
        .chain([Path::new("/sys/fs/cgroup").to_owned()])
        .map(|dir| dir.join(&name))
        .filter(|dir| dir.exists())
        .collect()
}

/// One test, since a group that another test uses is no leftover.
#[test]
fn limits_hold_and_leave_nothing_behind() {
    let Some(base) = Base::new() else { return };
    let none = ResourceLimits::default();
    if has("pids") {
        let pids = ResourceLimits {
            pids: Some(5),
            ..none.clone()
        };
        let script = "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait";
        let outcome = run(&limited(&base, "pids", script, pids)).unwrap();
        assert!(outcome.stderr.contains("can't fork"), "{outcome:?}");
        assert_eq!(outcome.warnings, Vec::<String>::new());
    }
    if has("memory") {
        let memory = ResourceLimits {
            memory_bytes: Some(16 << 20),
            ..none.clone()
        };
        // Shared memory is charged to whoever writes it.
        let script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=60 2>/dev/null; exit 0";
        let outcome = run(&limited(&base, "memory", script, memory.clone())).unwrap();
        assert!(outcome.out_of_memory, "{outcome:?}");
        let outcome = run(&limited(&base, "memory", "true", memory)).unwrap();
        assert!(!outcome.out_of_memory, "{outcome:?}");
    }
    if has("cpu") {
        let cpu = ResourceLimits {
            nano_cpus: Some(500_000_000),
            ..none.clone()
        };
        let script =
            "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null; true";
        let outcome = run(&limited(&base, "cpu", script, cpu)).unwrap();
        assert!(outcome.ok().contains("50000"), "{outcome:?}");
    }
    // The sandbox sees its own group as the root.
    let running = start(&limited(&base, "own", "sleep 1000", none.clone()));
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", running.pid())).unwrap();
    if has("pids") {
        assert!(own.contains("/own"), "{own}");
    }
    drop(running);
    let outcome = run(&limited(
        &base,
        "own",
        "cat /proc/self/cgroup",
        none.clone(),
    ))
    .unwrap();
    let leaks = outcome.ok().lines().any(|line| line.ends_with("/own"));
    assert!(!leaks, "{outcome:?}");
    let mut refused = limited(&base, "x", "true", none);
    refused.cgroup = Some("../escape".to_owned());
    assert!(run(&refused).is_err());
    assert_eq!(leftovers(), Vec::<std::path::PathBuf>::new());
}
