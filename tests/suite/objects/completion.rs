//! `completion`, what its scripts ask, and `man`.

use super::{home, up};
use crate::support::{Home, run_piped};

fn complete(home: &Home, words: &[&str]) -> Vec<String> {
    let mut all = vec!["__complete", "--"];
    all.extend(words);
    let text = home.run(&all).ok().to_owned();
    let name = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    text.lines().map(name).collect()
}

#[test]
fn names_that_are_there_now_are_offered() {
    let Some(home) = home() else { return };
    let root = home.root();
    let root = root.to_str().unwrap();
    up(&home, "web", &["-v", "data:/d"]);
    home.run(&["create", "--name", "old", "busybox"]).ok();
    // The script hands over the words that name the data root, as they were typed.
    let run = home.run_root();
    let places = ["--root", root, "--run-root", run.to_str().unwrap()];
    let of = |words: &[&str]| complete(&home, &[&places[..], words].concat());
    assert_eq!(of(&["stop", ""]), ["web"]);
    assert_eq!(of(&["rm", "-f", ""]), ["old", "web"]);
    assert_eq!(of(&["container", "inspect", "o"]), ["old"]);
    assert_eq!(of(&["run", "-it", "bus"]), ["busybox:latest"]);
    assert_eq!(of(&["volume", "rm", ""]), ["data"]);
    assert_eq!(of(&["run", "--network", "cont"]), ["container:web"]);
    assert_eq!(of(&["run", "--network=cont"]), ["--network=container:web"]);
    assert_eq!(of(&["volume", "cre"]), ["create"]);
    home.run(&["network", "create", "backend"]).ok();
    assert_eq!(of(&["network", "rm", ""]), ["backend"]);
    assert_eq!(of(&["network", "connect", "b"]), ["backend", "bridge"]);
    assert_eq!(of(&["network", "connect", "backend", "w"]), ["web"]);
    assert_eq!(of(&["network", "disconnect", "backend", "o"]), ["old"]);
    assert_eq!(of(&["run", "--network", "back"]), ["backend"]);
    assert_eq!(of(&["inspect", "back"]), ["backend"]);
    assert_eq!(
        complete(&Home::new(), &["--root", "/nonexistent", "stop", ""]),
        [""; 0]
    );
}

#[test]
fn the_bash_script_works_in_bash() {
    let Some(home) = home() else { return };
    let script = home.run(&["completion", "bash"]).ok().to_owned();
    let program = env!("CARGO_BIN_EXE_rbuild");
    let root = home.root();
    let line = format!(
        "{program} --root {} --run-root {} run busybox:l",
        root.display(),
        home.run_root().display()
    );
    let script = format!(
        "{script}\nCOMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; _rbuild; echo \"${{COMPREPLY[@]}}\""
    );
    let shown = run_piped("bash", &["-s"], script.as_bytes());
    assert_eq!(String::from_utf8_lossy(&shown).trim(), "latest");
    for shell in ["zsh", "fish"] {
        assert!(
            home.run(&["completion", shell])
                .ok()
                .contains("__complete --")
        );
    }
    home.run(&["completion", "csh"]).fails(1, "csh");
}

#[test]
fn manual_pages_are_written() {
    let home = Home::new();
    let directory = home.scratch().join("man1");
    let written = home.run(&["man", directory.to_str().unwrap()]);
    assert!(
        written
            .ok()
            .lines()
            .any(|line| line.ends_with("/rbuild-volume-create.1"))
    );
    let page = std::fs::read_to_string(directory.join("rbuild-ps.1")).unwrap();
    assert!(
        page.contains(".SH OPTIONS") && page.contains("\\-\\-filter"),
        "{page}"
    );
}
