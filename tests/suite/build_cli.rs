//! `build` as its user sees it: progress, failures, questions, interrupts.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Home, Need, Outcome, needs};

const ALL: [Need; 3] = [Need::Root, Need::Busybox, Need::Overlay];

/// A data root with busybox and a context with this Dockerfile.
fn home(dockerfile: &str) -> (Home, String) {
    let home = Home::with_busybox();
    let path = home.file("context/Dockerfile", dockerfile);
    let context = path.parent().unwrap().to_str().unwrap().to_owned();
    (home, context)
}

fn build(home: &Home, arguments: &[&str]) -> Outcome {
    let mut all = vec!["build", "--network=none"];
    all.extend(arguments);
    home.run(&all)
}

#[test]
fn plain_progress_tells_each_step() {
    if !needs(&ALL) {
        return;
    }
    let (home, context) = home("FROM busybox\nRUN echo out; echo err >&2\n");
    let first = build(&home, &["--progress=plain", "-t", "user/app", &context]);
    first.ok();
    assert!(first.stdout.is_empty(), "{first:?}");
    for part in [
        "[1/2] FROM docker.io/library/busybox:latest\n",
        "[2/2] RUN echo out; echo err >&2\n",
        " out\n",
        " err\n",
        " DONE 0.",
    ] {
        assert!(first.stderr.contains(part), "{part} in {}", first.stderr);
    }
    let second = build(&home, &["--progress=plain", "-t", "user/app", &context]);
    let text = second.stderr.replace('\r', "");
    assert!(
        text.contains("[2/2] RUN echo out; echo err >&2\n#"),
        "{text}"
    );
    assert!(text.contains(" CACHED\n"), "{text}");
    assert!(!text.contains(" out\n"), "{text}");
}

#[test]
fn a_failed_step_shows_its_log_place_and_code() {
    if !needs(&ALL) {
        return;
    }
    let (home, context) = home("FROM busybox\nRUN true\nRUN echo why; exit 3\nCMD x\n");
    for mode in ["plain", "quiet", "none"] {
        let outcome = build(&home, &[&format!("--progress={mode}"), &context]);
        outcome.fails(1, "ERROR: failed to build: failed to solve: process \"/bin/sh -c echo why; exit 3\" did not complete successfully: exit code: 3");
        for part in [
            "------\n > [3/3] RUN echo why; exit 3:\n",
            " why\n",
            "Dockerfile:3\n--------------------\n",
            "   2 |     RUN true\n   3 | >>> RUN echo why; exit 3\n   4 |     CMD x\n",
        ] {
            assert!(
                outcome.stderr.contains(part),
                "{part} in {}",
                outcome.stderr
            );
        }
    }
}

#[test]
fn a_dockerfile_with_errors_shows_all_of_them() {
    if !needs(&ALL) {
        return;
    }
    let (home, context) = home("FROM busybox\nCOPPY a b\nUSRE x\n");
    let outcome = build(&home, &[&context]);
    outcome.fails(
        1,
        "dockerfile parse error on line 2: unknown instruction: COPPY",
    );
    for part in [
        "Dockerfile:2:1",
        "did you mean COPY?",
        "Dockerfile:3:1",
        "did you mean USER?",
    ] {
        assert!(
            outcome.stderr.contains(part),
            "{part} in {}",
            outcome.stderr
        );
    }
}

#[test]
fn quiet_prints_the_id_and_iidfile_holds_it() {
    if !needs(&ALL) {
        return;
    }
    let (home, context) = home("FROM busybox\nLABEL a=b\n");
    let file = home.scratch().join("iid");
    let arguments = ["-q", "--iidfile", file.to_str().unwrap(), &context];
    let outcome = build(&home, &arguments);
    let id = outcome.ok().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(outcome.stderr, "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    let shown = home
        .run(&["inspect", "-f", "{{.Config.Labels.a}}", &id])
        .ok()
        .to_owned();
    assert_eq!(shown, "b");
}

#[test]
fn a_dockerfile_may_come_from_standard_input() {
    if !needs(&ALL) {
        return;
    }
    let (home, context) = home("FROM nothing\n");
    let text = b"FROM busybox\nLABEL from=stdin\n";
    home.run_with(&["build", "-t", "one", "-"], text).ok();
    home.run_with(&["-t", "two", "-f", "-", &context], text)
        .ok();
    for name in ["one", "two"] {
        let label = home
            .run(&["inspect", "-f", "{{.Config.Labels.from}}", name])
            .ok()
            .to_owned();
        assert_eq!(label, "stdin");
    }
}

#[test]
fn questions_are_answered_without_a_build() {
    if !needs(&[Need::Root]) {
        return;
    }
    let home = Home::new();
    let text = "# greeting what to say\nARG greeting=hello\nFROM nothing as base\n\n\
                FROM base AS app\nARG version=1\nRUN x\n";
    let path = home.file("context/Dockerfile", text);
    let context = path.parent().unwrap().to_str().unwrap();
    let outcome = home.run(&["build", "--call=targets,format=json", context]);
    let targets: Value = serde_json::from_str(outcome.ok()).unwrap();
    assert_eq!(targets["targets"][0]["name"], "base");
    assert_eq!(targets["targets"][1]["default"], true);
    assert_eq!(
        targets["targets"][1]["location"]["ranges"][0]["start"]["line"],
        5
    );
    let outline = home
        .run(&["build", "--call=outline", context])
        .ok()
        .to_owned();
    // The global argument is used by no stage.
    assert!(
        !outline.contains("greeting") && outline.contains("version"),
        "{outline}"
    );
    let check = home.run(&["build", "--check", context]);
    assert_eq!(check.code, 1);
    assert!(
        check.text().contains("WARNING: FromAsCasing - https://"),
        "{}",
        check.text()
    );
    assert!(
        check.text().contains("\nDockerfile:3\n"),
        "{}",
        check.text()
    );
    let skipped = format!("# check=skip=all\n{text}");
    std::fs::write(&path, skipped).unwrap();
    let check = home.run(&["build", "--check", context]);
    assert_eq!(check.ok(), "Check complete, no warnings found.");
}

#[test]
fn the_outline_has_what_the_target_uses() {
    if !needs(&[Need::Root]) {
        return;
    }
    let home = Home::new();
    let text = "# BASE the image to begin with\nARG BASE=\"nothing:${TAG}\"\nARG TAG=1\nARG BASE=nothing:${TAG}\n\
                ARG UNUSED\n\
                FROM $BASE AS tools\n# LEVEL how much\nARG LEVEL=2\nARG TARGETARCH\n\
                RUN --mount=type=secret,id=key,required x\n\
                # app the program\nFROM scratch AS app\nARG LEVEL=3\nARG TAG\n\
                COPY --from=tools /x /\nRUN --mount=type=ssh --mount=type=cache,target=/c/$LEVEL x\n\
                FROM scratch AS other\nARG ELSE=1\n";
    let path = home.file("context/Dockerfile", text);
    let context = path.parent().unwrap().to_str().unwrap();
    let ask = [
        "build",
        "--call=outline",
        "--target=app",
        "--build-arg=TAG=9",
        context,
    ];
    let want = "TARGET:      app\nDESCRIPTION: the program\n\n\
                BUILD ARG   VALUE       DESCRIPTION\n\
                BASE        nothing:9\n\
                LEVEL       3\n\
                TAG         9\n\n\
                SECRET    REQUIRED\n\
                key       true\n\n\
                SSH       REQUIRED\n\
                default\n\n\
                CACHE MOUNT\n\
                /c/3";
    assert_eq!(home.run(&ask).ok(), want);
    let ask = [
        "build",
        "--call=outline,format=json",
        "--target=app",
        context,
    ];
    let outline: Value = serde_json::from_str(home.run(&ask).ok()).unwrap();
    assert_eq!(outline["name"], "app");
    assert_eq!(outline["args"][2]["name"], "LEVEL");
    assert_eq!(outline["secrets"][0]["required"], true);
    assert_eq!(
        outline["secrets"][0]["location"]["ranges"][0]["start"]["line"],
        10
    );
    assert_eq!(
        outline["ssh"][0],
        serde_json::json!({
            "name": "default",
            "location": {"ranges": [{"start": {"line": 16}, "end": {"line": 16}}]},
        })
    );
    assert_eq!(outline["cache"][0]["ID"], "/c/3");
    let ask = ["build", "--call=outline", "--target=ap", context];
    home.run(&ask).fails(
        1,
        "target stage \"ap\" could not be found (did you mean app?)",
    );
}

#[test]
fn questions_are_asked_of_archives_and_standard_input() {
    if !needs(&[Need::Root]) {
        return;
    }
    let home = Home::new();
    let text = b"FROM scratch as base\nCOPY file /\nFROM base AS app\n";
    let ask = |question: &str, input: &[u8]| {
        home.run_with(&["build", &format!("--call={question}"), "-"], input)
    };
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [("Dockerfile", &text[..]), (".dockerignore", b"file\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content).unwrap();
    }
    let archive = archive.into_inner().unwrap();
    let rules = |outcome: &crate::support::Outcome| outcome.text().matches("\nWARNING: ").count();
    let alone = ask("check", text);
    assert_eq!((alone.code, rules(&alone)), (1, 1), "{alone:?}");
    assert!(alone.text().contains("\nDockerfile:1\n"), "{alone:?}");
    // The archive brings an ignore file, too.
    let packed = ask("check", &archive);
    assert_eq!((packed.code, rules(&packed)), (1, 2), "{packed:?}");
    assert_eq!(ask("check,ignorestatus=true", &archive).code, 0);
    for input in [&text[..], &archive] {
        let targets = ask("targets", input);
        assert_eq!(
            targets.ok(),
            "TARGET          DESCRIPTION\nbase\napp (default)"
        );
    }
    let broken = ask("check,format=json", b"FROM a\nCOPPY b c\n");
    assert_eq!(broken.code, 1);
    let answer: Value = serde_json::from_slice(&broken.stdout).unwrap();
    assert_eq!(answer["warnings"], Value::Null);
    let message = "dockerfile parse error on line 2: unknown instruction: COPPY";
    assert_eq!(answer["buildError"]["message"], message);
    assert_eq!(
        answer["buildError"]["location"]["ranges"][0]["start"]["line"],
        2
    );
    ask("targets", b"FROM a\nCOPPY b c\n").fails(1, "did you mean COPY?");
    let described = ask("subrequests.describe", b"");
    assert!(described.ok().starts_with("NAME "), "{described:?}");
    ask("nothing", b"").fails(1, "--call=nothing");
}

#[test]
fn an_interrupt_ends_a_build_with_130() {
    if !needs(&ALL) {
        return;
    }
    let (home, context) = home("FROM busybox\nRUN sleep 300\n");
    let mut child = home
        .command(&["build", "--network=none", "--progress=plain", &context])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    // Once its log says that the step runs, the step can be interrupted.
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("RUN sleep") {
        line.clear();
        assert_ne!(
            std::io::BufRead::read_line(&mut stderr, &mut line).unwrap(),
            0
        );
    }
    let asked = Instant::now();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stderr, &mut rest).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(
        (status.code(), status.signal()),
        (Some(130), None),
        "{rest}"
    );
    assert!(asked.elapsed() < Duration::from_secs(10), "{rest}");
    assert!(rest.contains("CANCELED"), "{rest}");
}
