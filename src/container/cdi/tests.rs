use std::path::PathBuf;

use serde_json::json;

use super::document::Document;
use super::*;
use crate::sandbox::MountKind;

fn read(value: serde_json::Value) -> Result<(), String> {
    Document::read(value).map(drop)
}

fn document(change: impl FnOnce(&mut serde_json::Value)) -> serde_json::Value {
    let mut value = json!({
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/device",
        "devices": [{ "name": "one", "containerEdits": { "env": ["A=1"] } }],
    });
    change(&mut value);
    value
}

#[test]
fn names_have_three_parts() {
    for good in [
        "vendor.com/device=one",
        "nvidia.com/gpu=0",
        "a/b=c:d.e",
        "v/c=GPU-1",
    ] {
        assert!(is_qualified(good), "{good}");
    }
    for bad in [
        "/dev/null",
        "vendor.com/device",
        "a/b=",
        "1a/b=c",
        "a/b=c-",
        "a/b=c d",
        "=",
        "/=",
    ] {
        assert!(!is_qualified(bad), "{bad}");
    }
}

#[test]
fn files_are_checked() {
    read(document(|_| {})).unwrap();
    let check = |change: fn(&mut serde_json::Value), why: &str| {
        let got = read(document(change)).unwrap_err();
        assert!(got.contains(why), "{got}");
    };
    check(|v| v["cdiVersion"] = json!("9.9.9"), "version");
    check(|v| v["kind"] = json!("vendor.com"), "kind");
    check(|v| v["kind"] = json!("-x/device"), "vendor");
    check(|v| v["devices"] = json!([]), "no devices");
    check(|v| v["devices"][0]["name"] = json!("a b"), "device name");
    check(
        |v| v["devices"] = json!([v["devices"][0], v["devices"][0]]),
        "multiple device",
    );
    check(
        |v| v["devices"][0]["containerEdits"] = json!({}),
        "empty device edits",
    );
    check(
        |v| v["containerEdits"] = json!({ "env": ["x"] }),
        "environment",
    );
    check(
        |v| v["containerEdits"] = json!({ "hooks": [{ "hookName": "x", "path": "/x" }] }),
        "hook",
    );
    check(
        |v| v["containerEdits"] = json!({ "deviceNodes": [{ "path": "/dev/x", "type": "z" }] }),
        "type",
    );
    check(
        |v| {
            v["containerEdits"] =
                json!({ "deviceNodes": [{ "path": "/dev/x", "permissions": "x" }] });
        },
        "permissions",
    );
    check(|v| v["more"] = json!(1), "unknown field");
    check(
        |v| v["containerEdits"] = json!({ "additionalGids": [5] }),
        "at least v0.7.0",
    );
}

#[test]
fn later_directories_win_and_conflicts_are_told() {
    let temporary = tempfile::tempdir().unwrap();
    let dirs: Vec<PathBuf> = ["etc", "run"]
        .map(|name| temporary.path().join(name))
        .into();
    for dir in &dirs {
        std::fs::create_dir(dir).unwrap();
    }
    let write = |path: &str, name: &str, env: &str| {
        let text = format!(
            "cdiVersion: 0.6.0\nkind: vendor.com/device\ndevices:\n- name: {name}\n  containerEdits:\n    env: [{env}]\n"
        );
        std::fs::write(temporary.path().join(path), text).unwrap();
    };
    write("etc/a.yaml", "one", "A=etc");
    write("run/a.yaml", "one", "A=run");
    write("etc/b.yaml", "two", "B=1");
    write("etc/c.yaml", "two", "B=2");
    std::fs::write(temporary.path().join("run/bad.json"), "{").unwrap();
    let registry = Registry::read(&dirs);
    assert!(registry.has_kind("vendor.com/device"));
    let edits = |name: &str| registry.edits(&[format!("vendor.com/device={name}")], (0, 0));
    assert_eq!(edits("one").unwrap().env, ["A=run"]);
    let told = edits("two").unwrap_err().to_string();
    for part in [
        "CDI device injection failed: unresolvable CDI devices vendor.com/device=two",
        "conflicting device",
        "bad.json",
    ] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn edits_become_mounts_and_rules() {
    let value = document(|value| {
        value["cdiVersion"] = json!("0.7.0");
        value["containerEdits"] = json!({
            "env": ["GLOBAL=1"],
            "hooks": [{ "hookName": "createRuntime", "path": "/bin/true", "timeout": 3 }],
        });
        value["devices"][0]["containerEdits"] = json!({
            "deviceNodes": [
                { "path": "/dev/own", "type": "c", "major": 1, "minor": 5, "permissions": "r", "fileMode": 384, "uid": 7 },
                { "path": "/dev/null2", "hostPath": "/dev/null" },
            ],
            "mounts": [{ "hostPath": "/etc", "containerPath": "/vendor", "options": ["ro", "bind"] }],
            "additionalGids": [44, 0, 44],
        });
    });
    let document = Document::read(value).unwrap();
    let mut edits = Edits::default();
    edits.add(&document.container_edits, (1, 2)).unwrap();
    edits
        .add(&document.devices[0].container_edits, (1, 2))
        .unwrap();
    assert_eq!(edits.env, ["GLOBAL=1"]);
    assert_eq!(edits.rules, ["c 1:5 r", "c 1:3 rwm"]);
    assert!(edits.withholds());
    assert_eq!(edits.groups, [44]);
    assert_eq!(edits.hooks["createRuntime"][0]["timeout"], 3);
    let MountKind::Device(own) = &edits.mounts[0].kind else {
        panic!("a device");
    };
    assert_eq!((own.uid, own.gid, own.mode), (7, 2, 0o600));
    assert!(edits.mounts[2].read_only);
}
