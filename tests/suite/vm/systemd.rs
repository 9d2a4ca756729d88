//! Where systemd is the first process: containers with limits are scopes.

use super::debian;
use super::machine::Machine;
use crate::support::{Need, needs};

/// One boot and one test: it takes the longest of all to boot.
#[test]
fn a_container_with_limits_is_a_scope() {
    if !needs(&[Need::Root, Need::Busybox, Need::Qemu, Need::Debootstrap]) {
        return;
    }
    let machine = Machine::boot_from(&debian::disk());
    let driver = machine.rbuild("info -f '{{.CgroupVersion}} {{.CgroupDriver}}'");
    assert_eq!(driver.ok(), "2 systemd");
    machine
        .sh(
            "rbuild run -d --network none --name aa -m 64m --pids-limit 9 --device /dev/vda:r \
        busybox sleep 600",
        )
        .ok();
    let unit = "rbuild-$(rbuild inspect -f '{{.Id}}' aa).scope";
    let shown = machine.sh(&format!(
        "systemctl show -p ActiveState,Slice,Delegate {unit}"
    ));
    let mut lines: Vec<&str> = shown.ok().lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["ActiveState=active", "Delegate=yes", "Slice=system.slice"]
    );
    assert_eq!(machine.group_file("aa", "memory.max"), "67108864");
    assert_eq!(machine.group_file("aa", "pids.max"), "9");
    // What systemd knows of the unit changes nothing in it.
    machine.sh("systemctl daemon-reload").ok();
    machine.rbuild("update --pids-limit 12 aa").ok();
    assert_eq!(machine.group_file("aa", "pids.max"), "12");
    assert_eq!(machine.group_file("aa", "memory.max"), "67108864");
    let own = machine.rbuild("exec aa sh -c 'cat /proc/self/cgroup; echo > /dev/vda'");
    own.fails(1, "not permitted");
    assert_eq!(own.text(), "0::/");
    machine.rbuild("pause aa").ok();
    assert_eq!(machine.group_file("aa", "cgroup.freeze"), "1");
    machine.rbuild("unpause aa").ok();
    machine.rbuild("restart -t 0 aa").ok();
    assert_eq!(machine.group_file("aa", "memory.max"), "67108864");
    machine.rbuild("rm -f aa").ok();
    let left = "for i in $(seq 50); do \
        systemctl list-units --all --plain --no-legend 'rbuild-*' | grep -q . || break; sleep 0.1; \
        done; systemctl list-units --all --plain --no-legend 'rbuild-*'; \
        find /sys/fs/cgroup -name '*rbuild*'";
    assert_eq!(machine.sh(left).ok(), "");
    let sliced = machine.sh(
        "rbuild run --rm --network none --cgroup-parent vm-night.slice --cgroupns host busybox \
         cat /proc/self/cgroup",
    );
    let place = sliced.ok();
    assert!(
        place.starts_with("0::/vm.slice/vm-night.slice/rbuild-"),
        "{place}"
    );
    assert!(place.ends_with(".scope/container"), "{place}");
}
