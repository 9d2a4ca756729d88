//! Every verb and flag of the table in `docs/compatibility.md` that is here has a
//! test that uses it: a statement of a test, or a line of the story, with the
//! verb's name and the flag.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::compatibility::rows;
use crate::support::Home;

/// Groups whose tests call their verbs through functions of their own.
const ELSEWHERE: [&str; 7] = [
    "build",
    "builder",
    "imagetools",
    "manifest",
    "registry",
    "context",
    "debug",
];

/// Verbs by further names: where one stands, so may the other.
fn names(command: &str) -> Vec<&str> {
    match command {
        // Both take the same flags by the same code.
        "run" | "create" => vec!["run", "create"],
        "rmi" | "image rm" => vec!["rmi", "image"],
        "images" | "image ls" => vec!["images", "image"],
        "ps" | "container ls" => vec!["ps", "container"],
        "image inspect" | "container inspect" | "inspect" => vec!["inspect", "image", "container"],
        other => vec![other.rsplit(' ').next().unwrap_or(other)],
    }
}

fn sources(dir: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(dir)];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found
}

/// The words of each statement of the tests, and of each line of the story.
fn statements() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut add = |text: &str| {
        let words = text.split(|c: char| c.is_whitespace() || "\"'&[](),".contains(c));
        all.push(words.map(str::to_owned).collect());
    };
    for path in sources("tests/suite", ".rs") {
        let text = std::fs::read_to_string(&path).unwrap();
        // A script in a test may well have semicolons: only those at the end of a line end a statement.
        text.split(";\n").for_each(&mut add);
    }
    for path in sources("tests/story", ".sh") {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().for_each(&mut add);
    }
    all
}

/// The letters of a verb's flags, from its help.
fn letters(home: &Home, command: &str) -> BTreeMap<String, char> {
    let words: Vec<&str> = command.split(' ').chain(["--help"]).collect();
    let help = home.run(&words).text().to_owned();
    let lines = help.lines().filter_map(|line| {
        let (short, long) = line.trim_start().strip_prefix('-')?.split_once(", --")?;
        let end = long.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let long = &long[..end.unwrap_or(long.len())];
        Some((format!("--{long}"), short.chars().next()?))
    });
    lines.collect()
}

/// Whether a word of a test is this flag, alone, with a value, or among letters.
fn is_flag(word: &str, flag: &str, letter: Option<char>) -> bool {
    if let Some(rest) = word.strip_prefix(flag) {
        return rest.is_empty() || rest.starts_with('=');
    }
    let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.starts_with('-')) else {
        return false;
    };
    let letters = letters.split('=').next().unwrap_or_default();
    letter.is_some_and(|letter| letters.len() < 5 && letters.contains(letter))
}

#[test]
fn every_flag_that_is_here_is_used_by_a_test() {
    let home = Home::new();
    let statements = statements();
    let mut missing = Vec::new();
    for row in rows() {
        let group = row.command.split(' ').next().unwrap_or_default();
        if row.here.is_empty() || ELSEWHERE.contains(&group) {
            continue;
        }
        let names = names(&row.command);
        let letters = letters(&home, &row.command);
        let uses: Vec<&Vec<String>> = statements
            .iter()
            .filter(|words| words.iter().any(|word| names.contains(&word.as_str())))
            .collect();
        for flag in &row.here {
            let letter = letters.get(flag).copied();
            let is_used =
                |words: &&Vec<String>| words.iter().any(|word| is_flag(word, flag, letter));
            if !uses.iter().any(is_used) {
                missing.push(format!("`{} {flag}`", row.command));
            }
        }
    }
    assert!(missing.is_empty(), "no test uses\n{}", missing.join("\n"));
}
