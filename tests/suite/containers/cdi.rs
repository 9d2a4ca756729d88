//! Devices that files of their vendors describe, and `--gpus`.

use std::path::PathBuf;

use serde_json::Value;

use super::base::{exec, of, until_state};
use crate::support::{Home, Need, Outcome, finish, needs};

/// A machine whose vendors' files are in a directory of the test's own.
struct Machine {
    home: Home,
    settings: PathBuf,
}

impl Machine {
    fn new(more: &[Need]) -> Option<Self> {
        let mut needed = vec![Need::Root, Need::Busybox, Need::Overlay];
        needed.extend(more);
        if !needs(&needed) {
            return None;
        }
        let home = Home::with_busybox();
        let dirs = ["etc", "run"].map(|name| home.scratch().join(name));
        for dir in &dirs {
            std::fs::create_dir_all(dir).unwrap();
        }
        let text = serde_json::json!({ "cdi-spec-dirs": dirs }).to_string();
        let settings = home.file("daemon.json", text);
        Some(Self { home, settings })
    }

    fn run(&self, words: &[&str]) -> Outcome {
        let mut command = self.home.command(words);
        command.env("RBUILD_DAEMON_JSON", &self.settings);
        finish(command, b"")
    }

    /// `run --rm FLAGS busybox sh -c SCRIPT`
    fn sh(&self, flags: &[&str], script: &str) -> Outcome {
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend(flags);
        words.extend(["busybox", "sh", "-c", script]);
        self.run(&words)
    }
}

const VENDOR: &str = r#"
cdiVersion: "0.7.0"
kind: vendor.com/device
containerEdits:
  env: [VENDOR=all, PATH=/vendor/bin:/bin]
devices:
- name: zero
  containerEdits:
    env:
    - DEVICE=zero
    deviceNodes:
    - {path: /dev/vendor/zero, hostPath: /dev/zero, permissions: rw, fileMode: 0640, uid: 7, gid: 8}
    mounts:
    - {hostPath: SCRATCH/lib, containerPath: /vendor/lib, options: [ro, nosuid, nodev, rbind]}
    additionalGids: [44]
- name: numbers
  containerEdits:
    deviceNodes:
    - {path: /dev/numbers, type: c, major: 1, minor: 5}
"#;

fn write_vendor(machine: &Machine) {
    let scratch = machine.home.scratch();
    machine.home.file("lib/file", "lib\n");
    let text = VENDOR.replace("SCRATCH", &scratch.display().to_string());
    machine.home.file("etc/vendor.yaml", text);
}

#[test]
fn a_vendors_device_brings_what_it_needs() {
    let Some(machine) = Machine::new(&[Need::Runtimes]) else {
        return;
    };
    write_vendor(&machine);
    let device = ["--device", "vendor.com/device=zero"];
    let script = "echo $VENDOR $DEVICE $PATH; ls -ln /dev/vendor/zero | awk '{print $1,$3,$4,$5,$6}'; \
        head -c 2 /dev/vendor/zero | od -An -c; cat /vendor/lib/file; touch /vendor/lib/x 2>&1 | grep -c Read-only; id -G";
    let want = "all zero /vendor/bin:/bin\ncrw-r----- 7 8 1, 5\n  \\0  \\0\nlib\n1\n0 44";
    for runtime in ["rbuild", "crun", "runc"] {
        let mut flags = vec!["--runtime", runtime];
        flags.extend(device);
        assert_eq!(
            machine
                .sh(&flags, &format!("/bin/busybox true; {script}"))
                .ok(),
            want,
            "{runtime}"
        );
        // Exec does what the container may do, and an own user gets the device.
        let mut words = vec![
            "run",
            "-d",
            "--name",
            "cc",
            "-u",
            "12:13",
            "--network",
            "none",
            "--runtime",
            runtime,
        ];
        words.extend([
            "--device",
            "vendor.com/device=numbers",
            "busybox",
            "sleep",
            "600",
        ]);
        machine.run(&words).ok();
        let seen = exec(
            &machine.home,
            "cc",
            "ls -ln /dev/numbers | awk '{print $3,$4}'; head -c 1 /dev/numbers | od -An -c",
        );
        assert_eq!(seen, "12 13\n  \\0", "{runtime}");
        let wish = of(&machine.home, "cc", "/HostConfig/DeviceRequests/0");
        assert_eq!(wish["Driver"], "cdi");
        assert_eq!(wish["DeviceIDs"][0], "vendor.com/device=numbers");
        machine.run(&["rm", "-f", "cc"]).ok();
    }
    let info: Value = serde_json::from_str(machine.run(&["info", "-f", "json"]).ok()).unwrap();
    assert_eq!(info["DiscoveredDevices"][1]["ID"], "vendor.com/device=zero");
    assert!(
        machine
            .run(&["info"])
            .ok()
            .contains(" CDI spec directories:\n")
    );
}

#[test]
fn devices_that_cannot_be_had_are_told() {
    let Some(machine) = Machine::new(&[]) else {
        return;
    };
    write_vendor(&machine);
    machine.home.file("run/broken.json", "{");
    let unknown = machine.sh(&["--device", "vendor.com/device=nosuch"], "true");
    unknown.fails(
        125,
        "CDI device injection failed: unresolvable CDI devices vendor.com/device=nosuch",
    );
    assert!(unknown.stderr.contains("broken.json"), "{unknown:?}");
    machine
        .sh(&["--device", "vendor.com/other=zero"], "true")
        .fails(125, "unresolvable");
    // Two files of one directory that both have it.
    machine.home.file("etc/twice.yaml", "cdiVersion: 0.6.0\nkind: vendor.com/device\ndevices:\n- {name: zero, containerEdits: {env: [A=1]}}\n");
    machine
        .sh(&["--device", "vendor.com/device=zero"], "true")
        .fails(125, "conflicting device");
    // A later directory decides.
    machine.home.file("run/own.yaml", "cdiVersion: 0.6.0\nkind: vendor.com/device\ndevices:\n- {name: zero, containerEdits: {env: [OWN=run]}}\n");
    assert_eq!(
        machine
            .sh(&["--device", "vendor.com/device=zero"], "echo $OWN$DEVICE")
            .ok(),
        "run"
    );
    let gone = "cdiVersion: 0.6.0\nkind: vendor.com/gone\ndevices:\n- {name: a, containerEdits: {deviceNodes: [{path: /dev/no-such-device}]}}\n";
    machine.home.file("etc/gone.yaml", gone);
    machine
        .sh(&["--device", "vendor.com/gone=a"], "true")
        .fails(
            125,
            "failed to stat CDI host device \"/dev/no-such-device\"",
        );
    // A file that is no device, asked for as one of the host.
    machine
        .sh(&["--device", "/etc/passwd"], "true")
        .fails(125, "not a device node");
    // What was wished is kept, and looked up at each start.
    machine
        .run(&[
            "create",
            "--name",
            "later",
            "--network",
            "none",
            "--device",
            "vendor.com/later=a",
            "busybox",
            "true",
        ])
        .ok();
    machine
        .run(&["start", "later"])
        .fails(1, "unresolvable CDI devices vendor.com/later=a");
    machine.home.file("etc/later.yaml", "cdiVersion: 0.6.0\nkind: vendor.com/later\ndevices:\n- {name: a, containerEdits: {env: [A=1]}}\n");
    machine.run(&["start", "later"]).ok();
    until_state(&machine.home, "later", "exited");
    machine.run(&["rm", "later"]).ok();
}

#[test]
fn programs_that_a_vendor_wants_run_need_an_outside_runtime() {
    let Some(machine) = Machine::new(&[Need::Runtimes]) else {
        return;
    };
    let seen = machine.home.scratch().join("seen");
    let hook = machine
        .home
        .file("hook", format!("#!/bin/sh\ncat > {}\n", seen.display()));
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let text = format!(
        "cdiVersion: 0.6.0\nkind: vendor.com/hooked\ndevices:\n- name: a\n  containerEdits:\n    hooks:\n    - {{hookName: createRuntime, path: {}, args: [hook]}}\n",
        hook.display()
    );
    machine.home.file("etc/hooked.yaml", text);
    let device = ["--device", "vendor.com/hooked=a"];
    machine
        .sh(&device, "true")
        .fails(125, "asks for a program to be run (createRuntime)");
    for runtime in ["crun", "runc"] {
        machine
            .sh(&[&device[..], &["--runtime", runtime]].concat(), "true")
            .ok();
        let state: Value = serde_json::from_slice(&std::fs::read(&seen).unwrap()).unwrap();
        assert!(
            state["pid"].as_i64().unwrap() > 0 && state["bundle"].is_string(),
            "{state}"
        );
        std::fs::remove_file(&seen).unwrap();
    }
}

#[test]
fn gpus_are_devices_of_their_vendor() {
    let Some(machine) = Machine::new(&[]) else {
        return;
    };
    let none = "could not select device driver \"\" with capabilities: [[gpu]]";
    machine.sh(&["--gpus", "all"], "true").fails(125, none);
    machine
        .sh(&["--gpus", "driver=other"], "true")
        .fails(125, "could not select device driver \"other\"");
    machine
        .sh(&["--gpus", "some"], "true")
        .fails(125, "value must be either");
    let device =
        |name| format!("- name: \"{name}\"\n  containerEdits: {{env: [GPU_{name}=yes]}}\n");
    let devices = ["0", "1", "all"].map(device).concat();
    machine.home.file(
        "run/nvidia.yaml",
        format!("cdiVersion: 0.5.0\nkind: nvidia.com/gpu\ndevices:\n{devices}"),
    );
    let seen = |gpus: &str| {
        machine
            .sh(&["--gpus", gpus], "env | grep GPU | sort")
            .ok()
            .replace('\n', " ")
    };
    assert_eq!(seen("all"), "GPU_all=yes");
    assert_eq!(seen("2"), "GPU_0=yes GPU_1=yes");
    assert_eq!(seen("device=1"), "GPU_1=yes");
    assert_eq!(seen("\"device=0,1\",driver=nvidia"), "GPU_0=yes GPU_1=yes");
    machine
        .sh(&["--gpus", "3"], "true")
        .fails(125, "unresolvable CDI devices nvidia.com/gpu=2");
    machine
        .run(&[
            "create",
            "--name",
            "cc",
            "--gpus",
            "all,capabilities=utility",
            "busybox",
        ])
        .ok();
    let wish = of(&machine.home, "cc", "/HostConfig/DeviceRequests/0");
    assert_eq!(
        (wish["Count"].as_i64(), wish["Capabilities"][0][0].as_str()),
        (Some(-1), Some("utility"))
    );
}
