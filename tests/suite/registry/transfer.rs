//! Pull and push beside a real registry and skopeo: forms, platforms, what stays as it was.

use rbuild::oci::Digest;
use serde_json::Value;

use crate::support::{Home, Need, RegistryServer, needs, run_other};

const NEEDS: [Need; 4] = [
    Need::Root,
    Need::Busybox,
    Need::DockerRegistry,
    Need::Skopeo,
];

/// What skopeo says is under a name.
fn raw(name: &str) -> Vec<u8> {
    let source = format!("docker://{name}");
    run_other(
        "skopeo",
        &["inspect", "--tls-verify=false", "--raw", &source],
    )
}

fn manifest(name: &str) -> Value {
    serde_json::from_slice(&raw(name)).unwrap()
}

fn skopeo_copy(options: &[&str], from: &str, to: &str) {
    let fixed = [
        "copy",
        "--insecure-policy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
    ];
    run_other("skopeo", &[&fixed[..], options, &[from, to]].concat());
}

/// An image of a few layers, some that shrink and one that does not.
fn build(home: &Home, name: &str, more: &[&str]) {
    let mut seed = 7_u64;
    let dense: Vec<u8> = (0..3_000_000)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed.to_be_bytes()[0]
        })
        .collect();
    home.file("context/dense", dense);
    home.file(
        "context/text",
        "some text, again and again\n".repeat(300_000),
    );
    home.file(
        "context/Dockerfile",
        "FROM scratch\nARG TARGETARCH\nCOPY dense /\nCOPY text /\nLABEL arch=$TARGETARCH\n",
    );
    let context = home.scratch().join("context");
    let context = context.to_str().unwrap();
    let arguments = [&["build", "-q", "-t", name], more, &[context]].concat();
    home.run(&arguments).ok();
}

fn id(home: &Home, name: &str) -> String {
    let inspect = home.run(&["inspect", "-f", "{{.Id}}", name]);
    inspect.ok().trim().to_owned()
}

#[test]
fn what_skopeo_wrote_is_pulled_and_pushed_byte_for_byte() {
    if !needs(&NEEDS) {
        return;
    }
    let (server, home) = (RegistryServer::plain(), Home::with_busybox());
    let host = server.host();
    home.run(&[
        "save",
        "-o",
        home.file("bb.tar", "").to_str().unwrap(),
        "busybox",
    ])
    .ok();
    let archive = format!("docker-archive:{}", home.scratch().join("bb.tar").display());
    for (tag, options) in [
        ("v2s2", &["--format", "v2s2"][..]),
        ("oci", &["--format", "oci"]),
        (
            "zstd",
            &["--format", "oci", "--dest-compress-format", "zstd"],
        ),
    ] {
        let name = format!("{host}/from/skopeo:{tag}");
        skopeo_copy(options, &archive, &format!("docker://{name}"));
        let theirs = raw(&name);
        let other = Home::new();
        other.run(&["pull", &name]).ok();
        let out = other.run(&["run", "--rm", "--network=none", &name, "echo", tag]);
        assert_eq!(out.ok().trim(), tag);
        let again = format!("{host}/again/by-us:{tag}");
        other.run(&["tag", &name, &again]).ok();
        let pushed = other.run(&["push", &again]);
        let text = pushed.ok();
        assert!(
            text.contains(": Mounted from from/skopeo") || text.contains(": Layer already exists"),
            "{text}"
        );
        assert!(text.contains(&Digest::of(&theirs).to_string()), "{text}");
        assert!(raw(&again) == theirs, "{tag}");
    }
}

#[test]
fn skopeo_reads_each_form_that_is_pushed() {
    if !needs(&NEEDS) {
        return;
    }
    let (server, home) = (RegistryServer::plain(), Home::new());
    let host = server.host();
    let name = format!("{host}/forms:1");
    build(&home, &name, &[]);
    let oci = "application/vnd.oci.image.layer.v1.tar";
    let docker = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    for (form, kind) in [
        (&["--compression", "gzip"][..], format!("{oci}+gzip")),
        (
            &["--compression", "zstd", "--compression-level", "1"],
            format!("{oci}+zstd"),
        ),
        (
            &["--compression", "zstd", "--compression-level", "12"],
            format!("{oci}+zstd"),
        ),
        (&["--compression", "uncompressed"], oci.to_owned()),
        (&["--format", "v2s2"], docker.to_owned()),
    ] {
        home.run(&[&["push", "-q"], form, &[&name]].concat()).ok();
        let manifest = manifest(&name);
        for layer in manifest["layers"].as_array().unwrap() {
            assert_eq!(layer["mediaType"], kind, "{form:?}");
        }
        // It checks every digest, and that of the plain tars when it decompresses.
        let to = home.scratch().join("copied");
        skopeo_copy(
            &["--dest-decompress"],
            &format!("docker://{name}"),
            &format!("dir:{}", to.display()),
        );
        let other = Home::new();
        other.run(&["pull", "-q", &name]).ok();
        assert_eq!(id(&other, &name), id(&home, &name), "{form:?}");
    }
    let refused = home.run(&["push", "--compression", "estargz", &name]);
    refused.fails(1, "compression `estargz` is not supported");
    let refused = home.run(&["push", "--compression-level", "10", &name]);
    refused.fails(1, "invalid compression level 10 for gzip");
}

#[test]
fn layers_from_elsewhere_are_compressed_anew_when_forced() {
    if !needs(&NEEDS) {
        return;
    }
    let (server, home) = (RegistryServer::plain(), Home::new());
    let name = format!("{}/forced:1", server.host());
    build(&home, &name, &[]);
    home.run(&["push", "-q", &name]).ok();
    let other = Home::new();
    other.run(&["pull", "-q", &name]).ok();
    let before = raw(&name);
    other
        .run(&["push", "-q", "--compression", "zstd", &name])
        .ok();
    assert!(raw(&name) == before, "what came compressed goes as it came");
    let force = [
        "push",
        "-q",
        "--compression=zstd",
        "--force-compression",
        &name,
    ];
    other.run(&force).ok();
    let layers = manifest(&name)["layers"].clone();
    for layer in layers.as_array().unwrap() {
        assert_eq!(
            layer["mediaType"],
            "application/vnd.oci.image.layer.v1.tar+zstd"
        );
    }
}

#[test]
fn a_name_of_several_platforms_is_pushed_with_its_index() {
    if !needs(&NEEDS) {
        return;
    }
    let (server, home) = (RegistryServer::plain(), Home::new());
    let name = format!("{}/several:1", server.host());
    build(&home, &name, &["--platform", "linux/amd64,linux/arm64"]);
    let pushed = home.run(&["push", &name]);
    let text = pushed.ok();
    let index = raw(&name);
    assert!(text.contains(&Digest::of(&index).to_string()), "{text}");
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(
        index["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    let architecture = |one: &Value| one["platform"]["architecture"].as_str().map(str::to_owned);
    let manifests = index["manifests"].as_array().unwrap();
    let there: Vec<_> = manifests.iter().filter_map(architecture).collect();
    assert_eq!(there, ["amd64", "arm64"]);

    let all = format!("dir:{}", home.scratch().join("all").display());
    skopeo_copy(&["--all"], &format!("docker://{name}"), &all);
    for architecture in ["amd64", "arm64"] {
        let other = Home::new();
        let platform = format!("linux/{architecture}");
        other
            .run(&["pull", "-q", "--platform", &platform, &name])
            .ok();
        let label = [
            "inspect",
            "-f",
            "{{.Config.Labels.arch}} {{.Architecture}}",
            &name,
        ];
        let expected = format!("{architecture} {architecture}");
        assert_eq!(other.run(&label).ok().trim(), expected);
    }
    let other = Home::new();
    let wrong = other.run(&["pull", "--platform", "linux/s390x", &name]);
    wrong.fails(1, "no matching manifest for linux/s390x");

    // One of them alone.
    let one = format!("{}/several:arm", server.host());
    home.run(&["tag", &name, &one]).ok();
    home.run(&["push", "-q", "--platform", "linux/arm64", &one])
        .ok();
    assert_eq!(Digest::of(&raw(&one)).to_string(), manifests[1]["digest"]);
    let wrong = home.run(&["push", "--platform", "linux/s390x", &one]);
    wrong.fails(1, "does not provide the specified platform (linux/s390x)");

    // And in Docker's words.
    home.run(&["push", "-q", "--format", "v2s2", &one]).ok();
    let index = manifest(&one);
    let kind = "application/vnd.docker.distribution.manifest.list.v2+json";
    assert_eq!(index["mediaType"], kind);
    skopeo_copy(&["--all"], &format!("docker://{one}"), &all);
}

#[test]
fn all_tags_go_and_come() {
    if !needs(&NEEDS) {
        return;
    }
    let (server, home) = (RegistryServer::plain(), Home::with_busybox());
    let repository = format!("{}/tags", server.host());
    for tag in ["a", "b"] {
        home.run(&["tag", "busybox", &format!("{repository}:{tag}")])
            .ok();
    }
    let pushed = home.run(&["push", "--all-tags", &repository]);
    let text = pushed.ok();
    assert!(
        text.contains("a: digest: ") && text.contains("b: digest: "),
        "{text}"
    );
    let other = Home::new();
    other.run(&["pull", "-a", &repository]).ok();
    let listed = other.run(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"]);
    let expected = format!("{repository}:a <none>\n{repository}:b <none>");
    assert_eq!(listed.ok(), expected);
    let listed = other.run(&["images", "--digests", "--format", "{{.Tag}} {{.Digest}}"]);
    let digest = Digest::of(&raw(&format!("{repository}:a")));
    assert_eq!(listed.ok(), format!("a {digest}\nb {digest}"));
    let inspect = [
        "inspect",
        "-f",
        "{{json .RepoDigests}}",
        &format!("{repository}:a"),
    ];
    let expected = format!("[\"{repository}@{digest}\"]");
    assert_eq!(other.run(&inspect).ok().trim(), expected);
}

/// The layers of the image under a name, bottom first.
fn layers(name: &str) -> Vec<(Digest, usize)> {
    let manifest = manifest(name);
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers
        .map(|layer| {
            let size = layer["size"].as_u64().unwrap();
            let digest = layer["digest"].as_str().unwrap().parse().unwrap();
            (digest, usize::try_from(size).unwrap())
        })
        .collect()
}

#[test]
fn what_came_before_a_process_died_is_not_fetched_again() {
    if !needs(&NEEDS) {
        return;
    }
    let (server, home) = (RegistryServer::plain(), Home::new());
    let name = format!("{}/resumed:1", server.host());
    build(&home, &name, &[]);
    home.run(&["push", "-q", &name]).ok();
    let (digest, size) = layers(&name)[0];
    let blob = std::fs::read(server.blob_path(digest)).unwrap();
    assert_eq!(blob.len(), size);

    let other = Home::new();
    other.run(&["images"]).ok();
    let partial = other.root().join("partial");
    std::fs::create_dir_all(&partial).unwrap();
    let partial = partial.join(digest.hex());
    // The registry's own bytes are wrong where ours are there already.
    std::fs::write(&partial, &blob[..size / 2]).unwrap();
    let mut damaged = blob.clone();
    damaged[..size / 2].fill(0);
    std::fs::write(server.blob_path(digest), &damaged).unwrap();
    other.run(&["pull", "-q", &name]).ok();
    assert!(!partial.exists());
    assert_eq!(id(&other, &name), id(&home, &name));

    // A beginning that is wrong is not believed.
    std::fs::write(server.blob_path(digest), &blob).unwrap();
    let third = Home::new();
    third.run(&["images"]).ok();
    let partial = third.root().join("partial");
    std::fs::create_dir_all(&partial).unwrap();
    std::fs::write(partial.join(digest.hex()), &damaged[..size / 2]).unwrap();
    third.run(&["pull", "-q", &name]).ok();
    assert_eq!(id(&third, &name), id(&home, &name));
    assert_eq!(std::fs::read_dir(&partial).unwrap().count(), 0);
}

#[test]
fn processes_that_pull_one_image_fetch_it_once() {
    if !needs(&NEEDS) {
        return;
    }
    let (server, home) = (RegistryServer::plain(), Home::new());
    let name = format!("{}/shared:1", server.host());
    build(&home, &name, &[]);
    home.run(&["push", "-q", &name]).ok();
    let other = Home::new();
    let pulled: Vec<String> = std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| other.run(&["pull", &name]).ok().to_owned()))
            .collect();
        pulls.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for (digest, _) in layers(&name) {
        let line = format!("{}: Pull complete", digest.short());
        let brought = pulled.iter().filter(|text| text.contains(&line)).count();
        assert_eq!(brought, 1, "{pulled:#?}");
    }
}
