//! Every class of mistake in a Dockerfile: what is said of it, and where.

use super::{Project, RUNS, needs};

/// A Dockerfile, the line that the mistake is on, and what is said at the end.
type Case = (&'static str, usize, &'static str);

/// Mistakes that are found when the text is read.
const READ: [Case; 30] = [
    (
        "FRMO x\n",
        1,
        "unknown instruction: FRMO (did you mean FROM?)",
    ),
    (
        "from a\nrnu x\n",
        2,
        "unknown instruction: rnu (did you mean run?)",
    ),
    ("FROM\n", 1, "FROM requires either one or three arguments"),
    (
        "FROM a b\n",
        1,
        "FROM requires either one or three arguments",
    ),
    (
        "FROM a AS 1x\n",
        1,
        "invalid name for build stage: \"1x\", name can't start with a number or contain symbols",
    ),
    (
        "FROM a\nCOPY b\n",
        2,
        "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
    ),
    (
        "FROM a\nCOPY b <<E\nE\n",
        2,
        "COPY cannot accept a heredoc as a destination",
    ),
    (
        "FROM a\n\nLABEL\n",
        3,
        "LABEL requires at least one argument",
    ),
    ("FROM a\nENV b\n", 2, "ENV must have two arguments"),
    ("FROM a\nENV =b\n", 2, "ENV names can not be blank"),
    ("FROM a\nARG =b\n", 2, "ARG names can not be blank"),
    (
        "FROM a\nENV b=c d\n",
        2,
        "Syntax error - can't find = in \"d\". Must be of the form: name=value",
    ),
    ("FROM a\nUSER\n", 2, "USER requires exactly one argument"),
    (
        "FROM a\nVOLUME [\"\"]\n",
        2,
        "VOLUME specified can not be an empty string",
    ),
    (
        "FROM a\nHEALTHCHECK NONE b\n",
        2,
        "HEALTHCHECK NONE takes no arguments",
    ),
    (
        "FROM a\nHEALTHCHECK B c\n",
        2,
        "Unknown type \"B\" in HEALTHCHECK (try CMD)",
    ),
    (
        "FROM a\nHEALTHCHECK CMD\n",
        2,
        "Missing command after HEALTHCHECK CMD",
    ),
    (
        "FROM a\nHEALTHCHECK --retries=-1 CMD b\n",
        2,
        "--retries cannot be negative (-1)",
    ),
    ("RUN x\n", 1, "no build stage in current context"),
    ("ARG x\n", 1, "dockerfile contains no stages to build"),
    ("FROM a\nRUN <<E\nx\n", 2, "unterminated heredoc"),
    (
        "FROM a\nCMD [1]\n",
        2,
        "when using JSON array syntax, arrays must be comprised of strings only",
    ),
    (
        "FROM a\nSHELL b\n",
        2,
        "SHELL requires the arguments to be in JSON form",
    ),
    (
        "FROM a\nONBUILD ONBUILD RUN b\n",
        2,
        "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
    ),
    (
        "FROM a\nONBUILD FROM b\n",
        2,
        "FROM isn't allowed as an ONBUILD trigger",
    ),
    (
        "FROM a\nCOPY --link --link b c\n",
        2,
        "duplicate flag specified: --link",
    ),
    (
        "FROM a\nCOPY --chwon=1 b c\n",
        2,
        "unknown flag: --chwon (did you mean --chown?)",
    ),
    (
        "FROM a\nCOPY --chown b c\n",
        2,
        "missing a value on flag: --chown",
    ),
    (
        "FROM a\nCOPY --link=b c d\n",
        2,
        "expecting boolean value for flag --link, not: b",
    ),
    (
        "# escape=x\nFROM a\n",
        1,
        "invalid escape token 'x' does not match ` or \\",
    ),
];

/// Mistakes that are found when the build is planned.
const PLANNED: [Case; 24] = [
    (
        "FROM busybox AS a\nCOPY --from=b c /\nFROM busybox AS b\nCOPY --from=a c /\n",
        4,
        "circular dependency detected on stage: a",
    ),
    (
        "FROM busybox AS a\nCOPY --from=a b /\n",
        2,
        "circular dependency detected on stage: a",
    ),
    (
        "FROM busybox\nCOPY --from=7 a /\n",
        2,
        "invalid stage index 7",
    ),
    (
        "FROM busybox AS a\nCOPY --from=c b /\nFROM busybox AS c\nFROM a\n",
        2,
        "cannot copy from stage \"c\", it needs to be defined before current stage \"a\"",
    ),
    ("FROM ${A}\n", 1, "base name (${A}) should not be blank"),
    (
        "ARG VERSION\nFROM $VERSIO\n",
        2,
        "base name ($VERSIO) should not be blank (did you mean VERSION?)",
    ),
    (
        "FROM --platform=$BULIDPLATFORM busybox\n",
        1,
        "empty platform value from expression $BULIDPLATFORM (did you mean BUILDPLATFORM?)",
    ),
    (
        "FROM --platform=a/b/c/d busybox\n",
        1,
        "failed to parse platform a/b/c/d: ",
    ),
    (
        "FROM busybox\nCOPY --from=$A b /\n",
        2,
        "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround",
    ),
    (
        "FROM BusyBox\n",
        1,
        "failed to parse stage name \"BusyBox\": invalid reference format: ",
    ),
    (
        "FROM busybox\nEXPOSE 99999\n",
        2,
        "invalid containerPort: 99999",
    ),
    ("FROM busybox\nEXPOSE x:80\n", 2, "invalid hostPort: x"),
    (
        "FROM busybox\nEXPOSE 80/icmp\n",
        2,
        "invalid port: \"80/icmp\": invalid proto: icmp",
    ),
    ("FROM busybox\nSTOPSIGNAL NOPE\n", 2, "invalid signal: NOPE"),
    (
        "FROM busybox\nENV a=${b\n",
        2,
        "failed to process \"${b\": syntax error: missing '}'",
    ),
    (
        "FROM busybox\nENV a='b\n",
        2,
        "failed to process \"'b\": unexpected end of statement while looking for matching single-quote",
    ),
    (
        "FROM busybox\nENV a=${b^}\n",
        2,
        "failed to process \"${b^}\": unsupported modifier (^) in substitution",
    ),
    (
        "FROM busybox\nENV a=${b:?wanted}\n",
        2,
        "failed to process \"${b:?wanted}\": b: wanted",
    ),
    (
        "FROM busybox\nCOPY --chmod=9 a /\n",
        2,
        "invalid chmod parameter: '9'. it should be octal string and between 0 and 07777",
    ),
    (
        "FROM busybox\nCOPY http://a/b /\n",
        2,
        "source can't be a URL for COPY",
    ),
    (
        "# check=a=b\nFROM busybox\n",
        1,
        "failed to parse check options: invalid check option \"a\"",
    ),
    // Wherever they stand, as BuildKit has it.
    (
        "FROM $A AS a\nFROM busybox\n",
        1,
        "base name ($A) should not be blank",
    ),
    (
        "FROM busybox AS a\nCOPY --from=9 b /\nFROM busybox\n",
        2,
        "invalid stage index 9",
    ),
    (
        "FROM busybox AS a\nCOPY --from=a b /\nFROM busybox\n",
        2,
        "circular dependency detected on stage: a",
    ),
];

/// Mistakes that only the steps find; their places are shown as a whole.
const RUN: [Case; 6] = [
    (
        "FROM busybox\nRUN exit 7\n",
        2,
        "process \"/bin/sh -c exit 7\" did not complete successfully: exit code: 7",
    ),
    (
        "FROM busybox\n\nCOPY nothing /\n",
        3,
        "failed to calculate checksum of ref: \"/nothing\": not found",
    ),
    (
        "FROM busybox\nUSER nobody2\nRUN true\n",
        3,
        "unable to find user nobody2: no matching entries in passwd file",
    ),
    (
        "FROM busybox\nCOPY --chown=nobody2 file /\n",
        2,
        "unable to find user nobody2: no matching entries in passwd file",
    ),
    (
        "FROM busybox\nCOPY file file /x\n",
        2,
        "When using COPY with more than one source file, the destination must be a directory and end with a /",
    ),
    ("FROM busybox\nCOPY file /bin/busybox/x\n", 2, ""),
];

/// The build fails, says this at the end, and names the line.
#[track_caller]
fn check(project: &Project, (text, line, why): Case, before: &str) {
    project.file("Dockerfile", text);
    let outcome = project.try_build(&[]);
    assert_eq!(outcome.code, 1, "{text}\n{outcome:?}");
    let said = outcome.stderr.as_str();
    let end = format!("ERROR: failed to build: failed to solve: {before}{why}");
    let last = said
        .lines()
        .find(|line| line.starts_with("ERROR: "))
        .unwrap_or_default();
    assert!(last.starts_with(&end), "{text}\n{said}\nnot {end}");
    let pointed = format!("--> Dockerfile:{line}:");
    let marked = format!("\nDockerfile:{line}\n");
    assert!(
        said.contains(&pointed) || said.contains(&marked),
        "{text}\n{said}"
    );
    // The line itself is there to be seen.
    let shown = text.lines().nth(line - 1).unwrap();
    assert!(said.contains(shown), "{text}\n{said}");
}

#[test]
fn mistakes_in_the_text_are_told_with_their_line() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::from_scratch("");
    for case in READ {
        let before = format!("dockerfile parse error on line {}: ", case.1);
        check(&project, case, &before);
    }
    project.assert_tidy();
}

#[test]
fn mistakes_in_what_is_meant_are_told_with_their_line() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    project.file("file", "x");
    for case in PLANNED {
        check(
            &project,
            case,
            if case.2.starts_with("variable") {
                "dockerfile parse error on line 2: "
            } else {
                ""
            },
        );
    }
    project.assert_tidy();
}

#[test]
fn mistakes_that_steps_find_are_told_with_their_line() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("");
    project.file("file", "x");
    for case in RUN {
        check(&project, case, "");
    }
}

#[test]
fn a_stage_that_is_not_there_is_guessed() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox("FROM busybox AS build\nRUN true\n");
    let outcome = project.try_build(&["--target", "biuld"]);
    outcome.fails(
        1,
        "target stage \"biuld\" could not be found (did you mean build?)",
    );
    for (text, meant) in [
        ("FROM busybox AS tools\nFROM tolos\n", "tools"),
        (
            "FROM busybox AS tools\nFROM busybox\nCOPY --from=tolos a /\n",
            "tools",
        ),
        ("FROM busibox\n", "busybox"),
    ] {
        project.file("Dockerfile", text);
        let outcome = project.try_build(&[]);
        outcome.fails(1, "failed to resolve source metadata");
        outcome.fails(1, &format!("(did you mean {meant}?)"));
    }
}

#[test]
fn warnings_are_shown_after_the_build_and_may_fail_it() {
    if !needs(&RUNS) {
        return;
    }
    let text = "FROM busybox AS Base\nENV a b\nFROM busybox AS other\nENV c d\nFROM base\nCMD x\n";
    let project = Project::on_busybox(text);
    let outcome = project.build(&[]);
    let said = &outcome.stderr;
    let list = "\n 3 warnings found (use --debug to expand):\n \
                - StageNameCasing: Stage name 'Base' should be lowercase (Dockerfile:1)\n \
                - LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (Dockerfile:2)\n \
                - JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (Dockerfile:6)\n";
    assert!(said.ends_with(list), "{said}");
    // Cached or not, and in full when that is asked for.
    let said = project.build(&["--debug"]).stderr;
    for part in [
        " 3 warnings found:\n",
        "More info: https://docs.docker.com/go/dockerfile/rule/stage-name-casing/\n",
        "Dockerfile:6\n",
        "   6 | >>> CMD x\n",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(project.build(&["--quiet"]).stderr, "");
    let refused = "lint violation found for rules: StageNameCasing, LegacyKeyValueFormat, JSONArgsRecommended";
    let options = ["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=error=true"];
    let outcome = project.try_build(&options);
    outcome.fails(
        1,
        &format!("ERROR: failed to build: failed to solve: {refused}\n"),
    );
    outcome.fails(1, "3 warnings found");
    project.file("Dockerfile", format!("# check=error=true;skip=all\n{text}"));
    assert!(!project.build(&[]).stderr.contains("warning"));
    project.file("Dockerfile", format!("# check=error=true\n{text}"));
    project.try_build(&[]).fails(1, refused);
    let check = project.try_build(&["--check"]);
    assert_eq!(check.code, 1);
    assert_eq!(check.text().matches("\nWARNING: ").count(), 4);
    let refused = "ERROR: lint violation found for rules: StageNameCasing, LegacyKeyValueFormat, JSONArgsRecommended\n";
    assert_eq!(check.stderr, refused);
}
