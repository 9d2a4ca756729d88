//! Which devices a container may use, by a program that the kernel asks.

use super::machine;

/// Opens a device as it says, and tells what came of it.
const TRY: &str = "try() { if (eval \"$2\") 2> /tmp/why; then echo $1 yes; else \
    echo $1 \"$(sed 's/.*: //' /tmp/why | tail -n 1)\"; fi; };";

#[test]
fn less_than_everything_may_be_done_with_a_device() {
    let Some(machine) = machine() else { return };
    let script = format!(
        "{TRY} try read 'head -c 1 /dev/vda > /dev/null'; try write 'echo > /dev/vda'; \
         try zero 'head -c 1 /dev/zero > /dev/null'; try null 'echo > /dev/null'"
    );
    let tell = |flags: &str| machine.run(flags, &script).ok().replace('\n', ", ");
    let denied = "Operation not permitted";
    assert_eq!(
        tell("--device /dev/vda:/dev/vda:r"),
        format!("read yes, write {denied}, zero yes, null yes")
    );
    assert_eq!(
        tell("--device /dev/vda:w"),
        format!("read {denied}, write yes, zero yes, null yes")
    );
    assert_eq!(
        tell("--privileged"),
        "read yes, write yes, zero yes, null yes"
    );
}

#[test]
fn rules_allow_nodes_that_are_made_inside() {
    let Some(machine) = machine() else { return };
    let numbers = machine.sh("cat /sys/block/vda/dev").ok().to_owned();
    let (major, minor) = numbers.split_once(':').unwrap();
    let script = format!(
        "{TRY} mknod /tmp/line c 4 64; try made 'mknod /tmp/disk b {major} {minor}'; \
         try read 'head -c 1 /tmp/disk > /dev/null'; try write 'echo > /tmp/disk'; \
         try line 'echo > /tmp/line'"
    );
    let tell = |rule: &str| {
        let flags = format!("--device-cgroup-rule '{rule}'");
        machine.run(&flags, &script).ok().replace('\n', ", ")
    };
    let denied = "Operation not permitted";
    assert_eq!(
        tell(&format!("b {major}:* r")),
        format!("made yes, read yes, write {denied}, line {denied}")
    );
    assert_eq!(
        tell(&format!("b {major}:{minor} rwm")),
        format!("made yes, read yes, write yes, line {denied}")
    );
    assert_eq!(
        tell("c 4:64 w"),
        format!("made yes, read {denied}, write {denied}, line yes")
    );
}

#[test]
fn rules_hold_for_further_processes_and_after_an_update() {
    let Some(machine) = machine() else { return };
    machine.up("ruled", "--device /dev/vda:r -m 64m");
    let write = "rbuild exec ruled sh -c 'echo > /dev/vda'";
    machine.sh(write).fails(1, "not permitted");
    machine
        .rbuild("update -m 80m --memory-swap 160m ruled")
        .ok();
    machine.sh(write).fails(1, "not permitted");
    machine.rbuild("exec ruled head -c 1 /dev/vda").ok();
    machine.rbuild("restart -t 0 ruled").ok();
    machine.sh(write).fails(1, "not permitted");
    machine.rbuild("rm -f ruled").ok();
}
