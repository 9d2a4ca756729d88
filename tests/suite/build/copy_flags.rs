//! COPY and ADD with `--parents`, `--exclude` and `--chmod` in letters.

use std::os::unix::fs::PermissionsExt;

use super::{FILES, Project, RUNS, needs};

fn mode(project: &Project, name: &str, mode: u32) {
    let path = project.context().join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Directories as deep as the examples of `--parents` need.
fn deep() -> Project {
    let project = Project::from_scratch("");
    for name in [
        "a/b/c/d/foo",
        "a/b/c/d/e/bay",
        "a/b2/c/d/e/bar",
        "a/b/c2/d/e/baz",
        "a/b/c2/d/e2/baz",
        "x/one.txt",
        "x/two.md",
    ] {
        project.file(name, "");
    }
    project.link("to", "a/b");
    project
}

#[test]
fn parents_keeps_directories_from_the_pivot_on() {
    if !needs(&FILES) {
        return;
    }
    let project = deep();
    let cases: &[(&str, &[&str])] = &[
        ("a/b/c/d/foo /", &["a/b/c/d/foo="]),
        ("x/one.txt a/b2 /o/", &["o/a/b2/c/d/e/bar=", "o/x/one.txt="]),
        ("a/b/./c/d /out/", &["out/c/d/e/bay=", "out/c/d/foo="]),
        (
            "a/b/c/d/. /out/",
            &["out/a/b/c/d/e/bay=", "out/a/b/c/d/foo="],
        ),
        ("./a/b/c/d/foo out", &["out/a/b/c/d/foo="]),
        ("/a/./b/./c /out/", &["out/b/c/d/e/bay=", "out/b/c/d/foo="]),
        (
            "/a/./*/c /out/",
            &["out/b/c/d/e/bay=", "out/b/c/d/foo=", "out/b2/c/d/e/bar="],
        ),
        ("a/b*/./c/**/e /out/", &["out/c/d/e/bar=", "out/c/d/e/bay="]),
        (
            "a/b/c*/./d/**/baz a/b*/./c/**/bar /out/",
            &["out/c/d/e/bar=", "out/d/e/baz=", "out/d/e2/baz="],
        ),
        ("x/*.txt /", &["x/one.txt="]),
        ("**/foo /o/", &["o/a/b/c/d/foo="]),
        ("x/*.none none*/./x /out/", &[]),
        ("x/./none* /out/", &[]),
        ("to/./c/d/foo /out/", &["out/c/d/foo="]),
        ("--exclude=**/e a/b/./c /o/", &["o/c/d/foo="]),
    ];
    for (line, expected) in cases {
        let tree = project.tree_of(&format!("FROM scratch\nCOPY --parents {line}\n"));
        assert_eq!(tree.files(), *expected, "{line}");
    }
    let tree = project.tree_of("FROM scratch\nCOPY --parents x/*.none /out/\n");
    assert_eq!(tree.meta("out"), "d0755 0:0");
    for (line, missing) in [
        ("x/none /", "/x/none"),
        ("a/none/./x /", "/a/none/x"),
        ("none/./x* /", "/none"),
    ] {
        project.refuses(
            &format!("FROM scratch\nCOPY --parents {line}\n"),
            &format!("{missing:?}: not found"),
        );
    }
    project.refuses("FROM scratch\nADD --parents x /\n", "unknown flag");
}

#[test]
fn directories_that_parents_keeps_have_the_sources_metadata() {
    if !needs(&FILES) {
        return;
    }
    let project = deep();
    mode(&project, "a", 0o700);
    mode(&project, "a/b", 0o2750);
    let tree = project.tree_of("FROM scratch\nCOPY --parents --chown=7 a/b/c/d/foo /new/dir/\n");
    assert_eq!(tree.meta("new/dir"), "d0755 7:7");
    assert_eq!(tree.meta("new/dir/a"), "d0700 7:7");
    assert_eq!(tree.meta("new/dir/a/b"), "d2750 7:7");
    // One that is there keeps its owner and takes the mode.
    let tree = project.tree_of(
        "FROM scratch\nCOPY --chown=9:9 --chmod=711 x/one.txt /d/a/file\n\
         COPY --parents a/b/c/d/foo /d/\n",
    );
    assert_eq!(tree.meta("d"), "d0711 9:9");
    assert_eq!(tree.meta("d/a"), "d0700 9:9");
    assert_eq!(tree.meta("d/a/file"), "-0711 9:9");
    assert_eq!(tree.meta("d/a/b"), "d2750 0:0");
}

#[test]
fn what_exclude_matches_is_left_out() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    for name in [
        "home.txt",
        "home.md",
        "d/one.txt",
        "d/two.md",
        "d/sub/three.txt",
        "d/sub/keep/four.txt",
    ] {
        project.file(name, "");
    }
    let cases: &[(&str, &[&str])] = &[
        (
            "--exclude=*.txt d /",
            &["sub/keep/four.txt=", "sub/three.txt=", "two.md="],
        ),
        ("--exclude=**/*.txt d /", &["two.md="]),
        ("--exclude=sub --exclude=*.md d /", &["one.txt="]),
        ("--exclude=./sub/ --exclude=one.* d /", &["two.md="]),
        (
            "--exclude=sub --exclude=!sub/keep --exclude=*.* d /",
            &["sub/keep/four.txt="],
        ),
        ("--exclude=* d /o", &[]),
        ("--exclude=*.txt hom* /o/", &["o/home.md="]),
        ("--exclude=*.txt home.txt /o/", &["o/home.txt="]),
        ("--exclude=sub d* /o/", &["o/one.txt=", "o/two.md="]),
        (
            "--exclude=d --exclude=Docker* . /o/",
            &["o/home.md=", "o/home.txt="],
        ),
    ];
    for instruction in ["COPY", "ADD"] {
        for (line, expected) in cases {
            let tree = project.tree_of(&format!("FROM scratch\n{instruction} {line}\n"));
            assert_eq!(tree.files(), *expected, "{instruction} {line}");
        }
    }
    let tree = project.tree_of(
        "FROM scratch AS from\nCOPY d /d/\nFROM scratch\nARG what=sub\nCOPY --from=from --exclude=$what /d /o\n",
    );
    assert_eq!(tree.files(), ["o/one.txt=", "o/two.md="]);
    project.refuses(
        "FROM scratch\nCOPY --exclude=[a d /o\n",
        "invalid excludepatterns: [[a]: syntax error in pattern",
    );
}

#[test]
fn a_hard_link_outlives_the_name_that_is_left_out() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    let first = project.file("d/a", "same");
    for name in ["d/b", "d/c"] {
        std::fs::hard_link(&first, project.context().join(name)).unwrap();
    }
    let tree = project.tree_of("FROM scratch\nCOPY --exclude=a d /\n");
    assert_eq!(tree.files(), ["b=same", "c=same"]);
    let tree = project.tree_of("FROM scratch\nCOPY --parents d/[bc] /\n");
    assert_eq!(tree.files(), ["d/b=same", "d/c=same"]);
}

#[test]
fn chmod_takes_letters() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch("");
    project.file("d/sub/file", "");
    project.file("d/tool", "");
    for (name, bits) in [
        ("d", 0o700),
        ("d/sub", 0o750),
        ("d/sub/file", 0o640),
        ("d/tool", 0o700),
    ] {
        mode(&project, name, bits);
    }
    project.link("d/link", "tool");
    let cases = [
        ("u=rwX,go=rX", ["d0755", "-0644", "-0755"]),
        ("go-rwx", ["d0700", "-0600", "-0700"]),
        ("+x", ["d0751", "-0751", "-0711"]),
        ("a=r,u+wX", ["d0744", "-0644", "-0744"]),
        ("g=u,o=", ["d0770", "-0660", "-0770"]),
        ("g+s", ["d2750", "-2640", "-2700"]),
    ];
    for (flag, expected) in cases {
        let tree = project.tree_of(&format!(
            "FROM scratch\nARG m={flag}\nCOPY --chmod=$m d /made/dir\n"
        ));
        let found = ["sub", "sub/file", "tool"].map(|name| tree.meta(&format!("made/dir/{name}")));
        assert_eq!(
            found.map(|meta| meta.replace(" 0:0", "")),
            expected,
            "{flag}"
        );
        // A directory that had to be made has nothing to be changed.
        assert_eq!(tree.meta("made/dir"), "d0755 0:0", "{flag}");
        assert_eq!(tree.meta("made"), "d0755 0:0", "{flag}");
    }
    let tree = project.tree_of("FROM scratch\nADD --chmod=u+x,g=w <<EOF /f\nx\nEOF\n");
    assert_eq!(tree.meta("f"), "-0724 0:0");
    assert_eq!(
        project.config()["history"][0]["created_by"],
        "ADD --chmod=u+x,g=w <<EOF /f # buildkit"
    );
    for wrong in ["x", "rwx", "u+x,"] {
        let text = format!("FROM scratch\nCOPY --chmod={wrong} d /p\n");
        project.refuses(&text, "invalid syntax");
        project.refuses(&text, &format!("`{wrong}` is no mode"));
    }
}

#[test]
fn an_octal_mode_makes_the_sources_modes_no_change() {
    if !needs(&RUNS) {
        return;
    }
    let steps = ["COPY --chmod=644 d /d/", "COPY --chmod=go-w d /e/"];
    let project = Project::on_busybox(&format!("FROM busybox\n{}\n", steps.join("\n")));
    project.file("d/f", "x");
    project.build(&[]);
    mode(&project, "d/f", 0o700);
    let outcome = project.build(&[]);
    assert_eq!(outcome.ended("CACHED"), steps[..1]);
    assert_eq!(outcome.ended("DONE"), steps[1..]);
    assert_eq!(project.tree().meta("e/f"), "-0700 0:0");
    mode(&project, "d", 0o711);
    assert_eq!(project.build(&[]).ended("CACHED"), steps[..1]);
    project.file("d/f", "y");
    assert_eq!(project.build(&[]).ended("DONE"), steps);
}

#[test]
fn history_shows_parents_and_no_empty_flags() {
    if !needs(&FILES) {
        return;
    }
    let project = Project::from_scratch(
        "FROM scratch\nCOPY --exclude=x --parents --chown=1 --chmod=\"\" d/f /\n\
         COPY --parents=false --chown=$none --link=false d/f /\n",
    );
    project.file("d/f", "");
    project.build(&[]);
    let config = project.config();
    let lines: Vec<_> = config["history"].as_array().unwrap().iter().collect();
    assert_eq!(
        lines[0]["created_by"],
        "COPY --parents --chown=1 d/f / # buildkit"
    );
    assert_eq!(lines[1]["created_by"], "COPY d/f / # buildkit");
}
