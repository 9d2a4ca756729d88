//! Several platforms in one build.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{FILES, Project, RUNS, needs};
use crate::support::Home;

/// A file of its own for every platform.
const WHOAMI: &str = "\
FROM scratch
ARG TARGETARCH
ARG TARGETPLATFORM
LABEL target=$TARGETPLATFORM
COPY arch-$TARGETARCH /whoami
";

fn project() -> Project {
    let project = Project::from_scratch(WHOAMI);
    for arch in ["amd64", "arm64", "arm", "s390x"] {
        project.file(&format!("arch-{arch}"), format!("i am {arch}"));
    }
    project
}

fn path(project: &Project, name: &str) -> String {
    let path = project.home().scratch().join(name);
    path.to_str().unwrap().to_owned()
}

fn document(layout: &str, digest: &Value) -> Value {
    let hex = digest.as_str().unwrap().strip_prefix("sha256:").unwrap();
    read(&format!("{layout}/blobs/sha256/{hex}"))
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn files_of_each_platform_have_a_directory() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    let out = path(&project, "out");
    let built = project.try_build(&["--platform", "windows/amd64,linux/arm", "-o", &out]);
    built.ok();
    let named = built.stderr.contains("[windows/amd64 1/1] COPY");
    assert!(named, "{}", built.stderr);
    let text = |name: &str| std::fs::read_to_string(format!("{out}/{name}/whoami")).unwrap();
    assert_eq!(text("windows_amd64"), "i am amd64");
    assert_eq!(text("linux_arm_v7"), "i am arm");
    let flat = format!("type=local,dest={out},platform-split=false");
    let collision = project.try_build(&["--platform", "linux/s390x,linux/arm", "-o", &flat]);
    collision.fails(
        1,
        "cannot overwrite whoami from linux/s390x with linux/arm/v7",
    );
    let split = format!("type=local,dest={out}/one,platform-split=true");
    project
        .try_build(&["--platform", "linux/s390x", "-o", &split])
        .ok();
    assert!(Path::new(&out).join("one/linux_s390x/whoami").exists());
}

#[test]
fn an_index_names_each_platform() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    let layout = path(&project, "layout");
    let output = format!("type=oci,tar=false,dest={layout}");
    let facts = path(&project, "facts.json");
    project
        .try_build(&[
            "--platform=linux/amd64,linux/arm/v6,linux/arm64/v8",
            "-o",
            &output,
            "--annotation=index:i=1",
            "--annotation=index-descriptor:d=2",
            "--annotation=manifest[linux/arm64]:m=3",
            "--annotation=manifest-descriptor:n=4",
            "--metadata-file",
            &facts,
        ])
        .ok();
    let top = read(&format!("{layout}/index.json"));
    let top = &top["manifests"][0];
    assert_eq!(top["annotations"]["d"], "2");
    let index = document(&layout, &top["digest"]);
    assert_eq!(index["annotations"]["i"], "1");
    let shown = |one: &Value| {
        assert_eq!(one["annotations"]["n"], "4");
        let manifest = document(&layout, &one["digest"]);
        let config = document(&layout, &manifest["config"]["digest"]);
        let label = config["config"]["Labels"]["target"].as_str().unwrap();
        let own = &manifest["annotations"]["m"];
        format!("{} {label} {own}", one["platform"])
    };
    let manifests = index["manifests"].as_array().unwrap();
    let platforms: Vec<String> = manifests.iter().map(shown).collect();
    let expected = [
        r#"{"architecture":"amd64","os":"linux"} linux/amd64 null"#,
        r#"{"architecture":"arm","os":"linux","variant":"v6"} linux/arm/v6 null"#,
        r#"{"architecture":"arm64","os":"linux"} linux/arm64 "3""#,
    ];
    assert_eq!(platforms, expected);
    assert_eq!(read(&facts)["containerimage.digest"], top["digest"]);
    let docker = format!("type=docker,dest={}", path(&project, "d.tar"));
    project
        .try_build(&["--platform=linux/amd64,linux/arm64", "-o", &docker])
        .fails(
            1,
            "docker exporter does not currently support exporting manifest lists",
        );
}

/// The blobs of an archive.
fn blobs(file: &str) -> Vec<PathBuf> {
    let bytes = std::fs::read(file).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let members = archive.entries().unwrap();
    let names = members.map(|one| one.unwrap().path().unwrap().into_owned());
    names.filter(|path| path.starts_with("blobs")).collect()
}

#[test]
fn a_name_stands_for_every_platform() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    let host = rbuild::oci::Platform::host();
    let other = match host.architecture.as_str() {
        "arm64" => "amd64",
        _ => "arm64",
    };
    let platforms = format!("--platform=linux/s390x,linux/{other},local");
    project.build(&[&platforms, "-t", "also:1"]);
    assert_eq!(project.image().config.architecture, host.architecture);
    project.assert_valid();
    // A stage on it gets the image of its own platform.
    project.file("Dockerfile", "FROM result\nCOPY Dockerfile /own\n");
    project.build(&["--platform", "linux/s390x", "-t", "child"]);
    let child = project.image_named("child");
    assert_eq!(child.config.architecture, "s390x");
    assert_eq!(child.config.config.labels["target"], "linux/s390x");

    // Saved, loaded elsewhere and tagged, it stands for all of them still.
    let saved = path(&project, "saved.tar");
    project.home().run(&["save", "-o", &saved, "also:1"]).ok();
    let other = Home::new();
    let loaded = other.run(&["load", "-i", &saved]);
    assert_eq!(loaded.ok(), "Loaded image: also:1");
    other.run(&["tag", "also:1", "third"]).ok();
    other.run(&["rmi", "also:1"]).ok();
    let again = path(&project, "again.tar");
    other.run(&["save", "-o", &again, "third"]).ok();
    assert_eq!(blobs(&again), blobs(&saved));
    assert_eq!(other.run(&["images", "-q"]).ok().lines().count(), 3);
    // Its last name takes all of them away.
    other.run(&["rmi", "third"]).ok();
    assert_eq!(other.run(&["images", "-aq"]).ok(), "");
}

#[test]
fn stages_of_the_build_platform_run_once() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM --platform=$BUILDPLATFORM busybox AS tools\nRUN echo made > /made\n\
         FROM scratch\nARG TARGETARCH\nCOPY --from=tools /made /\nLABEL a=$TARGETARCH\n",
    );
    let layout = path(&project, "layout");
    let output = format!("type=oci,tar=false,dest={layout}");
    let built = project.try_build(&["--platform=linux/arm64,linux/s390x", "-o", &output]);
    built.ok();
    assert_eq!(
        built.ended("DONE"),
        ["RUN echo made > /made", "COPY --from=tools /made /"]
    );
}

#[test]
fn commands_without_an_emulator_are_refused_with_advice() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM scratch\nCOPY Dockerfile /\nRUN [\"/x\"]\n");
    let refused = project.try_build(&["--platform=linux/mips64"]);
    if refused.stderr.contains("exec format") {
        println!("skipped: this machine emulates mips64");
        return;
    }
    refused.fails(1, "cannot run commands of `linux/mips64`");
    refused.fails(1, "binfmt --install mips64");
    refused.fails(1, "Dockerfile:3");
    project
        .try_build(&["--platform=linux//x"])
        .fails(1, "is not a platform");
}

#[test]
fn the_environment_may_name_the_platform() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    let mut command = project.home().command(&project.arguments(&["-q"]));
    let command = command.env("DOCKER_DEFAULT_PLATFORM", "linux/s390x");
    assert!(command.output().unwrap().status.success());
    assert_eq!(project.image().config.architecture, "s390x");
    project.build(&["--platform", "local"]);
    let host = rbuild::oci::Platform::host();
    assert_eq!(project.image().config.architecture, host.architecture);
}
