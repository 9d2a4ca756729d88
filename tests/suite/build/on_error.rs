//! When a step fails: a shell in its sandbox, an image of its tree, files out of it.

use std::os::unix::fs::PermissionsExt;

use super::{Project, RUNS, needs};
use crate::support::{Outcome, TERMINAL_SIZE};

const FAILING: &str = "FROM busybox AS build\n\
    ENV MODE=debug\n\
    ARG LEVEL=3\n\
    WORKDIR /src\n\
    COPY input .\n\
    USER www-data\n\
    USER root\n\
    RUN mkdir -p out/deep && echo report > out/r.xml && echo more > out/deep/x && ln -s /etc/passwd out/link && rm input && echo tried && exit 7\n\
    FROM busybox\n\
    COPY --from=build /src/out /out\n";

fn project() -> Project {
    let project = Project::on_busybox(FAILING);
    project.file("input", "in\n");
    project
}

fn with_input(project: &Project, more: &[&str], input: &str) -> Outcome {
    let arguments = project.arguments(more);
    project.home().run_with(&arguments, input.as_bytes())
}

#[test]
fn a_shell_is_in_the_failed_steps_sandbox() {
    if !needs(&RUNS) {
        return;
    }
    let project = project();
    let script = "pwd; id -un; hostname; echo $MODE $LEVEL; ls; cat out/r.xml; ls /sys/class/net\n\
                  echo changed > /changed; exit 5\n";
    let outcome = with_input(&project, &["--on-error=shell"], script);
    outcome.fails(1, "exit code: 7");
    assert_eq!(
        outcome.text(),
        "/src\nroot\nbuildkitsandbox\ndebug 3\nout\nreport\nlo"
    );
    // What failed is told before the shell, with the log and the place.
    let (before, after) = outcome
        .stderr
        .split_once("A shell in what is left of")
        .unwrap();
    assert!(before.contains("tried"), "{before}");
    assert!(before.contains("8 | >>> RUN mkdir"), "{before}");
    assert!(after.contains("[build 4/4] RUN mkdir"), "{after}");
    assert!(after.contains("root in /src"), "{after}");
    assert!(after.contains("no network"), "{after}");
    assert!(!after.contains(">>>"), "{after}");
    project.assert_tidy();
    // Nothing of it is in the cache.
    project.try_build(&[]).fails(1, "exit code: 7");
}

#[test]
fn a_shell_may_have_a_terminal() {
    if !needs(&RUNS) {
        return;
    }
    let project = project();
    let arguments = project.arguments(&["--on-error=shell"]);
    let (rows, columns) = TERMINAL_SIZE;
    let (code, shown) = project.home().run_on_terminal(
        &arguments,
        &[
            ("/src # ", "stty size; tty; ls\r"),
            // The one who says so has the terminal already.
            ("out", "sh -c 'echo begun; exec sleep 1000'\r"),
            ("\nbegun", "\u{3}"),
            ("/src # ", "exit 3\r"),
        ],
    );
    assert_eq!(code, 1, "{shown}");
    assert!(
        shown.contains(&format!("{rows} {columns}\r\n/dev/pts/0\r\n")),
        "{shown}"
    );
    assert!(shown.contains("exit code: 7"), "{shown}");
    project.assert_tidy();
}

#[test]
fn the_shell_is_the_stages_own_where_it_is_there() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN cp /bin/busybox /bin/mysh\nSHELL [\"/bin/busybox\", \"sh\", \"-c\"]\nRUN false\n",
    );
    // busybox itself is no shell: it answers to its first argument.
    let outcome = with_input(&project, &["--on-error=shell"], "echo unheard\n");
    outcome.fails(1, "did not complete successfully");
    assert!(outcome.text().contains("BusyBox v"), "{outcome:?}");
    project.file(
        "Dockerfile",
        "FROM busybox\nSHELL [\"/no/such\", \"-c\"]\nRUN x\n",
    );
    let outcome = with_input(&project, &["--on-error=shell"], "echo heard\n");
    outcome.fails(1, "exit code: 127");
    assert_eq!(outcome.text(), "heard");
    project.file(
        "Dockerfile",
        "FROM scratch\nCOPY input /\nRUN [\"/input\"]\n",
    );
    project.file("input", "");
    let outcome = with_input(&project, &["--on-error=shell"], "echo unheard\n");
    outcome.fails(1, "has no shell");
    assert_eq!(outcome.text(), "");
    project.assert_tidy();
}

#[test]
fn a_failed_copy_is_looked_at_from_before_it() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nENV A=1\nRUN echo x > /made\nWORKDIR /w\nCOPY missing .\n",
    );
    let outcome = with_input(&project, &["--on-error=shell"], "cat /made; echo $A; pwd\n");
    outcome.fails(1, "\"/missing\": not found");
    assert_eq!(outcome.text(), "x\n1\n/w");
    let kept = project.try_build(&["--on-error=keep"]);
    kept.fails(1, "kept the step's tree as `rbuild-failed:step-4`");
    assert!(
        super::Tree::of(
            &project.store(),
            &project.image_named("rbuild-failed:step-4")
        )
        .has("w")
    );
    project.assert_tidy();
}

#[test]
fn keep_makes_an_image_of_the_tree() {
    if !needs(&RUNS) {
        return;
    }
    let project = project();
    let outcome = project.try_build(&["--on-error=keep"]);
    outcome.fails(1, "kept the step's tree as `rbuild-failed:build-4`");
    outcome.fails(1, "rbuild run --rm -it rbuild-failed:build-4 /bin/sh");
    let image = project.image_named("rbuild-failed:build-4");
    let tree = super::Tree::of(&project.store(), &image);
    assert_eq!(tree.text("src/out/r.xml"), "report\n");
    assert!(!tree.has("src/input"));
    let lines: Vec<&str> = image
        .config
        .history
        .iter()
        .filter_map(|entry| entry.created_by.as_deref())
        .collect();
    assert!(
        lines[lines.len() - 1].starts_with("RUN |1 LEVEL=3 /bin/sh -c mkdir"),
        "{lines:?}"
    );
    assert!(lines.contains(&"COPY input . # buildkit"), "{lines:?}");
    let layers = image
        .config
        .history
        .iter()
        .filter(|entry| !entry.empty_layer);
    assert_eq!(layers.count(), image.config.rootfs.diff_ids.len());
    assert_eq!(image.config.config.working_dir, "/src");
    assert!(image.config.config.env.contains(&"MODE=debug".to_owned()));
    let shown = project.home().run(&[
        "run",
        "--rm",
        "--network=none",
        "rbuild-failed:build-4",
        "cat",
        "out/deep/x",
    ]);
    assert_eq!(shown.ok(), "more");
    // The next failure takes the name; no step came from the failed one.
    project
        .try_build(&["--on-error=keep"])
        .fails(1, "exit code: 7");
    assert_ne!(project.image_named("rbuild-failed:build-4").id, image.id);
    project.assert_tidy();
}

#[test]
fn files_are_brought_out_of_the_failed_steps_tree() {
    if !needs(&RUNS) {
        return;
    }
    let project = project();
    let out = project.home().scratch().join("results");
    let wish = |path: &str| format!("--export-failed={path}={}", out.display());
    let wishes = [wish("out"), wish("/src/o*/*.xml"), wish("/none"), wish("[")];
    let more: Vec<&str> = wishes.iter().map(String::as_str).collect();
    // What is in the way of a file is replaced and not written through.
    std::fs::create_dir_all(&out).unwrap();
    let aside = project.home().file("aside", "mine");
    std::os::unix::fs::symlink(&aside, out.join("r.xml")).unwrap();
    let outcome = project.try_build(&more);
    outcome.fails(1, "brought out `/src/out` to");
    outcome.fails(1, "(3 files, 12B)");
    outcome.fails(
        1,
        "cannot bring out `/none`: the failed step's tree has nothing there",
    );
    outcome.fails(1, "cannot bring out `[`: syntax error in pattern");
    let read = |path: &str| std::fs::read_to_string(out.join(path)).unwrap();
    assert_eq!(read("out/r.xml"), "report\n");
    assert_eq!(read("out/deep/x"), "more\n");
    assert_eq!(read("r.xml"), "report\n");
    assert_eq!(
        std::fs::read_link(out.join("out/link")).unwrap().to_str(),
        Some("/etc/passwd")
    );
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "mine");
    let mode = out
        .join("out/deep")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
    project.assert_tidy();
}

#[test]
fn what_is_brought_out_stays_beneath_the_directory() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN mkdir /d && cp /bin/true /d/suid && chmod 4755 /d/suid && mkfifo /d/pipe \
         && mkdir /d/sub && echo evil > /d/sub/f && ln -s ../../.. /d/up && false\n",
    );
    let out = project.home().scratch().join("results");
    let outside = project.home().scratch().join("outside");
    std::fs::create_dir_all(out.join("d")).unwrap();
    std::fs::create_dir_all(&outside).unwrap();
    // The directory that the files go to has a link where the tree has a directory.
    std::os::unix::fs::symlink(&outside, out.join("d/sub")).unwrap();
    let wish = format!("--export-failed=/../../d={}", out.display());
    project.try_build(&[&wish]).fails(1, "brought out `/d`");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(
        std::fs::read_to_string(out.join("d/sub/f")).unwrap(),
        "evil\n"
    );
    let mode = out.join("d/suid").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    assert!(!out.join("d/pipe").exists());
    // A directory of the user's is not removed for a file.
    std::fs::remove_file(out.join("d/suid")).unwrap();
    std::fs::create_dir(out.join("d/suid")).unwrap();
    project
        .try_build(&[&wish])
        .fails(1, "cannot bring out `/../../d`: cannot replace");
}

#[test]
fn other_steps_are_stopped_before_the_shell_opens() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox AS slow\nRUN echo begun; sleep 1000\n\
         FROM busybox AS bad\nRUN sleep 1; echo left > /left; exit 9\n\
         FROM busybox\nCOPY --from=slow /x /\nCOPY --from=bad /x /\n",
    );
    let outcome = with_input(
        &project,
        &["--on-error=shell"],
        "cat /left; sleep 0.1; echo alive\n",
    );
    outcome.fails(1, "exit code: 9");
    assert_eq!(outcome.text(), "left\nalive");
    let canceled = outcome.stderr.find("CANCELED").unwrap();
    assert!(canceled < outcome.stderr.find("A shell in").unwrap());
    project.assert_tidy();
}

const MOUNTING: &str = "FROM busybox AS tool\nRUN echo tool > /t\nFROM busybox\nWORKDIR /src\n\
    RUN --mount=type=cache,target=/cache --mount=type=bind,from=tool,source=/t,target=/tool \
    --mount=type=secret,id=token --mount=type=secret,id=token,env=TOKEN --mount=type=tmpfs,target=/scratch \
    echo cached > /cache/c; echo lost > /scratch/x; LEAK; exit 6\n";

#[test]
fn the_steps_mounts_are_in_the_shell_too() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(&MOUNTING.replace("LEAK", "true"));
    let token = project.home().file("token", "a-secret-token\n");
    let secret = format!("--secret=id=token,src={}", token.display());
    let script = "cat /cache/c /tool /run/secrets/token; echo $TOKEN; ls /scratch | wc -l\n\
                  echo mine > /cache/mine\n";
    let expected = "cached\ntool\na-secret-token\na-secret-token\n0";
    let outcome = with_input(&project, &[&secret, "--on-error=shell"], script);
    outcome.fails(1, "exit code: 6");
    assert_eq!(outcome.text(), expected);
    assert!(!outcome.stderr.contains("a-secret-token"), "{outcome:?}");
    // The same in a shell that nothing failed for; caches are as they were left.
    let context = project.context();
    let context = context.to_str().unwrap();
    let arguments = ["debug", "--network=none", &secret, "--step=3", context];
    let outcome = project
        .home()
        .run_with(&arguments, b"cat /cache/mine /tool\n");
    assert_eq!(outcome.ok(), "mine\ntool");
    // What mounts needed in the tree is not in what is kept of it.
    project
        .try_build(&[&secret, "--on-error=keep"])
        .fails(1, "kept the step's tree");
    let image = project.image_named("rbuild-failed:stage-1-3");
    let tree = super::Tree::of(&project.store(), &image);
    for path in ["cache", "tool", "run/secrets", "scratch"] {
        assert!(!tree.has(path), "{path}");
    }
    project.assert_tidy();
}

#[test]
fn a_tree_with_a_secret_in_it_is_not_kept() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(&MOUNTING.replace("LEAK", "cp /run/secrets/token /x"));
    let token = project.home().file("token", "a-secret-token\n");
    let secret = format!("--secret=id=token,src={}", token.display());
    let outcome = project.try_build(&[&secret, "--on-error=keep"]);
    outcome.fails(1, "would contain the secret \"token\", in \"/x\"");
    outcome.fails(1, "exit code: 6");
    assert!(rbuild::image::find(&project.store(), "rbuild-failed:stage-1-3").is_err());
    project.assert_tidy();
    let allowed = ["--on-error=keep", "--allow=secrets.in-layers", &secret];
    project.try_build(&allowed).fails(1, "kept the step's tree");
}

#[test]
fn only_the_last_try_of_a_step_is_looked_at() {
    if !needs(&RUNS) {
        return;
    }
    let project = Project::on_busybox(
        "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/tries; cp /c/tries /tries; false\n",
    );
    let more = ["--retry=RUN*=2", "--on-error=shell"];
    let outcome = with_input(&project, &more, "cat /tries\n");
    outcome.fails(1, "exit code: 1");
    assert_eq!(outcome.text(), "x\nx\nx", "{outcome:?}");
    project.assert_tidy();
}

#[test]
fn words_that_make_no_sense_are_refused() {
    if !needs(&RUNS) {
        return;
    }
    let project = project();
    project
        .try_build(&["--on-error=weep"])
        .fails(125, "expected `fail`, `keep` or `shell`");
    project
        .try_build(&["--export-failed=x"])
        .fails(125, "expected `PATH=DIR`");
    let input = ["build", "--on-error=shell", "-"];
    project
        .home()
        .run(&input)
        .fails(1, "cannot be both a shell's and the context");
    // What has no trigger does nothing to a build that succeeds.
    project.file("Dockerfile", "FROM busybox\nRUN true\n");
    project.build(&["--on-error=shell", "--export-failed=/bin=/nowhere"]);
    project.build(&["--on-error=keep"]);
    assert!(rbuild::image::find(&project.store(), "rbuild-failed").is_err());
    project.assert_tidy();
}
