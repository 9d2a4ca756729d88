//! Limits in the files of version 2, and what they do.

use super::machine;

#[test]
fn memory_and_swap_are_counted_apart() {
    let Some(machine) = machine() else { return };
    let files = "cd /sys/fs/cgroup; cat memory.max memory.swap.max memory.low";
    let limits = |flags: &str| machine.run(flags, files).ok().replace('\n', " ");
    let reserved = limits("-m 64m --memory-reservation 32m");
    assert_eq!(reserved, "67108864 67108864 33554432");
    assert_eq!(limits("-m 64m --memory-swap 96m"), "67108864 33554432 0");
    assert_eq!(limits("-m 64m --memory-swap -1"), "67108864 max 0");
}

#[test]
fn who_takes_too_much_memory_is_killed_and_that_is_known() {
    let Some(machine) = machine() else { return };
    let hog = "run --name hog --network none -m 16m --memory-swap 16m busybox \
        dd if=/dev/zero of=/dev/null bs=64M count=1";
    machine.rbuild(hog).fails(137, "");
    let form = "'{{.State.OOMKilled}} {{.State.ExitCode}}'";
    let said = machine.rbuild(&format!("inspect -f {form} hog"));
    assert_eq!(said.ok(), "true 137");
    machine.rbuild("rm hog").ok();
}

#[test]
fn shares_become_weights_and_quotas_maxima() {
    let Some(machine) = machine() else { return };
    let files = "cd /sys/fs/cgroup; cat cpu.max cpu.weight pids.max";
    let limits = |flags: &str| machine.run(flags, files).ok().replace('\n', ", ");
    let usual = limits("--cpus 0.5 -c 1024 --pids-limit 33");
    assert_eq!(usual, "50000 100000, 100, 33");
    let other = limits("--cpu-period 50000 --cpu-quota 20000 -c 262144 --pids-limit -1");
    assert_eq!(other, "20000 50000, 10000, max");
}

#[test]
fn processors_are_chosen() {
    let Some(machine) = machine() else { return };
    let script = "cat /sys/fs/cgroup/cpuset.cpus /sys/fs/cgroup/cpuset.mems; \
        sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status";
    let chosen = machine.run("--cpuset-cpus 1 --cpuset-mems 0", script);
    assert_eq!(chosen.ok(), "1\n0\n1");
}

#[test]
fn disks_are_limited_and_weighed() {
    let Some(machine) = machine() else { return };
    machine.sh("echo bfq > /sys/block/vda/queue/scheduler").ok();
    let flags = "--device-read-bps /dev/vda:1mb --device-write-iops /dev/vda:20 \
        --blkio-weight 300 --blkio-weight-device /dev/vda:200";
    let said = machine.run(flags, "cd /sys/fs/cgroup; cat io.max io.bfq.weight");
    let numbers = machine.sh("cat /sys/block/vda/dev").ok().to_owned();
    let want =
        format!("{numbers} rbps=1048576 wbps=max riops=max wiops=20\ndefault 300\n{numbers} 200");
    assert_eq!(said.ok(), want, "{said:?}");
}

#[test]
fn fork_bombs_are_held() {
    let Some(machine) = machine() else { return };
    let script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do sleep 60 & done; wait";
    let full = machine.run("--pids-limit 8", script);
    full.fails(2, "can't fork");
    machine.up("bomb", "--pids-limit 12");
    let bomb = "f() { f | f & }; f 2> /dev/null";
    machine.rbuild(&format!("exec -d bomb sh -c '{bomb}'")).ok();
    let current: u32 = machine.group_file("bomb", "pids.current").parse().unwrap();
    assert!(current <= 12, "{current}");
    machine.rbuild("rm -f bomb").ok();
}

#[test]
fn a_paused_container_stands_still() {
    let Some(machine) = machine() else { return };
    for (name, flags) in [("limited", "-m 64m"), ("free", "")] {
        machine.up(name, flags);
        machine.rbuild(&format!("pause {name}")).ok();
        assert_eq!(machine.group_file(name, "cgroup.freeze"), "1");
        let events = machine.group_file(name, "cgroup.events");
        assert!(events.contains("frozen 1"), "{events}");
        let said = machine.rbuild(&format!("inspect -f '{{{{.State.Status}}}}' {name}"));
        assert_eq!(said.ok(), "paused");
        machine
            .rbuild(&format!("exec {name} true"))
            .fails(1, "paused");
        machine.rbuild(&format!("unpause {name}")).ok();
        assert_eq!(machine.group_file(name, "cgroup.freeze"), "0");
        machine.rbuild(&format!("exec {name} true")).ok();
        machine.rbuild(&format!("pause {name}")).ok();
        machine.rbuild(&format!("rm -f {name}")).ok();
    }
}

#[test]
fn limits_change_while_it_runs() {
    let Some(machine) = machine() else { return };
    machine.up(
        "changes",
        "-m 64m --memory-swap 128m --cpus 0.5 --pids-limit 33",
    );
    machine
        .rbuild("update -m 100m --memory-swap 200m --cpus 1 -c 2048 --pids-limit 77 changes")
        .ok();
    let file = |file: &str| machine.group_file("changes", file);
    assert_eq!(file("memory.max"), (100 << 20).to_string());
    assert_eq!(file("memory.swap.max"), (100 << 20).to_string());
    assert_eq!(file("cpu.max"), "100000 100000");
    assert_eq!(file("pids.max"), "77");
    machine.rbuild("update --memory-swap 300m changes").ok();
    assert_eq!(file("memory.swap.max"), (200 << 20).to_string());
    machine
        .rbuild("update --memory-reservation 50m --cpuset-cpus 0 --blkio-weight 200 changes")
        .ok();
    assert_eq!(file("memory.low"), (50 << 20).to_string());
    assert_eq!(file("cpuset.cpus"), "0");
    assert_eq!(file("io.bfq.weight"), "default 200");
    machine.rbuild("rm -f changes").ok();
    machine.up("late", "");
    machine.rbuild("update --pids-limit 9 late").ok();
    assert_eq!(machine.group_file("late", "pids.max"), "9");
    machine.rbuild("rm -f late").ok();
    let left = machine.sh("ls -d /sys/fs/cgroup/rbuild/*late* 2> /dev/null | wc -l");
    assert_eq!(left.ok(), "0");
}

#[test]
fn what_is_used_is_counted() {
    let Some(machine) = machine() else { return };
    machine.up("counted", "-m 64m --pids-limit 20");
    machine.rbuild("exec -d counted sleep 600").ok();
    let form = "{{.PIDs}} {{.MemUsage}} {{.Name}}";
    let said = machine.rbuild(&format!("stats --no-stream --format '{form}' counted"));
    assert!(said.ok().starts_with("2 "), "{said:?}");
    assert!(said.text().ends_with("/ 64MiB counted"), "{said:?}");
    assert!(!said.text().starts_with("2 0B"), "{said:?}");
    let usage = machine.group_file("counted", "cpu.stat");
    assert!(usage.starts_with("usage_usec "), "{usage}");
    machine.rbuild("rm -f counted").ok();
}
