//! The table of commands and flags in `docs/compatibility.md`, asked of the program.

use std::collections::BTreeSet;

use crate::support::{Home, Outcome};

/// A row of the table.
pub(super) struct Row {
    pub(super) command: String,
    pub(super) here: BTreeSet<String>,
    own: BTreeSet<String>,
    absent: BTreeSet<String>,
    /// Whether rbuild lacks the whole command.
    is_absent: bool,
}

/// The flags that a cell names, without their dashes' company.
fn flags(cell: &str) -> BTreeSet<String> {
    let words = cell.split('`').skip(1).step_by(2);
    words
        .filter(|word| word.starts_with("--"))
        .map(|word| word.split([' ', '=']).next().unwrap_or_default().to_owned())
        .collect()
}

pub(super) fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/compatibility.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, table) = text.split_once("## Every command and flag").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let cells = |line: &str| -> Vec<String> {
        let inner = line.trim().trim_matches('|').split(" | ");
        inner.map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells = cells(line);
        assert_eq!(cells.len(), 4, "{line}");
        Row {
            command: cells[0].trim_matches('`').to_owned(),
            here: flags(&cells[1]),
            own: flags(&cells[2]),
            absent: flags(&cells[3]),
            is_absent: cells[1] == "-" && cells[2] == "-",
        }
    })
    .collect()
}

fn help(home: &Home, command: &str, more: &[&str]) -> Outcome {
    let words: Vec<&str> = command.split(' ').chain(more.iter().copied()).collect();
    home.run(&words)
}

/// The flags and commands that a help text lists.
fn listed(help: &str) -> (BTreeSet<String>, Vec<String>) {
    let mut flags = BTreeSet::new();
    let mut commands = Vec::new();
    let mut section = "";
    for line in help.lines() {
        if let Some(title) = line
            .strip_suffix(':')
            .filter(|title| !title.starts_with(' '))
        {
            section = title;
            continue;
        }
        let word = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            text[..end.unwrap_or(text.len())].to_owned()
        };
        match section {
            "Commands" => {
                let name = line.strip_prefix("  ").map(word).unwrap_or_default();
                commands.extend(Some(name).filter(|name| !name.is_empty() && name != "help"));
            }
            "Options" => {
                let line = line.trim_start();
                let long = match line.strip_prefix("--") {
                    Some(rest) => Some(rest),
                    None if line.starts_with('-') => line.split_once(", --").map(|(_, rest)| rest),
                    None => None,
                };
                flags.extend(long.map(|rest| format!("--{}", word(rest))));
            }
            _ => {}
        }
    }
    flags.remove("--help");
    (flags, commands)
}

#[test]
fn the_table_says_what_the_program_says() {
    let home = Home::new();
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    for row in rows() {
        let command = row.command.as_str();
        known.insert(row.command.clone());
        let outcome = help(&home, command, &["--help"]);
        // A first word that is no command means `build`.
        let means_build = outcome.text().contains("\nUsage: rbuild build ");
        let is_here = outcome.code == 0 && (!means_build || command.contains("build"));
        match (row.is_absent, is_here) {
            (false, true) => {}
            (true, false) => continue,
            (true, true) => wrong.push(format!("`{command}` is here now")),
            (false, false) => {
                wrong.push(format!("`{command}` is not here"));
                continue;
            }
        }
        let (shown, _) = listed(outcome.text());
        for flag in row.here.union(&row.own) {
            // One that is accepted without being shown is known all the same.
            let asked = [format!("{flag}=1")];
            let unknown = || {
                let outcome = help(&home, command, &[&asked[0], "--help"]);
                outcome.stderr.contains("unknown flag")
            };
            if !shown.contains(flag) && unknown() {
                wrong.push(format!("`{command}` does not know {flag}"));
            }
        }
        for flag in &row.absent {
            if shown.contains(flag) {
                wrong.push(format!("`{command} {flag}` is here now"));
            }
        }
        for flag in &shown {
            if !row.here.contains(flag) && !row.own.contains(flag) && !row.absent.contains(flag) {
                wrong.push(format!("`{command} {flag}` is not in the table"));
            }
        }
    }
    let (_, top) = listed(home.run(&["--help"]).text());
    let mut pending = top;
    while let Some(command) = pending.pop() {
        let outcome = help(&home, &command, &["--help"]);
        let (_, beneath) = listed(outcome.text());
        // Verbs of groups have their row without the group.
        let alone = command.split_once(' ').map_or("", |(_, verb)| verb);
        if beneath.is_empty() && !known.contains(&command) && !known.contains(alone) {
            wrong.push(format!("the command `{command}` is not in the table"));
        }
        pending.extend(beneath.into_iter().map(|verb| format!("{command} {verb}")));
    }
    let hint = "change the table at the end of docs/compatibility.md";
    assert!(wrong.is_empty(), "{hint}:\n{}", wrong.join("\n"));
}
