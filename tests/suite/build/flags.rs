//! The command line of `build`.

use serde_json::json;

use super::{FILES, Project, RUNS, needs};

#[test]
fn names_and_the_id_file_point_at_the_image() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nLABEL a=b\nCOPY Dockerfile /\n");
    let file = project.home().scratch().join("id");
    let path = file.to_str().unwrap();
    project.build(&["-t", "two:v1", "-t", "reg.example/three", "--iidfile", path]);
    let id = project.image().id;
    for name in ["two:v1", "reg.example/three:latest"] {
        assert_eq!(project.image_named(name).id, id, "{name}");
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), id.to_string());
    let outcome = project.build(&["-q"]);
    assert_eq!(outcome.text(), id.to_string());
    assert_eq!(outcome.stderr, "");
}

#[test]
fn a_rebuilt_name_moves_and_the_old_image_stays() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nCOPY Dockerfile /\n");
    project.build(&[]);
    let old = project.image().id;
    project.file(
        "Dockerfile",
        "FROM scratch\nLABEL new=1\nCOPY Dockerfile /\n",
    );
    project.build(&[]);
    assert_ne!(project.image().id, old);
    project.image_named(&old.to_string());
}

#[test]
fn arguments_replace_defaults_and_stay_in_scope() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch(
        "ARG G=global\nFROM scratch AS one\nARG G\nARG D=default\nARG E\n\
         LABEL g=$G d=$D e=$E u=$UNKNOWN\n\
         FROM scratch\nARG TARGETARCH\nLABEL g=$G arch=$TARGETARCH\n",
    );
    let labels = |more: &[&str]| {
        project.build(more);
        project.config()["config"]["Labels"].clone()
    };
    let one = labels(&["--target", "one"]);
    assert_eq!(
        one,
        json!({"g": "global", "d": "default", "e": "", "u": ""})
    );
    let given = [
        "--target=ONE",
        "--build-arg",
        "G=1",
        "--build-arg=D=2",
        "--build-arg=E=a=b",
    ];
    assert_eq!(
        labels(&given),
        json!({"g": "1", "d": "2", "e": "a=b", "u": ""})
    );
    let last = labels(&["--build-arg", "G=1"]);
    let architecture = rbuild::oci::Platform::host().architecture;
    assert_eq!(last, json!({"g": "", "arch": architecture}));
    let arguments = project.arguments(&["--target", "0", "--build-arg", "E"]);
    let mut command = project.home().command(&arguments);
    let output = command.env("E", "from outside").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(project.config()["config"]["Labels"]["e"], "from outside");
}

#[test]
fn hosts_are_added_to_steps_only() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN cat /etc/hosts > /seen\n");
    project.build(&["--add-host", "one:10.1.2.3", "--add-host=six=fd00::1"]);
    let tree = project.tree();
    let seen = tree.text("seen");
    assert!(
        seen.contains("10.1.2.3\tone") && seen.contains("fd00::1\tsix"),
        "{seen}"
    );
    assert!(!tree.has("etc/hosts"));
    project
        .try_build(&["--add-host", "nonsense"])
        .fails(1, "nonsense");
}

#[test]
fn words_that_are_no_platform_are_refused() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\nLABEL a=b\n");
    project
        .try_build(&["--platform", "a/b/c/d"])
        .fails(1, "platform");
    let own = rbuild::oci::Platform::host().to_string();
    project.build(&["--platform", &own]);
    project.refuses("FROM --platform=a/b/c/d scratch\nLABEL a=b\n", "a/b/c/d");
}

#[test]
fn later_flags_are_refused_by_name() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("FROM scratch\n");
    for flag in ["--sbom=true", "--attest=type=sbom"] {
        let outcome = project.try_build(&[flag]);
        outcome.fails(1, "not available in this version");
        let name = flag.split('=').next().unwrap();
        assert!(outcome.stderr.contains(name), "{outcome:?}");
    }
}

#[test]
fn of_a_flag_given_twice_the_last_counts() {
    if !needs(&FILES) {
        return;
    }
    let project =
        Project::from_scratch("FROM scratch AS one\nLABEL n=1\nFROM scratch\nLABEL n=2\n");
    project.build(&[
        "--target=nothing",
        "--target=one",
        "--progress=tty",
        "--progress=plain",
    ]);
    assert_eq!(project.config()["config"]["Labels"]["n"], "1");
}

#[test]
fn limits_reach_the_steps() {
    if !needs(&RUNS) {
        return;
    }
    let project =
        Project::on_busybox("FROM busybox\nRUN ulimit -n > /files; df -k /dev/shm > /shm\n");
    project.build(&["--ulimit", "nofile=123:456", "--shm-size", "2m"]);
    let tree = project.tree();
    assert_eq!(tree.text("files"), "123\n");
    assert!(tree.text("shm").contains(" 2048 "), "{}", tree.text("shm"));
}
