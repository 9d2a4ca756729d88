//! What every container does, here where there is version 2 alone.

use super::machine;

#[test]
fn a_container_runs_ends_and_is_looked_into() {
    let Some(machine) = machine() else { return };
    let run = machine.run("", "echo out; echo err >&2; exit 7");
    assert_eq!((run.code, run.text()), (7, "out"), "{run:?}");
    assert!(run.stderr.contains("err"), "{run:?}");
    let killed = machine.run("--init", "kill -9 $$");
    assert_eq!(killed.code, 137, "{killed:?}");
    machine.up("looked", "--init -m 64m");
    let said = machine.rbuild("exec looked sh -c 'cat /proc/1/comm; hostname > /h; cat /h'");
    assert!(said.ok().starts_with("docker-init\n"), "{said:?}");
    let form = "{{.State.Status}} {{.HostConfig.Memory}} {{.HostConfig.CgroupnsMode}}";
    let said = machine.rbuild(&format!("inspect -f '{form}' looked"));
    assert_eq!(said.ok(), "running 67108864 private");
    machine.rbuild("stop -t 1 looked").ok();
    let said = machine.rbuild("inspect -f '{{.State.ExitCode}} {{.State.OOMKilled}}' looked");
    assert_eq!(said.ok(), "143 false");
    machine.rbuild("rm looked").ok();
}

#[test]
fn the_machine_tells_its_version() {
    let Some(machine) = machine() else { return };
    let said = machine.rbuild("info -f '{{.CgroupVersion}} {{.CgroupDriver}}'");
    assert_eq!(said.ok(), "2 cgroupfs");
}

#[test]
fn a_container_sees_its_own_group_as_the_root() {
    let Some(machine) = machine() else { return };
    let own = machine.run("-m 64m", "cat /proc/self/cgroup /sys/fs/cgroup/memory.max");
    assert_eq!(own.ok(), "0::/\n67108864");
    let host = machine.run("-m 64m --cgroupns host", "cat /proc/self/cgroup");
    assert!(host.ok().starts_with("0::/rbuild/"), "{host:?}");
    let read_only = machine.run("-m 64m", "echo 1 > /sys/fs/cgroup/cgroup.freeze");
    read_only.fails(1, "read-only");
    let privileged = "mkdir /sys/fs/cgroup/x && rmdir /sys/fs/cgroup/x && echo made";
    assert_eq!(machine.run("-m 64m --privileged", privileged).ok(), "made");
}

#[test]
fn groups_go_with_their_containers() {
    let Some(machine) = machine() else { return };
    machine.up("goes", "-m 64m --cgroup-parent /vm-parent/deep");
    let beneath = "ls -d /sys/fs/cgroup/vm-parent/deep/*/ | wc -l";
    assert_eq!(machine.sh(beneath).ok(), "1");
    machine.rbuild("rm -f goes").ok();
    let gone = machine.sh("ls -d /sys/fs/cgroup/vm-parent");
    gone.fails(1, "no such file");
}

#[test]
fn all_that_shares_the_hosts_processes_ends_with_its_container() {
    let Some(machine) = machine() else { return };
    let script = "sleep 4242 & sleep 4242 & exit 3";
    machine.run("--pid host", script).fails(3, "");
    assert_eq!(machine.sh("pgrep -f 'sleep 4242' | wc -l").ok(), "0");
}
