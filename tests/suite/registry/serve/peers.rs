//! Other programs push to it and pull from it.

use std::path::Path;

use rbuild::oci::Digest;

use super::Own;
use crate::support::{Home, Need, needs, run_other};

/// Every file of a directory, with the digest of its content.
fn content(dir: &Path) -> Vec<(String, Digest)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        files.push((name, Digest::of(&std::fs::read(&path).unwrap())));
    }
    files.sort();
    files
}

#[test]
fn skopeo_gets_back_what_it_sent_byte_for_byte() {
    if !needs(&[Need::Root, Need::Busybox, Need::Skopeo]) {
        return;
    }
    let home = Home::with_busybox();
    let own = Own::start(&home, &[]);
    let scratch = home.scratch();
    let path = |name: &str| scratch.join(name).display().to_string();
    home.run(&["save", "-o", &path("bb.tar"), "busybox"]).ok();
    for format in ["oci", "v2s2"] {
        let first = format!("dir:{}", path(&format!("first-{format}")));
        let archive = format!("docker-archive:{}", path("bb.tar"));
        run_other(
            "skopeo",
            &[
                "copy",
                "-q",
                "--dest-compress",
                "--format",
                format,
                &archive,
                &first,
            ],
        );
        let name = format!("docker://{}/lib/bb:{format}", own.host);
        run_other(
            "skopeo",
            &["copy", "-q", "--dest-tls-verify=false", &first, &name],
        );
        let second = format!("dir:{}", path(&format!("second-{format}")));
        run_other(
            "skopeo",
            &["copy", "-q", "--src-tls-verify=false", &name, &second],
        );
        let dir = |which: &str| content(&scratch.join(format!("{which}-{format}")));
        assert_eq!(dir("first"), dir("second"));
        // We read it too.
        let pulled = format!("{}/lib/bb:{format}", own.host);
        home.run(&["pull", "-q", &pulled]).ok();
        home.run(&["rmi", &pulled]).ok();
    }
    // From one repository to another, and away.
    let from = format!("docker://{}/lib/bb:oci", own.host);
    let to = format!("docker://{}/other/bb:1", own.host);
    let both = ["--src-tls-verify=false", "--dest-tls-verify=false"];
    run_other(
        "skopeo",
        &[&["copy", "-q"][..], &both, &[&from, &to]].concat(),
    );
    assert!(
        own.log().contains("POST /v2/other/bb/blobs/uploads/ 201"),
        "it was mounted"
    );
    run_other("skopeo", &["delete", "--tls-verify=false", &to]);
    own.ask("GET", "/v2/other/bb/manifests/1").has(404);
    let tags = run_other(
        "skopeo",
        &[
            "list-tags",
            "--tls-verify=false",
            &format!("docker://{}/lib/bb", own.host),
        ],
    );
    let tags: serde_json::Value = serde_json::from_slice(&tags).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["oci", "v2s2"]));
}

#[test]
fn podman_logs_in_pushes_and_pulls() {
    if !needs(&[Need::Root, Need::Busybox, Need::Podman]) {
        return;
    }
    let home = Home::with_busybox();
    let scratch = home.scratch();
    let path = |name: &str| scratch.join(name).display().to_string();
    let users = home.file(
        "users",
        "tester:$2y$05$mbnG.cpc7cOEReZJ5BHl6e43QwFaoIDkyZC78YGNFtmc9JDczQOZO\n",
    );
    let users = users.display().to_string();
    home.run(&["save", "-o", &path("bb.tar"), "busybox"]).ok();
    let (root, runroot, auth) = (path("podman"), path("podman-run"), path("auth.json"));
    let podman = |arguments: &[&str]| {
        let base = [
            "--root",
            &root,
            "--runroot",
            &runroot,
            "--storage-driver",
            "vfs",
        ];
        let said = run_other("podman", &[&base, arguments].concat());
        String::from_utf8_lossy(&said).trim().to_owned()
    };
    podman(&["load", "-q", "-i", &path("bb.tar")]);
    for mode in ["--quiet", "--token"] {
        let own = Own::start(&home, &["--htpasswd", &users, "--anonymous-pull", mode]);
        let client = ["--tls-verify=false", "--authfile", &auth];
        let login = ["-u", "tester", "-p", "correct-horse", &own.host];
        podman(&[&["login"][..], &client, &login].concat());
        let name = format!("{}/lib/bb:{}", own.host, &mode[2..]);
        podman(&["tag", "docker.io/library/busybox:latest", &name]);
        podman(&[&["push", "-q"][..], &client, &[&name]].concat());
        let id = podman(&["image", "inspect", "--format", "{{.Id}}", &name]);
        podman(&["rmi", "-f", &name]);
        // Without a password, as everybody may.
        assert_eq!(podman(&["pull", "-q", "--tls-verify=false", &name]), id);
        home.run(&["pull", "-q", &name]).ok();
        podman(&["untag", &name]);
        podman(&["load", "-q", "-i", &path("bb.tar")]);
    }
    podman(&["rmi", "-af"]);
}
