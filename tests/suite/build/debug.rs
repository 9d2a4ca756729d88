//! `rbuild debug`: a shell at any step.

use super::{Project, RUNS, needs};
use crate::support::Outcome;

fn debug(project: &Project, more: &[&str], script: &str) -> Outcome {
    let context = project.context();
    let mut arguments = vec!["debug", "--network=none", "--progress=plain"];
    arguments.extend(more);
    arguments.push(context.to_str().unwrap());
    project.home().run_with(&arguments, script.as_bytes())
}

const STEPS: &str = "FROM busybox AS base\n\
    RUN echo one > /one\n\
    ENV A=early\n\
    \n\
    FROM base AS build\n\
    ARG V=given\n\
    RUN echo two \\\n\
    \x20   > /two\n\
    ENV A=late\n\
    WORKDIR /w\n\
    USER www-data\n\
    RUN echo three > /tmp/three\n\
    FROM busybox\n\
    COPY --from=build /tmp/three /\n";

#[test]
fn a_shell_is_before_or_after_any_step() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(STEPS);
    let script = "ls /one /two /tmp/three 2>&1 | grep -v No; echo $A $V; pwd; id -un\n";
    let cases: [(&[&str], &str, &str); 9] = [
        (
            &["--step", "build:1"],
            "/one\nearly given\n/\nroot",
            "before [build 1/3] RUN echo two",
        ),
        (
            &["--step=build:1", "--after"],
            "/one\n/two\nearly given\n/\nroot",
            "after [build 1/3]",
        ),
        // A line within an instruction, and one of an instruction that is no step.
        (
            &["--step=:8"],
            "/one\nearly given\n/\nroot",
            "before [build 1/3] RUN echo two",
        ),
        (
            &["--step=Dockerfile:9"],
            "/one\n/two\nearly given\n/\nroot",
            "before [build] ENV A=late",
        ),
        (
            &["--step=:9", "--after"],
            "/one\n/two\nlate given\n/\nroot",
            "after [build] ENV A=late",
        ),
        (
            &["--step=1:3"],
            "/one\n/two\nlate given\n/w\nwww-data",
            "before [build 3/3] RUN echo three",
        ),
        (
            &["--target=build"],
            "/one\n/tmp/three\n/two\nlate given\n/w\nwww-data",
            "the end of the stage",
        ),
        (
            &["--step=base:1"],
            "\n/\nroot",
            "after [base 1/2] FROM busybox",
        ),
        (&["--step=:1"], "\n/\nroot", "after [base 1/2] FROM busybox"),
    ];
    for (more, expected, title) in cases {
        let outcome = debug(&project, more, script);
        assert_eq!(outcome.ok(), expected, "{more:?}");
        assert!(
            outcome.stderr.contains(title),
            "{more:?}: {}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("A shell "), "{more:?}");
    }
    project.assert_tidy();
}

#[test]
fn the_exit_code_is_the_shells_and_nothing_stays() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo one > /one\nRUN cat /one\n");
    let outcome = debug(&project, &["--step=3"], "echo two > /one; exit 42\n");
    assert_eq!(outcome.code, 42, "{outcome:?}");
    assert!(rbuild::image::find(&project.store(), "result").is_err());
    // The steps on the way are in the cache, what was typed is not.
    let built = project.build(&[]);
    assert_eq!(built.ended("CACHED"), ["RUN echo one > /one"]);
    assert!(built.stderr.contains("one\n"), "{}", built.stderr);
    assert_eq!(project.tree().text("one"), "one\n");
    project.assert_tidy();
}

#[test]
fn a_shell_may_have_a_terminal() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nWORKDIR /w\n");
    let context = project.context();
    let arguments = ["debug", "--network=none", context.to_str().unwrap()];
    let typed = [("/w # ", "tty; exit 4\r")];
    let (code, shown) = project.home().run_on_terminal(&arguments, &typed);
    assert_eq!(code, 4, "{shown}");
    assert!(shown.contains("/dev/pts/0"), "{shown}");
    project.assert_tidy();
}

#[test]
fn triggers_of_a_base_image_are_steps_too() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nONBUILD RUN echo t > /t\n");
    project.build(&[]);
    project.file("Dockerfile", "FROM result\nRUN echo own > /own\n");
    let outcome = debug(&project, &["--step=2"], "ls /t /own 2>&1 | grep -c No\n");
    assert_eq!(outcome.ok(), "2");
    let outcome = debug(&project, &["--step=:2"], "cat /t\n");
    assert_eq!(outcome.ok(), "t");
    project.assert_tidy();
}

#[test]
fn a_step_on_the_way_may_fail() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox\nRUN echo x > /x && false\nRUN true\n");
    let outcome = debug(&project, &["--step=3"], "echo unheard\n");
    outcome.fails(1, "2 | >>> RUN echo x");
    assert_eq!(outcome.text(), "");
    let outcome = debug(&project, &["--step=3", "--on-error=shell"], "cat /x\n");
    outcome.fails(1, "exit code: 1");
    assert_eq!(outcome.text(), "x");
    project.assert_tidy();
}

#[test]
fn steps_that_are_not_there_are_told() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(STEPS);
    let cases = [
        ("build:4", "stage \"build\" has no step 4"),
        ("build:4", "its steps are numbered up to 3"),
        ("bulid:1", "did you mean build?"),
        (":4", "there is no instruction of a stage in line 4"),
        ("x", "expected `NUMBER`, `STAGE:NUMBER` or `:LINE`"),
    ];
    for (step, part) in cases {
        let code = if step == "x" { 125 } else { 1 };
        debug(&project, &["--step", step], "").fails(code, part);
    }
    let arguments = ["debug", "-f-", "."];
    project
        .home()
        .run(&arguments)
        .fails(1, "cannot be both a shell's");
    project.assert_tidy();
}
