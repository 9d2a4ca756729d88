//! Where context and Dockerfile come from, and what the ignore file leaves out.

use super::archives::compressed;
use super::{FILES, Project, needs};

/// A context with files that ignore files pick from.
fn project(dockerfile: &str) -> Project {
    let project = Project::from_scratch(dockerfile);
    for name in ALL {
        project.file(name, name);
    }
    project
}

const ALL: [&str; 6] = [
    "a.txt",
    "b.log",
    "dir/a.txt",
    "dir/b.log",
    "dir/deep/c.log",
    "keep/x",
];

fn files(project: &Project) -> Vec<String> {
    let files = project.tree().files();
    files
        .iter()
        .map(|file| file.split('=').next().unwrap().to_owned())
        .collect()
}

#[test]
fn the_ignore_file_decides_what_is_there() {
    if !needs(&FILES) {
        return;
    }
    let cases: &[(&str, &[&str])] = &[
        ("# nothing\n\n", &[]),
        ("a.txt\n", &["a.txt"]),
        ("/a.txt\n", &["a.txt"]),
        ("*.log\n", &["b.log"]),
        ("**/*.log\n", &["b.log", "dir/b.log", "dir/deep/c.log"]),
        ("*/*.log\n", &["dir/b.log"]),
        ("dir\n", &["dir/a.txt", "dir/b.log", "dir/deep/c.log"]),
        ("dir\n!dir/a.txt\n", &["dir/b.log", "dir/deep/c.log"]),
        ("dir/**\n!**/c.log\n", &["dir/a.txt", "dir/b.log"]),
        (
            "*\n!keep\n",
            &["a.txt", "b.log", "dir/a.txt", "dir/b.log", "dir/deep/c.log"],
        ),
        ("!a.txt\na.txt\n", &["a.txt"]),
        ("\u{feff}a.tx?\r\n", &["a.txt"]),
    ];
    let project = project("FROM scratch\nCOPY . /\n");
    for (ignore, gone) in cases {
        project.file(
            ".dockerignore",
            format!("{ignore}\nDockerfile\n.dockerignore\n"),
        );
        project.build(&[]);
        let mut left = ALL.to_vec();
        left.retain(|name| !gone.contains(name));
        assert_eq!(files(&project), left, "{ignore:?}");
    }
    project.file(".dockerignore", "!\n");
    project.try_build(&[]).fails(1, "illegal exclusion pattern");
    project.file(".dockerignore", "a[\n");
    project.try_build(&[]).fails(1, "syntax error in pattern");
}

#[test]
fn an_ignored_source_is_not_found() {
    if !needs(&FILES) {
        return;
    }
    let project = project("FROM scratch\nCOPY a.txt /\n");
    project.file(".dockerignore", "a.txt\n");
    project.try_build(&[]).fails(1, "\"/a.txt\": not found");
}

#[test]
fn a_dockerfile_has_its_own_ignore_file() {
    if !needs(&FILES) {
        return;
    }
    let text = "FROM scratch\nCOPY *.txt *.log /\n";
    let project = project(text);
    project.file(".dockerignore", "*.txt\n");
    project.file("Dockerfile.dockerignore", "*.log\n");
    project.build(&[]);
    assert_eq!(files(&project), ["a.txt"]);
    let other = project.file("build/Other", text);
    project.build(&["-f", other.to_str().unwrap()]);
    assert_eq!(files(&project), ["b.log"]);
    project.file("build/Other.dockerignore", "");
    project.build(&["-f", other.to_str().unwrap()]);
    assert_eq!(files(&project), ["a.txt", "b.log"]);
}

#[test]
fn dockerfiles_are_found_wherever_they_are() {
    if !needs(&FILES) {
        return;
    }
    let project = project("FROM scratch\nLABEL from=default\n");
    let from = |project: &Project| project.config()["config"]["Labels"]["from"].clone();
    let outside = project.home().file(
        "outside/My.Dockerfile",
        "FROM scratch\nCOPY a.txt /\nLABEL from=outside\n",
    );
    project.build(&["-f", outside.to_str().unwrap()]);
    assert_eq!(from(&project), "outside");
    let stdin = b"FROM scratch\nCOPY a.txt /\nLABEL from=stdin\n";
    let arguments = project.arguments(&["-f", "-"]);
    project.home().run_with(&arguments, stdin).ok();
    assert_eq!(from(&project), "stdin");
    let path = project.context().join("Dockerfile");
    std::fs::remove_file(&path).unwrap();
    project.file("real/file", "FROM scratch\nLABEL from=link\n");
    project.link("Dockerfile", "real/file");
    project.build(&[]);
    assert_eq!(from(&project), "link");
    std::fs::remove_file(&path).unwrap();
    project.file("dockerfile", "FROM scratch\nLABEL from=small\n");
    project.build(&[]);
    assert_eq!(from(&project), "small");
}

/// The context as a tar archive.
fn archive(project: &Project) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_dir_all(".", project.context()).unwrap();
    tar.into_inner().unwrap()
}

#[test]
fn a_context_may_be_an_archive_of_any_compression() {
    if !needs(&FILES) {
        return;
    }
    let project = project("FROM scratch\nCOPY . /\n");
    project.file(".dockerignore", "dir\nDockerfile\n.dockerignore\n");
    let expected = ["a.txt", "b.log", "keep/x"];
    for (name, bytes) in compressed(&archive(&project)) {
        let home = project.home();
        let file = home.file(&format!("context.{name}"), &bytes);
        home.run(&["build", "-t", "result", file.to_str().unwrap()])
            .ok();
        assert_eq!(files(&project), expected, "{name}");
        home.run(&["rmi", "result"]).ok();
        home.run_with(&["build", "-t", "result", "-"], &bytes).ok();
        assert_eq!(files(&project), expected, "{name} on standard input");
        project.assert_tidy();
    }
    project.file("sub/Other", "FROM scratch\nCOPY keep /\n");
    let arguments = ["build", "-t", "result", "-f", "sub/Other", "-"];
    project.home().run_with(&arguments, &archive(&project)).ok();
    assert_eq!(files(&project), ["x"]);
}

#[test]
fn a_dockerfile_on_standard_input_has_no_context() {
    if !needs(&FILES) {
        return;
    }
    let project = project("");
    let text = b"FROM scratch\nCOPY a.txt /\n";
    let outcome = project.home().run_with(&["build", "-"], text);
    outcome.fails(1, "\"/a.txt\": not found");
    project.assert_tidy();
}

#[test]
fn what_is_no_context_is_refused() {
    if !needs(&FILES) {
        return;
    }
    let project = project("FROM scratch\n");
    let file = project.home().file("note", "text");
    let missing = project.home().scratch().join("missing");
    let (file, missing) = (file.to_str().unwrap(), missing.to_str().unwrap());
    let cases: &[(&[&str], &str)] = &[
        (&["build", missing], "not found"),
        (&["build", file], "no directory and no tar archive"),
        (&["build"], "requires 1 argument"),
        (&["build", "-f", "-", "-"], "can't use stdin for both"),
        (
            &["build", "https://example.org/x.git?what=x"],
            "unexpected query",
        ),
        (&["build", "-t", "UPPER", "."], "invalid tag"),
    ];
    for (arguments, part) in cases {
        project.home().run(arguments).fails(1, part);
    }
}
