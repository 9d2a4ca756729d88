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
    for (words, code, said) in [
        (
            "images --nosuch",
            125,
            "unknown flag: --nosuch\n\nUsage:  rbuild images [OPTIONS] [REPOSITORY[:TAG]]",
        ),
        (
            "images --nosuch",
            125,
            "Run 'rbuild images --help' for more information",
        ),
        ("images -Z", 125, "unknown shorthand flag: 'Z' in -Z"),
        (
            "run -itZ busybox",
            125,
            "'Z' in -Z\n\nUsage:  rbuild run [OPTIONS] IMAGE [COMMAND] [ARG...]",
        ),
        (
            "images --all=maybe",
            125,
            "invalid argument \"maybe\" for \"-a, --all\" flag: strconv.ParseBool",
        ),
        (
            "ps -n x",
            125,
            "invalid argument \"x\" for \"-n, --last\" flag: strconv.ParseInt: parsing \"x\"",
        ),
        ("stop -t", 125, "flag needs an argument: 't' in -t"),
        ("run --name", 125, "flag needs an argument: --name"),
        (
            "ps --filter x",
            125,
            "invalid argument \"x\" for \"-f, --filter\" flag: bad format of filter",
        ),
        ("build --nosuch .", 125, "unknown flag: --nosuch"),
        (
            "run",
            1,
            "'rbuild run' requires at least 1 argument\n\nUsage:  rbuild run [OPTIONS] IMAGE",
        ),
        ("rmi", 1, "'rbuild rmi' requires at least 1 argument"),
        ("tag a b c", 1, "'rbuild tag' requires 2 arguments"),
        ("exec a", 1, "'rbuild exec' requires at least 2 arguments"),
        (
            "commit",
            1,
            "'rbuild commit' requires at least 1 and at most 2 arguments",
        ),
        (
            "volume create a b",
            1,
            "'rbuild volume create' requires at most 1 argument",
        ),
        (
            "container ls a",
            1,
            "'rbuild container ls' accepts no arguments",
        ),
        ("volume nosuch", 1, "unknown command: rbuild volume nosuch"),
        ("import - Upper", 1, "must be lowercase"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        home.run(&words).fails(code, said);
    }
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
