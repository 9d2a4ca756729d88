//! Other programs read what we pushed, and we read what they pushed, byte for byte.

use std::path::{Path, PathBuf};

use rbuild::oci::{Digest, Manifest};

use super::scene::Scene;
use crate::support::{Docker, Need, RegistryServer, needs, run_other};

/// What a test with another program needs.
fn with(peer: Need) -> bool {
    needs(&[
        Need::Root,
        Need::Busybox,
        Need::Overlay,
        Need::DockerRegistry,
        peer,
    ])
}

/// A registry, and a data root with an image that has several layers, links, owners and
/// modes, and a file taken away, pushed there as `ours:1`.
struct Table {
    server: RegistryServer,
    scene: Scene,
}

impl Table {
    fn new() -> Self {
        let table = Self {
            server: RegistryServer::plain(),
            scene: Scene::new(),
        };
        let home = table.scene.home();
        home.run_with(&["load"], &crate::support::busybox_archive())
            .ok();
        let dockerfile = "FROM busybox\nCOPY a /w/a\nRUN ln -s a /w/b && ln /w/a /w/c && rm /etc/group && \
            chown 7:8 /w/a && chmod 4751 /w/a && mkdir -m 1777 /w/d\nENV E=1\nWORKDIR /w\nCMD [\"cat\", \"b\"]\n";
        home.file("context/Dockerfile", dockerfile);
        home.file("context/a", "hello\n");
        let dir = home.scratch().join("context");
        let name = table.name("ours");
        home.run(&[
            "build",
            "-q",
            "--network=none",
            "-t",
            &name,
            dir.to_str().unwrap(),
        ])
        .ok();
        let pushed = table.scene.run(&["push", &name]);
        let told = pushed.ok().lines().last().unwrap().to_owned();
        assert!(
            told.contains(&table.manifest_of("ours").0.to_string()),
            "{told}"
        );
        table
    }

    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}:1", self.server.host())
    }

    fn scratch(&self, name: &str) -> PathBuf {
        self.scene.home().scratch().join(name)
    }

    /// A manifest as the registry has it, by skopeo's eyes or ours.
    fn manifest_of(&self, repository: &str) -> (Digest, Vec<u8>) {
        let digest = self.server.tag(repository, "1");
        (digest, self.server.blob(digest))
    }

    /// The blobs that a manifest names, all of them there and whole.
    fn blobs_of(&self, repository: &str) -> Vec<Digest> {
        let manifest: Manifest = serde_json::from_slice(&self.manifest_of(repository).1).unwrap();
        let all = [manifest.config].into_iter().chain(manifest.layers);
        all.map(|blob| {
            let bytes = self.server.blob(blob.digest);
            assert_eq!(
                (Digest::of(&bytes), bytes.len() as u64),
                (blob.digest, blob.size)
            );
            blob.digest
        })
        .collect()
    }

    /// Pulls with an empty data root; the tree, written to a directory.
    fn pulled_tree(&self, repository: &str) -> (Scene, PathBuf) {
        let scene = Scene::new();
        let name = self.name(repository);
        let outcome = scene.run(&["pull", &name]);
        let digest = format!("Digest: {}", self.manifest_of(repository).0);
        assert!(
            outcome.ok().lines().any(|line| line == digest),
            "{outcome:?}"
        );
        assert_eq!(scene.assert_valid(), 1);
        let home = scene.home();
        home.file("empty/Dockerfile", format!("FROM {name}\n"));
        let (dir, tree) = (home.scratch().join("empty"), home.scratch().join("tree"));
        let archive = home.scratch().join("tree.tar").display().to_string();
        let output = format!("type=tar,dest={archive}");
        home.run(&["build", "-q", "-o", &output, dir.to_str().unwrap()])
            .ok();
        unpack(&archive, &tree);
        (scene, tree)
    }
}

/// Unpacks a tar as it is.
fn unpack(archive: &str, to: &Path) {
    std::fs::create_dir(to).unwrap();
    let to = to.to_str().unwrap();
    run_other("tar", &["-xpf", archive, "-C", to, "--numeric-owner"]);
}

/// Trees are the same: names, kinds, contents, modes, owners and links.
fn assert_same(one: &Path, other: &Path) {
    let list = |tree: &Path| {
        let script = "cd \"$1\" && find . -mindepth 1 ! -path './dev/*' ! -path './proc*' ! -path './sys*' ! -path './run*' \
            -printf '%P %y %m %U:%G %l\\n' | sort && find . -type f ! -path './bin/*' ! -path './dev/*' -exec sha256sum {} + | sort";
        let text = run_other("sh", &["-c", script, "sh", tree.to_str().unwrap()]);
        String::from_utf8(text).unwrap()
    };
    let (one, other) = (list(one), list(other));
    assert!(one.lines().count() > 20, "{one}");
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (lines(&one), lines(&other));
    let only = |these: &[String], those: &[String]| {
        let missing = these.iter().filter(|line| !those.contains(line));
        missing.cloned().collect::<Vec<_>>()
    };
    assert_eq!((only(&one, &other), only(&other, &one)), (vec![], vec![]));
}

#[test]
fn skopeo_and_we_read_each_other() {
    if !with(Need::Skopeo) {
        return;
    }
    let table = Table::new();
    let dir = table.scratch("skopeo");
    let there = format!("dir:{}", dir.display());
    let source = format!("docker://{}", table.name("ours"));
    let copy = [
        "--insecure-policy",
        "copy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ];
    run_other("skopeo", &[&copy[..], &[&source, &there]].concat());
    let (digest, manifest) = table.manifest_of("ours");
    assert_eq!(std::fs::read(dir.join("manifest.json")).unwrap(), manifest);
    for blob in table.blobs_of("ours") {
        assert_eq!(
            Digest::of(&std::fs::read(dir.join(blob.hex())).unwrap()),
            blob
        );
    }
    // And back again: what it pushes is the same, and we read it.
    let target = format!("docker://{}", table.name("theirs"));
    run_other("skopeo", &[&copy[..], &[&there, &target]].concat());
    assert_eq!(table.manifest_of("theirs").0, digest);
    let (ours, tree) = table.pulled_tree("ours");
    let (theirs, other) = table.pulled_tree("theirs");
    assert_eq!(
        ours.id(&table.name("ours")),
        theirs.id(&table.name("theirs"))
    );
    assert_same(&tree, &other);
    // In Docker's form, which has other digests and the same content.
    let target = format!("docker://{}", table.name("docker"));
    run_other(
        "skopeo",
        &[&copy[..], &["--format=v2s2", &there, &target]].concat(),
    );
    let (docker, other) = table.pulled_tree("docker");
    assert_eq!(
        docker.id(&table.name("docker")),
        ours.id(&table.name("ours"))
    );
    assert_same(&tree, &other);
}

#[test]
fn podman_and_we_read_each_other() {
    if !with(Need::Podman) {
        return;
    }
    let table = Table::new();
    let place = table.scratch("podman");
    let path = |name: &str| place.join(name).display().to_string();
    let (root, run_root) = (path("root"), path("run"));
    let podman = |arguments: &[&str]| {
        let own = [
            "--root",
            &root,
            "--runroot",
            &run_root,
            "--storage-driver",
            "vfs",
        ];
        let output = run_other("podman", &[&own, arguments].concat());
        String::from_utf8(output).unwrap().trim().to_owned()
    };
    let (ours, theirs) = (table.name("ours"), table.name("theirs"));
    podman(&["pull", "-q", "--tls-verify=false", &ours]);
    let format = [
        "image",
        "inspect",
        "--format",
        "{{.Digest}} sha256:{{.Id}}",
        &ours,
    ];
    let told = podman(&format);
    assert_eq!(
        told,
        format!("{} {}", table.manifest_of("ours").0, table.scene.id(&ours))
    );
    let mounted = PathBuf::from(podman(&["image", "mount", &ours]));
    let (_pulled, tree) = table.pulled_tree("ours");
    assert_same(&tree, &mounted);
    podman(&["push", "-q", "--tls-verify=false", &ours, &theirs]);
    table.blobs_of("theirs");
    let (pulled, other) = table.pulled_tree("theirs");
    assert_eq!(pulled.id(&theirs), table.scene.id(&ours));
    assert_same(&tree, &other);
    podman(&["image", "unmount", "-af"]);
    podman(&["rmi", "-af"]);
}

#[test]
fn docker_and_we_read_each_other() {
    if !with(Need::Docker) {
        return;
    }
    let table = Table::new();
    let docker = Docker::new();
    let (ours, theirs) = (table.name("ours"), table.name("theirs"));
    let pulled = docker.run(&["pull", &ours]);
    let digest = table.manifest_of("ours").0;
    assert!(pulled.contains(&format!("Digest: {digest}")), "{pulled}");
    let id = docker.run(&["image", "inspect", "-f", "{{.Id}}", &ours]);
    assert_eq!(id, table.scene.id(&ours));
    docker.run(&["tag", &ours, &theirs]);
    let pushed = docker.run(&["push", &theirs]);
    let digest = table.manifest_of("theirs").0;
    assert!(pushed.contains(&digest.to_string()), "{pushed}");
    table.blobs_of("theirs");
    let (scene, tree) = table.pulled_tree("theirs");
    assert_eq!(scene.id(&theirs), table.scene.id(&ours));
    let (_ours, other) = table.pulled_tree("ours");
    assert_same(&tree, &other);
    // What it read of our tree, in its own words.
    let archive = table.scratch("tree.tar");
    let archive = archive.to_str().unwrap();
    let container = docker.run(&["create", &ours]);
    docker.run(&["export", "-o", archive, &container]);
    docker.run(&["rm", &container]);
    let unpacked = table.scratch("unpacked");
    unpack(archive, &unpacked);
    // Docker adds what it mounts on when a container runs.
    for added in [
        ".dockerenv",
        "etc/hostname",
        "etc/hosts",
        "etc/resolv.conf",
        "etc/mtab",
    ] {
        drop(std::fs::remove_file(unpacked.join(added)));
    }
    assert_same(&tree, &unpacked);
}
