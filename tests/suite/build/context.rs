//! `rbuild context`: what goes in, and which line leaves the rest out.

use serde_json::Value;

use super::archives::{Item, archive};
use super::{FILES, Project, needs};
use crate::support::Outcome;

fn context(project: &Project, more: &[&str]) -> Outcome {
    let path = project.context();
    let mut arguments = vec!["context"];
    arguments.extend(more);
    arguments.push(path.to_str().unwrap());
    project.home().run(&arguments)
}

fn project() -> Project {
    let project = Project::from_scratch("FROM scratch\nCOPY . /\n");
    project.file(
        ".dockerignore",
        "# what is built\n*.o\n\nnode_modules\n!node_modules/kept\n",
    );
    project.file("main.c", "x".repeat(1000));
    project.file("main.o", "x".repeat(2000));
    project.file("src/deep/large.c", "x".repeat(5000));
    project.file("src/small.c", "x");
    project.file("node_modules/a/index.js", "x".repeat(300));
    project.file("node_modules/a/more.js", "x".repeat(300));
    project.file("node_modules/kept", "y");
    project
}

#[test]
fn the_context_is_summed_up_by_size() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    let outcome = context(&project, &[]);
    let lines: Vec<&str> = outcome.ok().lines().map(str::trim_end).collect();
    assert_eq!(lines[0], "CONTEXT: 6.08kB in 6 files");
    assert_eq!(lines[1], "      5kB        2  src/");
    assert_eq!(lines[2], "      5kB        1    deep/");
    assert_eq!(lines[3], "      5kB        -      large.c");
    assert_eq!(lines[4], "      1kB        -  main.c");
    let left_out = lines.iter().position(|line| line.is_empty()).unwrap();
    assert_eq!(
        lines[left_out + 1..],
        [
            "LEFT OUT: 2.6kB in 3 files",
            "      2kB        -  main.o            .dockerignore:2 *.o",
            "     600B        2  node_modules/a/   .dockerignore:4 node_modules",
        ]
    );
    let all = context(&project, &["--all"]);
    let first: Vec<&str> = all.ok().lines().take(3).collect();
    assert_eq!(
        first,
        [
            "CONTEXT: 6.08kB in 6 files",
            "      5kB  src/deep/large.c",
            "      1kB  main.c"
        ]
    );
}

#[test]
fn a_path_is_explained_by_its_line() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    let cases = [
        (
            "main.c",
            "main.c: included: no line of .dockerignore matches",
            0,
        ),
        ("./src/../main.o", "main.o: ignored: .dockerignore:2 *.o", 0),
        (
            "node_modules/kept",
            "node_modules/kept: included: .dockerignore:5 !node_modules/kept",
            0,
        ),
        (
            "node_modules/a/index.js",
            "node_modules/a/index.js: ignored: .dockerignore:4 node_modules",
            0,
        ),
        (
            "new.o",
            "new.o: not there, would be ignored: .dockerignore:2 *.o",
            1,
        ),
        ("../../new.c", "new.c: not there, would be included", 1),
    ];
    for (path, expected, code) in cases {
        let outcome = context(&project, &["--explain", path]);
        assert_eq!(outcome.code, code, "{path}: {outcome:?}");
        assert!(outcome.text().starts_with(expected), "{path}: {outcome:?}");
    }
    std::fs::remove_file(project.context().join(".dockerignore")).unwrap();
    let outcome = context(&project, &["--explain=main.o"]);
    assert_eq!(outcome.ok(), "main.o: included: there is no ignore file");
}

#[test]
fn the_dockerfiles_own_ignore_file_wins() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    project.file("Dockerfile.dockerignore", "src\n");
    let outcome = context(&project, &["--explain=src/small.c", "--explain=main.o"]);
    assert_eq!(
        outcome.ok(),
        "src/small.c: ignored: Dockerfile.dockerignore:1 src\n\
         main.o: included: no line of Dockerfile.dockerignore matches"
    );
}

#[test]
fn other_programs_read_json() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    let outcome = context(&project, &["--format=json"]);
    let value: Value = serde_json::from_str(outcome.ok()).unwrap();
    assert_eq!(value["ignoreFile"], ".dockerignore");
    assert_eq!(value["included"]["files"], 6);
    assert_eq!(value["ignored"]["bytes"], 2600);
    let left_out = &value["ignored"]["entries"][1];
    assert_eq!(left_out["path"], "node_modules/a");
    assert_eq!(left_out["type"], "directory");
    assert_eq!(left_out["files"], 2);
    assert_eq!(left_out["rule"]["file"], ".dockerignore");
    assert_eq!(left_out["rule"]["line"], 4);
    assert_eq!(left_out["rule"]["pattern"], "node_modules");
    let outcome = context(&project, &["--format=json", "--explain=main.o"]);
    let value: Value = serde_json::from_str(outcome.ok()).unwrap();
    assert_eq!(value[0]["ignored"], true);
    assert_eq!(value[0]["exists"], true);
    assert_eq!(value[0]["rule"]["line"], 2);
}

#[test]
fn a_context_needs_no_dockerfile_and_may_be_an_archive() {
    if !needs(&FILES) {
        return;
    }
    let project = project();
    std::fs::remove_file(project.context().join("Dockerfile")).unwrap();
    assert!(
        context(&project, &[])
            .ok()
            .starts_with("CONTEXT: 6.05kB in 5 files")
    );
    let bytes = archive(&[
        Item::file("a", "12345"),
        Item::file("b.o", "1"),
        Item::file(".dockerignore", "*.o"),
    ]);
    let outcome = project
        .home()
        .run_with(&["context", "--explain=b.o", "-"], &bytes);
    assert_eq!(outcome.ok(), "b.o: ignored: .dockerignore:1 *.o");
    // Names are shown as they are, but for what a terminal would obey.
    project.file("evil\u{1b}[2Jname", "x".repeat(9000));
    let outcome = context(&project, &[]);
    assert!(outcome.ok().contains("evil\u{fffd}[2Jname"), "{outcome:?}");
    project
        .home()
        .run(&["context", "nowhere"])
        .fails(1, "path \"nowhere\" not found");
}
