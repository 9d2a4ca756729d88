use super::*;
use crate::sandbox::{
    Mount, MountKind, NetworkNamespace, Overlay, Particulars, Reach, ResourceLimits, Rlimit,
    RootFs, Seccomp, Terminal,
};

fn spec() -> Spec {
    Spec {
        rootfs: RootFs {
            mountpoint: "/run/x".into(),
            overlay: Overlay {
                lower: vec!["/l".into()],
                upper: "/u".into(),
                work: "/w".into(),
                volatile: false,
            },
        },
        mounts: vec![Mount {
            kind: MountKind::Bind {
                source: "/data".into(),
                propagation: None,
                reach: Reach::All,
            },
            target: "/mnt".into(),
            read_only: true,
        }],
        argv: vec!["sh".to_owned()],
        env: vec!["A=1".to_owned()],
        cwd: "/".into(),
        create_cwd: true,
        uid: 0,
        gid: 0,
        groups: vec![10],
        hostname: Some("box".to_owned()),
        network: NetworkNamespace::Passed,
        capabilities: vec![0, 27],
        no_new_privileges: false,
        seccomp: Seccomp::Default,
        mask_paths: true,
        read_only: false,
        rlimits: vec![Rlimit {
            resource: 7,
            soft: 1024,
            hard: u64::MAX,
        }],
        shm_bytes: 64 << 20,
        sysctls: vec![("net.ipv4.ip_forward".to_owned(), "1".to_owned())],
        terminal: None,
        cgroup: Some("rbuild/abc".to_owned()),
        resources: ResourceLimits {
            memory_bytes: Some(64 << 20),
            nano_cpus: Some(500_000_000),
            pids: Some(u64::MAX),
            devices: Some(vec!["c 1:3 rwm".to_owned(), "b *:* m".to_owned()]),
            ..ResourceLimits::default()
        },
        die_with_parent: true,
        particulars: Particulars::default(),
    }
}

fn made(change: impl FnOnce(&mut Spec)) -> Value {
    let mut spec = spec();
    change(&mut spec);
    config(&spec, &Further::default())
}

fn kinds(config: &Value) -> Vec<&str> {
    let list = config["linux"]["namespaces"].as_array().unwrap();
    list.iter().filter_map(|one| one["type"].as_str()).collect()
}

#[test]
fn what_was_decided_is_in_the_document() {
    let config = made(|_| {});
    let limits = &config["linux"]["resources"];
    assert_eq!(limits["memory"]["swap"], json!(128 << 20));
    assert_eq!(limits["cpu"], json!({ "quota": 50_000, "period": 100_000 }));
    assert_eq!(limits["pids"]["limit"], -1);
    assert_eq!(
        limits["devices"][0],
        json!({ "allow": false, "access": "rwm" })
    );
    assert_eq!(
        limits["devices"][2],
        json!({ "allow": true, "type": "b", "access": "m" })
    );
    assert_eq!(config["process"]["rlimits"][0]["type"], "RLIMIT_NOFILE");
    let held = json!(["CAP_CHOWN", "CAP_MKNOD"]);
    assert_eq!(config["process"]["capabilities"]["effective"], held);
    assert_eq!(config["root"]["path"], "/run/x/rootfs");
    assert_eq!(config["linux"]["cgroupsPath"], "/rbuild/abc");
    let mounts = config["mounts"].as_array().unwrap();
    assert_eq!(mounts.last().unwrap()["source"], "/run/x/0");
}

#[test]
fn shared_namespaces_are_left_out_or_named() {
    assert_eq!(
        kinds(&made(|_| {})),
        ["mount", "pid", "ipc", "uts", "cgroup", "network"]
    );
    let shared = made(|spec| {
        spec.hostname = None;
        spec.network = NetworkNamespace::Host;
        spec.particulars.host_cgroups = true;
        spec.particulars.processes = crate::sandbox::Namespace::Host;
        spec.particulars.ipc = crate::sandbox::Namespace::Of(7);
    });
    assert_eq!(kinds(&shared), ["mount", "ipc"]);
    assert_eq!(shared["linux"]["namespaces"][1]["path"], "/proc/7/ns/ipc");
}

#[test]
fn who_is_not_root_holds_no_capabilities() {
    let config = made(|spec| {
        spec.uid = 1000;
        spec.terminal = Some(Terminal {
            rows: 3,
            columns: 4,
        });
    });
    let process = &config["process"];
    assert_eq!(process["capabilities"]["effective"], json!([]));
    assert_eq!(process["capabilities"]["bounding"][1], "CAP_MKNOD");
    assert_eq!(process["consoleSize"], json!({ "height": 3, "width": 4 }));
}
