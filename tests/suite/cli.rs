//! The command line: words, exit codes, and what is said of mistakes.

use crate::support::Home;

#[test]
fn version_is_one_line() {
    let home = Home::new();
    for flag in ["-v", "--version"] {
        let text = home.run(&[flag]).ok().to_owned();
        assert!(text.starts_with("rbuild version "), "{text}");
        assert_eq!(text.lines().count(), 1);
    }
    let text = home.run(&["version"]).ok().to_owned();
    assert!(
        text.contains("Version:") && text.contains("OS/Arch:"),
        "{text}"
    );
}

#[test]
fn help_names_every_command() {
    let home = Home::new();
    let text = home.run(&["--help"]).ok().to_owned();
    for verb in ["build", "images", "rmi", "inspect", "save", "load"] {
        assert!(text.contains(verb), "{verb} in {text}");
    }
    // Switches are shown plainly, though they take a value after `=`.
    let text = home.run(&["images", "--help"]).ok().to_owned();
    assert!(!text.contains("[=<"), "{text}");
}

#[test]
fn commands_that_need_no_data_make_none() {
    let home = Home::new();
    home.run(&["version"]).ok();
    home.run(&["build", "--help"]).ok();
    assert!(!home.root().exists());
}

#[test]
fn wrong_words_are_named() {
    let home = Home::new();
    home.run(&["nosuchcommand"]).fails(1, "nosuchcommand");
    home.run(&["images", "--nosuch"]).fails(125, "--nosuch");
    home.run(&["images", "-Z"]).fails(125, "-Z");
    home.run(&["images", "--all=maybe"]).fails(125, "maybe");
    home.run(&["rmi"]).fails(1, "required");
    home.run(&["tag", "a", "b", "c"]).fails(1, "unexpected");
    home.run(&["images", "--nosuch"]).fails(125, "--help");
    home.run(&["compose", "up"])
        .fails(1, "`compose` is not available in this version");
    home.run(&["--host", "unix:///x", "images"])
        .fails(1, "daemon");
}

#[test]
fn a_build_without_a_context_says_so() {
    let home = Home::new();
    home.run(&["build"]).fails(1, "requires 1 argument");
    home.run(&["build", "nowhere"])
        .fails(1, "path \"nowhere\" not found");
    home.run(&["-t", "a", "nowhere"])
        .fails(1, "path \"nowhere\" not found");
    home.run(&["build", "-f", "-", "-"])
        .fails(1, "can't use stdin for both");
    home.run(&["build", "-t", "UPPER", "."])
        .fails(1, "must be lowercase");
    home.run(&["build", "http://127.0.0.1:1/x.tar"])
        .fails(1, "failed to load the build context");
}

#[test]
fn flags_of_later_versions_are_refused_by_name() {
    let home = Home::new();
    for flag in ["--sbom", "--provenance=mode=max", "--policy=x"] {
        let name = flag.split('=').next().unwrap();
        let said = format!("`{name}` is not available in this version");
        home.run(&["build", flag, "."]).fails(1, &said);
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    use std::process::Stdio;

    let home = Home::new();
    let mut child = home
        .command(&["images"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(output.status.success(), "{output:?}");
}
