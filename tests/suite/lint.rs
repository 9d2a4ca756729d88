//! The pages of the build checks: each rule has one, and its examples do what
//! they say.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rbuild::dockerfile::RULES;

use crate::support::Home;

/// A Dockerfile of a page, and the ignore file beside it.
#[derive(Debug, Default)]
struct Example {
    dockerfile: String,
    ignored: String,
}

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint")
}

/// The example beneath a heading of a page.
fn example(page: &str, heading: &str) -> Example {
    let (_, rest) = page
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("there is no {heading} in {page}"));
    let section = rest.split("\n## ").next().unwrap_or_default();
    let mut example = Example::default();
    let mut inside: Option<&str> = None;
    for line in section.lines() {
        match (inside, line.strip_prefix("```")) {
            (None, Some(language)) => inside = Some(language),
            (Some(_), Some(_)) => inside = None,
            (Some("dockerfile"), None) => example.dockerfile.push_str(&format!("{line}\n")),
            (Some("dockerignore"), None) => example.ignored.push_str(&format!("{line}\n")),
            _ => {}
        }
    }
    assert!(!example.dockerfile.is_empty(), "{heading} of {page}");
    example
}

/// The rules that fire on an example.
fn fired(home: &Home, example: &Example) -> Vec<String> {
    home.file("context/Dockerfile", &example.dockerfile);
    home.file("context/.dockerignore", &example.ignored);
    let context = home.scratch().join("context");
    let check = ["build", "--check", context.to_str().unwrap()];
    let outcome = home.run(&check);
    let text = String::from_utf8(outcome.stdout.clone()).unwrap();
    let lines = text.lines();
    let rules = lines.filter_map(|line| line.strip_prefix("WARNING: "));
    let rules = rules.map(|line| line.split(' ').next().unwrap_or_default().to_owned());
    let rules: Vec<String> = rules.collect();
    assert_eq!(outcome.code == 1, !rules.is_empty(), "{outcome:?}");
    rules
}

/// An image of no files for a machine that nobody has.
fn load_foreign(home: &Home) {
    let empty = [0_u8; 1024];
    let import = ["import", "--platform", "linux/s390x", "-", "foreign"];
    home.run_with(&import, &empty).ok();
}

#[test]
fn every_rule_has_a_page_whose_examples_hold() {
    let home = Home::new();
    load_foreign(&home);
    for rule in &RULES {
        let path = pages().join(format!("{}.md", rule.name));
        let page = fs::read_to_string(&path).unwrap_or_else(|err| panic!("{path:?}: {err}"));
        assert!(page.starts_with(&format!("# {}\n", rule.name)));
        if let Some(url) = rule.url() {
            assert!(page.contains(&url), "{path:?} does not link to {url}");
        }
        let bad = fired(&home, &example(&page, "Bad"));
        assert!(
            bad.iter().any(|name| name == rule.name),
            "{path:?}: {bad:?}"
        );
        // Nothing else may be wrong with an example, or it teaches that, too.
        let others: Vec<_> = bad.iter().filter(|name| *name != rule.name).collect();
        assert!(others.is_empty(), "{path:?}: {others:?}");
        let good = fired(&home, &example(&page, "Good"));
        assert!(good.is_empty(), "{path:?}: {good:?}");
    }
}

#[test]
fn every_page_has_a_rule_and_is_in_the_list() {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(pages()).unwrap() {
        let path = entry.unwrap().path();
        names.insert(path.file_stem().unwrap().to_string_lossy().into_owned());
    }
    assert!(names.remove("README"));
    let rules: BTreeSet<String> = RULES.iter().map(|rule| rule.name.to_owned()).collect();
    assert_eq!(names, rules);
    let list = fs::read_to_string(pages().join("README.md")).unwrap();
    for rule in &RULES {
        let link = format!("| [{0}]({0}.md) |", rule.name);
        assert!(list.contains(&link), "{}", rule.name);
    }
}

#[test]
fn the_example_of_the_list_is_as_it_says() {
    let home = Home::new();
    let list = fs::read_to_string(pages().join("README.md")).unwrap();
    let chosen = example(&list, "Choosing");
    assert!(fired(&home, &chosen).is_empty());
    let text = chosen
        .dockerfile
        .replace("skip=JSONArgsRecommended,StageNameCasing;", "");
    let plain = Example {
        dockerfile: text,
        ..Example::default()
    };
    let rules: BTreeSet<String> = fired(&home, &plain).into_iter().collect();
    let want = ["JSONArgsRecommended", "StageNameCasing"].map(str::to_owned);
    assert_eq!(rules, BTreeSet::from(want));
}
