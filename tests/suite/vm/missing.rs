//! Controllers that are not there for us: a warning names what does not apply.

use super::machine;
use super::machine::Machine;
use crate::support::Outcome;

/// Runs a container where the whole of the tree that is seen is a group to which
/// only those controllers are handed.
fn run_with(machine: &Machine, controllers: &str, inside: &str, flags: &str) -> Outcome {
    let enable: Vec<String> = controllers
        .split_whitespace()
        .map(|one| format!("+{one}"))
        .collect();
    let script = format!(
        "top=/sys/fs/cgroup; echo '+memory +pids +cpu +cpuset +io' > $top/cgroup.subtree_control; \
         mkdir -p $top/part/seen{inside}; echo '{enable}' > $top/part/cgroup.subtree_control; \
         cat > /tmp/inside <<'END'\n\
         echo $$ > /sys/fs/cgroup/part/seen{inside}/cgroup.procs\n\
         mount --bind /sys/fs/cgroup/part/seen /sys/fs/cgroup\n\
         rbuild run --rm --network none {flags} busybox echo it runs\n\
         END\n\
         unshare -m sh /tmp/inside; code=$?; sleep 1; \
         rmdir $top/part/seen{inside} $top/part/seen/rbuild $top/part/seen $top/part; exit $code",
        enable = enable.join(" "),
    );
    machine.sh(&script)
}

#[test]
fn what_is_not_delegated_is_named_and_the_rest_holds() {
    let Some(machine) = machine() else { return };
    let every = "--pids-limit 9 -m 64m --cpus 0.5 -c 512 --cpuset-cpus 0 --blkio-weight 300";
    let run = run_with(machine, "memory cpu cpuset io", "/inner", every);
    assert_eq!(run.ok(), "it runs");
    let warnings: Vec<&str> = run
        .stderr
        .lines()
        .filter(|line| line.contains("kernel"))
        .collect();
    assert_eq!(
        warnings,
        [
            "WARNING: Your kernel does not support PIDs limit capabilities or the cgroup is not \
          mounted. PIDs limit discarded."
        ],
        "{run:?}"
    );
    let run = run_with(machine, "pids", "/inner", every);
    assert_eq!(run.ok(), "it runs");
    for part in [
        "memory limit",
        "CPU CFS",
        "CPU shares",
        "cpuset",
        "Block I/O weight",
    ] {
        assert!(run.stderr.contains(part), "{part}: {run:?}");
    }
    assert!(!run.stderr.contains("PIDs"), "{run:?}");
}

#[test]
fn settings_that_version_two_does_not_have_are_named() {
    let Some(machine) = machine() else { return };
    let run = machine.run(
        "-m 64m --memory-swappiness 50 --oom-kill-disable",
        "echo it runs",
    );
    assert_eq!(run.ok(), "it runs");
    assert!(
        run.stderr.contains("Memory swappiness discarded."),
        "{run:?}"
    );
    assert!(run.stderr.contains("OomKillDisable discarded."), "{run:?}");
}
