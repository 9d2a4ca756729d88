//! `--explain-cache`: the words for each cause.

use std::os::unix::fs::PermissionsExt as _;

use super::{Outcome, Project, RUNS, needs};

/// The lines about each step that say why it was not cached, or how it was.
fn notes(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines();
    let notes = lines.filter_map(|line| line.strip_prefix('#')?.split_once(' '));
    notes
        .map(|(_, text)| text.to_owned())
        .filter(|text| text.starts_with("not cached: ") || text.starts_with("cached: "))
        .collect()
}

#[track_caller]
fn says(outcome: &Outcome, expected: &[&str]) {
    let notes = notes(outcome);
    for part in expected {
        assert!(
            notes.iter().any(|note| note.contains(part)),
            "{part}: {notes:#?}"
        );
    }
}

fn explained(project: &Project, dockerfile: &str, more: &[&str]) -> Outcome {
    project.file("Dockerfile", dockerfile);
    project.build(&[&["--explain-cache"], more].concat())
}

#[test]
fn files_are_named_with_what_became_of_them() {
    if !needs(&RUNS) {
        return;
    }
    let text = "FROM busybox\nCOPY . /all/\nRUN ls /all > /list\n";
    let project = Project::on_busybox(text);
    project.file(".dockerignore", "Dockerfile\n");
    for name in ["same", "content", "mode", "gone"] {
        project.file(name, name);
    }
    project.link("link", "same");
    project.build(&[]);
    project.file("content", "CONTENT");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(project.context().join("mode"), mode).unwrap();
    std::fs::remove_file(project.context().join("gone")).unwrap();
    std::fs::remove_file(project.context().join("link")).unwrap();
    project.link("link", "mode");
    project.file("new/file", "n");
    let outcome = explained(&project, text, &[]);
    says(
        &outcome,
        &[
            "not cached: /all/content changed",
            "not cached: /all/mode changed mode from 0644 to 0755",
            "not cached: /all/gone is gone",
            "not cached: /all/new is new",
            "not cached: /all/link links to mode and did to same",
            "not cached: the step before it has another result: [2/3] COPY . /all/: /all/content changed and 4 more",
        ],
    );
    assert!(!outcome.stderr.contains("/all/same"), "{}", outcome.stderr);
    // Nothing changed: how each step was found.
    let outcome = explained(&project, text, &[]);
    let all = notes(&outcome);
    assert!(
        all.iter().all(|note| note.starts_with("cached: ")),
        "{all:?}"
    );
}

#[test]
fn variables_arguments_and_options_are_named() {
    if !needs(&RUNS) {
        return;
    }
    let text = |env: &str, chown: &str| {
        format!(
            "FROM busybox\nARG V=1\nENV E={env}\nRUN echo $V $E > /v\nCOPY --chown={chown} f /f\n"
        )
    };
    let project = Project::on_busybox(&text("1", "1"));
    project.file("f", "f");
    project.build(&[]);
    let outcome = explained(&project, &text("1", "1"), &["--build-arg", "V=2"]);
    says(
        &outcome,
        &[
            "not cached: build argument V changed from \"1\" to \"2\"",
            "not cached: the step before it has another result: [2/3] RUN echo $V $E > /v: \
             build argument V changed from \"1\" to \"2\"",
        ],
    );
    let outcome = explained(&project, &text("2", "1"), &[]);
    says(
        &outcome,
        &["not cached: variable E changed from \"1\" to \"2\""],
    );
    // Of several earlier runs the most similar one is compared with.
    let outcome = explained(&project, &text("2", "1"), &["--build-arg=V=2"]);
    says(&outcome, &["changed from \"1\" to \"2\""]);
    assert_eq!(
        notes(&outcome)
            .iter()
            .filter(|n| n.contains("argument V") && n.contains("variable E"))
            .count(),
        0
    );
    let host = ["--add-host=db:1.2.3.4"];
    says(
        &explained(&project, &text("2", "1"), &host),
        &["not cached: --add-host db is new"],
    );
    let shell = text("2", "1").replace("ARG V=1", "ARG V=1\nSHELL [\"/bin/sh\", \"-ec\"]");
    says(
        &explained(&project, &shell, &[]),
        &["not cached: the shell changed from"],
    );
    says(
        &explained(&project, &text("2", "2"), &[]),
        &[
            "not cached: this instruction has not been built before; in its place there was `COPY --chown=1 f /f`",
        ],
    );
}

#[test]
fn the_step_that_made_the_difference_is_named() {
    if !needs(&RUNS) {
        return;
    }
    let text = |one: &str| {
        format!(
            "FROM busybox AS make\nRUN echo {one} > /one\nRUN cat /one > /two\n\
             FROM busybox\nCOPY --from=make /two /\nRUN cat /two > /three\n"
        )
    };
    let project = Project::on_busybox(&text("1"));
    project.build(&[]);
    let outcome = explained(&project, &text("2"), &[]);
    says(
        &outcome,
        &[
            "not cached: this instruction has not been built before; in its place there was `RUN echo 1 > /one`",
            "not cached: the step before it has another result: [make 2/3] RUN echo 2 > /one was `RUN echo 1 > /one`",
            "not cached: the stage it copies from has another result: [make 2/3] RUN echo 2 > /one was `RUN echo 1 > /one`",
            "not cached: /two changed",
        ],
    );
    // The same content again: found by it.
    let outcome = explained(&project, &text("2 ").replace("2  >", "2 >"), &[]);
    assert_eq!(outcome.ended("DONE").len(), 0, "{}", outcome.stderr);
    let outcome = explained(&project, &text("$((1 + 1))"), &[]);
    assert_eq!(outcome.ended("DONE").len(), 1, "{}", outcome.stderr);
    says(
        &outcome,
        &["cached: what it works on has the same content as before"],
    );
    says(
        &explained(&project, &text("2"), &["--no-cache"]),
        &["not cached: --no-cache was given"],
    );
}

#[test]
fn mounts_are_named() {
    if !needs(&RUNS) {
        return;
    }
    let text = |options: &str| {
        format!("FROM busybox\nRUN --mount=target=/c{options} cat /c/dir/f > /out\n")
    };
    let project = Project::on_busybox(&text(""));
    project.file("dir/f", "1");
    project.build(&[]);
    project.file("dir/f", "2");
    let outcome = explained(&project, &text(""), &[]);
    says(
        &outcome,
        &["not cached: a tree that it mounts has changed: "],
    );
    assert!(
        outcome.stderr.contains("dir/f changed"),
        "{}",
        outcome.stderr
    );
}
