//! The rules of this repository that no compiler knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file beneath `dir` whose name ends with `ending`, sorted.
fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![top().join(dir)];
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn shown(path: &Path) -> String {
    let short = path.strip_prefix(top()).unwrap_or(path);
    short.display().to_string()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|err| panic!("{}: {err}", shown(path)))
}

fn assert_none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The floor of each module, from the groups of `pub mod` in `src/lib.rs` that
/// blank lines separate; the lowest is 0.
fn floors(lib: &str) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    let mut floor = 0;
    let mut any = false;
    for line in lib.lines().map(str::trim) {
        if let Some(module) = line.strip_prefix("pub mod ") {
            floors.insert(module.trim_end_matches(';').to_owned(), floor);
            any = true;
        } else if line.is_empty() && any {
            floor += 1;
            any = false;
        }
    }
    floors
}

/// The modules of `crate::x` paths in a line, `use crate::{x, y::z}` included.
fn modules_used(line: &str) -> Vec<String> {
    let mut used = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("crate::") {
        let before = rest[..at].chars().next_back();
        rest = &rest[at + "crate::".len()..];
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let name = |text: &str| -> String {
            text.trim()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        match rest.strip_prefix('{') {
            None => used.push(name(rest)),
            Some(group) => {
                let mut depth = 0;
                let mut start = 0;
                for (index, char) in group.char_indices() {
                    match char {
                        '{' => depth += 1,
                        '}' if depth == 0 => {
                            used.push(name(&group[start..index]));
                            break;
                        }
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            used.push(name(&group[start..index]));
                            start = index + 1;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    used.retain(|name| !name.is_empty());
    used
}

/// A source text with each statement that `use crate::{` opens on one line,
/// beside the number of the line that it starts on. Comments are left out.
fn statements(text: &str) -> Vec<(usize, String)> {
    let mut statements: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        let code = match line.trim_start() {
            comment if comment.starts_with("//") => "",
            code => code,
        };
        match statements.last_mut().filter(|_| open) {
            Some((_, statement)) => {
                statement.push(' ');
                statement.push_str(code);
            }
            None => statements.push((index + 1, code.to_owned())),
        }
        let starts = code.contains("crate::{") && !code.contains('}');
        open = (open || starts) && !code.contains(';');
    }
    statements
}

#[test]
fn modules_use_only_floors_below() {
    let floors = floors(&read(&top().join("src/lib.rs")));
    assert!(
        floors.len() > 10,
        "src/lib.rs is not as expected: {floors:?}"
    );
    let mut problems = Vec::new();
    for path in files("src", ".rs") {
        let inside = path.strip_prefix(top().join("src")).unwrap();
        let first = inside.iter().next().unwrap().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        let Some(floor) = floors.get(&module) else {
            continue;
        };
        for (line, statement) in statements(&read(&path)) {
            for used in modules_used(&statement) {
                match floors.get(&used) {
                    Some(_) if used == module => {}
                    Some(below) if below < floor => {}
                    Some(_) => problems.push(format!(
                        "{}:{line}: `{module}` may not use `{used}`, which is not on a floor below",
                        shown(&path)
                    )),
                    None => {}
                }
            }
        }
    }
    assert_none(&problems);
}

#[test]
fn paths_are_found_in_every_spelling() {
    assert_eq!(modules_used("use crate::store::{self, Store};"), ["store"]);
    assert_eq!(
        modules_used("use crate::{build, image::{self, Image}, oci};"),
        ["build", "image", "oci"]
    );
    assert_eq!(
        modules_used("let x = crate::fs::at(crate::oci::y);"),
        ["fs", "oci"]
    );
    assert!(modules_used("use other_crate::x;").is_empty());
    let text = "use crate::{\n    a,\n    b::c,\n};\nfn f() {}\n// crate::d\n";
    let found: Vec<_> = statements(text)
        .iter()
        .flat_map(|(_, statement)| modules_used(statement))
        .collect();
    assert_eq!(found, ["a", "b"]);
}

#[test]
fn every_source_file_says_what_it_is_for() {
    let mut problems = Vec::new();
    for path in files("src", ".rs") {
        let text = read(&path);
        let headed = text.starts_with("//!");
        // A sibling file of tests is described by its parent.
        let tests = path.ends_with("tests.rs") || shown(&path).contains("/tests/");
        if !headed && !tests {
            problems.push(format!("{}:1: the file has no `//!`", shown(&path)));
        }
    }
    assert_none(&problems);
}

#[test]
fn every_test_file_in_testdata_is_used() {
    let mut sources = String::new();
    for path in [
        files("src", ".rs"),
        files("tests", ".rs"),
        files("tests", ".sh"),
    ]
    .concat()
    {
        sources.push_str(&read(&path));
    }
    let mut problems = Vec::new();
    for path in files("testdata", "") {
        let name = shown(&path);
        // A file is used when it, or a directory above it, is named.
        let mut dir = PathBuf::from(&name);
        let used = loop {
            if dir == Path::new("testdata") || dir == Path::new("") {
                break false;
            }
            if sources.contains(&*dir.to_string_lossy()) {
                break true;
            }
            dir.pop();
        };
        if !used {
            problems.push(format!("{name}: no test names it"));
        }
    }
    assert_none(&problems);
}

#[test]
fn every_page_is_linked_from_another() {
    let mut pages = files("docs", ".md");
    pages.push(top().join("README.md"));
    let mut linked: BTreeSet<PathBuf> = BTreeSet::new();
    let mut problems = Vec::new();
    for page in &pages {
        let text = read(page);
        let dir = page.parent().unwrap();
        for (index, line) in text.lines().enumerate() {
            for part in line.split("](").skip(1) {
                let target = part.split([')', '#', ' ']).next().unwrap_or("");
                if target.is_empty() || target.contains("://") {
                    continue;
                }
                match dir.join(target).canonicalize() {
                    Ok(target) if target != *page => {
                        linked.insert(target);
                    }
                    Ok(_) => {}
                    Err(_) => problems.push(format!(
                        "{}:{}: the link to `{target}` leads nowhere",
                        shown(page),
                        index + 1
                    )),
                }
            }
        }
    }
    for page in &pages {
        let canonical = page.canonicalize().unwrap();
        if shown(page) != "README.md" && !linked.contains(&canonical) {
            problems.push(format!("{}: no page links to it", shown(page)));
        }
    }
    assert_none(&problems);
}

#[test]
fn no_file_names_paths_of_one_machine() {
    // Put together here, so that this file does not name them either.
    let words = [["/wor", "k/"].concat(), ["/far", "m/"].concat()];
    let homes = ["/roo", "t/."].concat();
    let mut paths = Vec::new();
    for (dir, ending) in [
        ("src", ""),
        ("tests", ""),
        ("docs", ""),
        ("testdata", ""),
        (".ci", ""),
        ("bench", ""),
    ] {
        paths.extend(files(dir, ending));
    }
    paths.push(top().join("README.md"));
    paths.push(top().join("Cargo.toml"));
    let mut problems = Vec::new();
    for path in paths {
        // Data that is no text has no words.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            // Dockerfiles among the test data have every right to root's home.
            let home = (!shown(&path).starts_with("testdata")).then_some(&homes);
            for word in words
                .iter()
                .chain(home)
                .filter(|word| contains_path(line, word))
            {
                problems.push(format!("{}:{}: names `{word}`", shown(&path), index + 1));
            }
        }
    }
    assert_none(&problems);
}

/// Whether a line holds `path` as the start of an absolute path.
fn contains_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| {
            c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '}' | '>' | '"')
        })
    })
}
