//! Contexts by name, and what the command line wants of stages.

use super::{FILES, Need, Project, RUNS, needs};
use crate::support::{Repository, Web};

#[test]
fn a_named_directory_has_an_ignore_file_of_its_own() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM other\nCOPY --from=other a /copied\nCOPY main /\n");
    project.file("main", "m");
    project.file(".dockerignore", "a\n");
    let other = project.home().file("other/a", "of other");
    project.home().file("other/b", "ignored");
    project
        .home()
        .file("other/.dockerignore", "b\n.dockerignore\n");
    let value = format!("other={}", other.parent().unwrap().display());
    project.build(&["--build-context", &value]);
    assert_eq!(
        project.tree().files(),
        ["a=of other", "copied=of other", "main=m"]
    );
    let again = project.build(&["--build-context", &value]);
    assert_eq!(again.ended("DONE"), [""; 0]);
    project.home().file("other/a", "changed");
    project.build(&["--build-context", &value]);
    assert_eq!(project.tree().text("copied"), "changed");
}

#[test]
fn a_context_replaces_stages_and_images() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM nowhere.example/none AS base\nRUN false\nFROM base\nCOPY --from=third /t /\n",
    );
    project.home().file("third/t", "t");
    let third = format!("third={}", project.home().scratch().join("third").display());
    project.build(&[
        "--build-context",
        "base=docker-image://busybox",
        "--build-context",
        &third,
    ]);
    assert!(project.tree().has("bin/busybox"));
    assert_eq!(project.tree().text("t"), "t");
    project.build(&[
        "--build-context",
        "BASE=docker-image://scratch",
        "--build-context",
        &third,
    ]);
    assert_eq!(project.tree().files(), ["t=t"]);
    // An image by any of its names.
    project.file(
        "Dockerfile",
        "FROM alpine\nCOPY --from=docker.io/library/alpine:latest /t /again\n",
    );
    let alpine = third.replace("third=", "docker.io/library/alpine:latest=");
    project.build(&["--build-context", &alpine]);
    assert_eq!(project.tree().files(), ["again=t", "t=t"]);
    // A stage under another name.
    project.file(
        "Dockerfile",
        "FROM scratch AS one\nCOPY Dockerfile /d\nFROM two\nLABEL a=b\n",
    );
    project.build(&["--build-context", "two=target:one"]);
    assert!(project.tree().has("d"));
    project
        .try_build(&["--build-context", "two=target:onn"])
        .fails(1, "did you mean one?");
    let text = project.config().to_string();
    assert!(text.contains("\"a\":\"b\""), "{text}");
}

#[test]
fn an_image_of_a_layout_is_a_context() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM base\nRUN echo x > /x\n");
    let archive = project.home().scratch().join("layout.tar");
    project
        .home()
        .run(&["save", "-o", archive.to_str().unwrap(), "busybox"])
        .ok();
    let dir = project.home().scratch().join("layout");
    std::fs::create_dir(&dir).unwrap();
    let mut unpacked = tar::Archive::new(std::fs::File::open(&archive).unwrap());
    unpacked.unpack(&dir).unwrap();
    let fresh = Project::from_scratch("FROM base\nCOPY Dockerfile /x\n");
    let value = |more: &str| format!("base=oci-layout://{}{more}", dir.display());
    fresh.build(&["--build-context", &value("")]);
    assert!(fresh.tree().has("bin/busybox"));
    fresh.build(&["--build-context", &value(":latest")]);
    let index = std::fs::read_to_string(dir.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    fresh.build(&["--build-context", &value(&format!("@{digest}"))]);
    // The layout's names are not this store's.
    assert!(!fresh.home().run(&["images"]).ok().contains("busybox"));
    for more in [":none", "@sha256:00"] {
        fresh
            .try_build(&["--build-context", &value(more)])
            .fails(1, "has no image");
    }
}

#[test]
fn servers_have_named_contexts_too() {
    if !needs(&[Need::Root, Need::Git]) {
        return;
    }
    let web = Web::new();
    let project = Project::from_scratch(
        "FROM scratch\nCOPY --from=git f /git\nCOPY --from=web /context /web\n",
    );
    let served = project.home().scratch().join("served");
    let repository = Repository::new(&served.join("r"));
    repository.file("f", "of git");
    repository.commit();
    web.serve_files(&served);
    web.file("/x", "of web");
    let git = format!("git={}", web.url("/r/.git#main"));
    let url = format!("web={}", web.url("/x"));
    project.build(&["--build-context", &git, "--build-context", &url]);
    assert_eq!(project.tree().files(), ["git=of git", "web=of web"]);
}

#[test]
fn wrong_contexts_are_refused() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\n");
    for (value, part) in [
        ("x", "expected key=value"),
        ("x=", "expected key=value"),
        ("x=/no/such/dir", "no such file or directory"),
        ("x=ftp://h/a", "unsupported context source ftp for x"),
        ("x=oci-layout:///no/such", "failed to build"),
    ] {
        project
            .try_build(&["--build-context", value])
            .fails(1, part);
    }
    project.file("Dockerfile", "FROM x\nLABEL a=b\n");
    project
        .try_build(&["--build-context", "x=docker-image://none/such"])
        .fails(1, "none/such");
}

#[test]
fn stages_can_be_kept_from_the_cache() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS one\nRUN echo 1 > /one\nFROM busybox AS two\nRUN echo 2 > /two\n\
         FROM busybox\nCOPY --from=one /one /\nCOPY --from=two /two /\n",
    );
    project.build(&[]);
    let outcome = project.build(&["--no-cache-filter", "TWO"]);
    assert_eq!(outcome.ended("DONE"), ["RUN echo 2 > /two"]);
    // What stands on them is the same, and so it stays.
    let copies = ["COPY --from=one /one /", "COPY --from=two /two /"];
    assert!(
        copies
            .iter()
            .all(|copy| outcome.ended("CACHED").contains(&(*copy).to_owned()))
    );
    let outcome = project.build(&["--no-cache-filter", "one,two"]);
    let mut done = outcome.ended("DONE");
    done.sort();
    assert_eq!(done, ["RUN echo 1 > /one", "RUN echo 2 > /two"]);
}

#[test]
fn what_stands_on_a_stage_that_ran_again_sees_its_new_result() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /id\n\
         FROM busybox\nCOPY --from=one /id /\nRUN cp /id /copy\n",
    );
    project.build(&[]);
    let first = project.tree().text("copy");
    project.build(&["--no-cache-filter=one"]);
    let second = project.tree().text("copy");
    assert_ne!(first, second);
    assert_eq!(project.tree().text("id"), second);
    // From now on this is what the cache holds.
    assert_eq!(project.build(&[]).ended("DONE"), [""; 0]);
    assert_eq!(project.tree().text("copy"), second);
}

#[test]
fn further_stages_must_succeed() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS test\nRUN test -e /ok\nFROM busybox AS app\nRUN echo app > /app\n",
    );
    // Nothing needs the first stage.
    project.build(&[]);
    project
        .try_build(&["--also-target", "test"])
        .fails(1, "test -e /ok");
    project
        .try_build(&["--also-target", "tst"])
        .fails(1, "did you mean test?");
    project.file(
        "Dockerfile",
        "FROM busybox AS test\nRUN echo t > /t\nFROM busybox AS app\nRUN echo app > /app\n",
    );
    let outcome = project.build(&["--also-target", "test"]);
    assert!(
        outcome
            .ended("DONE")
            .contains(&"RUN echo t > /t".to_owned())
    );
    // It leaves no trace in the image.
    assert!(!project.tree().has("t"));
    project.file(
        "Dockerfile",
        "FROM busybox AS test\nRUN false\nFROM --after=test busybox AS app\nRUN echo late > /app\n",
    );
    let outcome = project.try_build(&[]);
    outcome.fails(1, "exit code: 1");
    let steps = outcome.steps();
    assert!(
        steps.iter().all(|(name, _)| !name.contains("late")),
        "{steps:?}"
    );
    project.refuses(
        "FROM --after=none scratch\nLABEL a=b\n",
        "could not be found",
    );
}

#[test]
fn platforms_may_differ_in_one_file() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM --platform=$BUILDPLATFORM busybox AS tool\nARG TARGETPLATFORM TARGETSTAGE\n\
         RUN echo $TARGETPLATFORM $TARGETSTAGE > /p\nFROM --platform=linux/s390x scratch\nCOPY --from=tool /p /\n",
    );
    project.build(&[]);
    let host = rbuild::oci::Platform::host();
    assert_eq!(project.tree().text("p"), format!("{host} default\n"));
    assert_eq!(project.config()["architecture"], "s390x");
    // An image that is there only for another machine is told.
    project.file(
        "Dockerfile",
        "FROM --platform=linux/s390x busybox\nLABEL a=b\n",
    );
    let outcome = project.build(&[]);
    assert!(
        outcome.stderr.contains("InvalidBaseImagePlatform"),
        "{}",
        outcome.stderr
    );
    project.refuses("FROM --platform=$NONE busybox\n", "empty platform value");
}

#[test]
fn other_syntaxes_are_warned_about() {
    if !needs(&FILES) {
        return;
    }
    let project =
        Project::from_scratch("# syntax=docker/dockerfile:1.7-labs\nFROM scratch\nLABEL a=b\n");
    assert!(!project.build(&[]).stderr.contains("is not run"));
    project.file(
        "Dockerfile",
        "# syntax=example.org/other:1\nFROM scratch\nLABEL a=b\n",
    );
    let outcome = project.build(&[]);
    assert!(
        outcome.stderr.contains("`example.org/other:1` is not run"),
        "{}",
        outcome.stderr
    );
    assert!(
        outcome.stderr.contains("(Dockerfile:1)"),
        "{}",
        outcome.stderr
    );
    let outcome = project.build(&["--build-arg", "BUILDKIT_SYNTAX=docker/dockerfile:1"]);
    assert!(!outcome.stderr.contains("is not run"));
}
