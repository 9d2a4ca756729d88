use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn patterns(lines: &[&str]) -> Patterns {
    let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
    Patterns::new(&lines).unwrap()
}

fn check(lines: &[&str], ignored: &[&str], kept: &[&str]) {
    let patterns = patterns(lines);
    for path in ignored {
        assert!(patterns.matches(Path::new(path)), "{lines:?} and {path}");
    }
    for path in kept {
        assert!(!patterns.matches(Path::new(path)), "{lines:?} and {path}");
    }
}

#[test]
fn plain_paths_are_anchored_and_cover_what_is_below() {
    check(&["a"], &["a", "a/b", "a/b/c"], &["b/a", "ab", "A"]);
    check(&["a/b"], &["a/b", "a/b/c"], &["a", "a/bc", "b"]);
    check(&["./a//b/"], &["a/b"], &["a"]);
}

#[test]
fn wildcards_stay_within_a_component() {
    check(&["*.o"], &["x.o", ".o", "x.o/y"], &["a/x.o", "x.oo"]);
    check(&["a/*"], &["a/b", "a/b/c"], &["a", "b"]);
    check(&["*/b"], &["a/b", "c/b/d"], &["b", "a/c/b"]);
    check(&["a?c"], &["abc", "a☺c"], &["ac", "a/c", "abbc"]);
    check(&["*a*b*"], &["ab", "xaxbx", "xaxbx/y"], &["ba", "a/b"]);
    check(&["[a-cx]"], &["a", "b", "x"], &["d", "ab"]);
    check(&["[^a]"], &["b", "é"], &["a"]);
    check(&[r"\*", r"[\]]"], &["*", "]"], &["a"]);
}

#[test]
fn double_stars_cross_components() {
    check(&["**/x"], &["x", "a/x", "a/b/x", "a/x/y"], &["ax", "xa"]);
    check(&["a/**"], &["a/b", "a/b/c"], &["a", "b/a/c"]);
    check(
        &["a/**/b"],
        &["a/b", "a/x/b", "a/x/y/b", "a/b/c"],
        &["b", "ab", "x/a/b"],
    );
    check(&["**/*.o"], &["x.o", "a/b/x.o"], &["x.c"]);
    check(&["**"], &["a", "a/b"], &[]);
    check(&["**/**/x*"], &["x", "a/xy"], &["a"]);
    check(&["a**"], &["a", "ab", "ab/c"], &["b"]);
    check(&["**a"], &["a", "ba", "c/ba"], &["ab"]);
}

#[test]
fn last_match_decides() {
    check(&["*", "!a"], &["b", "b/a"], &["a", "a/b"]);
    check(
        &["a", "!a/b", "a/b/c"],
        &["a", "a/x", "a/b/c"],
        &["a/b", "a/b/d"],
    );
    check(&["!a", "*"], &["a", "a/b"], &[]);
    check(
        &["**/*.md", "!README.md"],
        &["x.md", "a/README.md"],
        &["README.md"],
    );
    check(
        &["*.md", "!README*.md", "README-secret.md"],
        &["x.md", "README-secret.md"],
        &["README-x.md"],
    );
}

#[test]
fn exclusion_that_changed_nothing_above_changes_nothing_below() {
    // The directory is not ignored when `!a` is reached, so `!a` is not
    // remembered for what lies beneath.
    check(&["a/b", "!a"], &["a/b", "a/b/c"], &["a", "a/x"]);
}

#[test]
fn root_is_never_ignored() {
    check(&["**", "."], &[], &[".", ""]);
}

#[test]
fn malformed_patterns_are_refused() {
    for pattern in [
        "[", "[a", "[]", "[]a]", "[^", "[a-", "[-a]", "[a-]", "[b-a]", "a\\", "x[",
    ] {
        let error = Patterns::new(&[pattern.to_owned()]).unwrap_err();
        assert_eq!(error, IgnoreError::Syntax(pattern.to_owned()));
    }
    assert_eq!(
        Patterns::new(&["!".to_owned()]).unwrap_err(),
        IgnoreError::LoneExclusion
    );
    assert!(Patterns::new(&["*a".repeat(1000)]).is_err());
}

#[test]
fn ignore_files_are_read() {
    let text = "\u{feff}# comment\n  # no comment\n\n a \n/b/\n./c/../d\n! /e\n!\n/\n..\r\nf#\n";
    let want = ["# no comment", "a", "b", "d", "!e", "!", "/", "..", "f#"];
    assert_eq!(Patterns::read(text), want);
    assert!(
        Patterns::new(&Patterns::read("# x\n\n"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn directories_are_walked_for_exclusions_only() {
    let below = |lines: &[&str], dir: &str| patterns(lines).may_reinclude_below(Path::new(dir));
    assert!(!below(&["a"], "a"));
    assert!(below(&["*", "!a/b"], "a"));
    assert!(!below(&["*", "!a/b"], "b"));
    assert!(!below(&["*", "!a/b"], "a/b/c"));
    assert!(below(&["*", "!a/b/c"], "a/b"));
    assert!(below(&["*", "!**/x"], "q/r"));
    assert!(below(&["*", "!a/*/x"], "a/b"));
    assert!(below(&["*", "!a/*/x"], "a"));
    assert!(!below(&["*", "!a/*"], "a/b"));
    assert!(!below(&["*", "!*.md"], "a"));
    assert!(below(&["*", "!a*/x"], "ab"));
    assert!(!below(&["*", "!a*/x"], "b"));
    assert!(below(&["*", "!a/**"], "a/b/c"));
    assert!(below(&["*", "!a/**/[xy]?"], "a/b/c"));
}

#[test]
fn judging_along_a_walk_agrees_with_whole_paths() {
    let patterns = patterns(&["a", "!a/b", "**/*.o", "!keep/**/x.o", "keep/z"]);
    for path in [
        "a/b/c",
        "a/x.o",
        "keep/y/x.o",
        "keep/z/x.o",
        "keep/x.o",
        "q/r/s.o/t",
    ] {
        let mut verdict = None;
        for end in Path::new(path)
            .ancestors()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .skip(1)
        {
            verdict = Some(patterns.judge(end, verdict.as_ref()));
        }
        assert_eq!(
            verdict.unwrap().is_ignored,
            patterns.matches(Path::new(path)),
            "{path}"
        );
    }
}

#[test]
fn names_need_not_be_utf8() {
    let path = Path::new(OsStr::from_bytes(b"a\xffb"));
    assert!(patterns(&["a?b"]).matches(path));
    assert!(patterns(&["a*"]).matches(path));
    assert!(!patterns(&["a[b]b"]).matches(path));
}

fn vectors(name: &str) -> Vec<Value> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance");
    let roots = [Some(beside), option_env!("RBUILD_CONFORMANCE")];
    let file = roots
        .into_iter()
        .flatten()
        .find_map(|root| fs::read_to_string(format!("{root}/data/dockerignore/{name}")).ok());
    let Some(file) = file else {
        println!("skipped: no conformance data `{name}` (RBUILD_CONFORMANCE)");
        return Vec::new();
    };
    match serde_json::from_str(&file).unwrap() {
        Value::Object(mut file) if file.contains_key("cases") => {
            file["cases"].as_array_mut().unwrap().drain(..).collect()
        }
        file => vec![file],
    }
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().unwrap().iter();
    items
        .map(|item| item.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn vectors_of_lists() {
    for case in vectors("match.json") {
        let patterns = Patterns::new(&strings(&case["patterns"])).unwrap();
        let got = patterns.matches(Path::new(case["path"].as_str().unwrap()));
        assert_eq!(Some(got), case["match"].as_bool(), "{case}");
    }
}

#[test]
fn vectors_of_single_patterns() {
    for case in vectors("single.json") {
        let compiled = Patterns::new(&[case["pattern"].as_str().unwrap().to_owned()]);
        assert_eq!(Some(compiled.is_err()), case["error"].as_bool(), "{case}");
        let Ok(patterns) = compiled else { continue };
        let got = patterns.matches(Path::new(case["path"].as_str().unwrap()));
        assert_eq!(Some(got), case["match"].as_bool(), "{case}");
    }
}

#[test]
fn vectors_of_files() {
    for case in vectors("read.json") {
        let got = Patterns::read(case["input"].as_str().unwrap());
        assert_eq!(got, strings(&case["expect"]), "{case}");
    }
}

/// A matcher that is slow and plainly right, for patterns of letters, `*` and
/// `**/`.
fn slow(pattern: &[u8], path: &[u8]) -> bool {
    match pattern {
        [] => path.is_empty(),
        [b'*', b'*', b'/', rest @ ..] => {
            slow(rest, path)
                || (0..path.len()).any(|at| path[at] == b'/' && slow(rest, &path[at + 1..]))
        }
        [b'*', rest @ ..] => {
            let end = path
                .iter()
                .position(|byte| *byte == b'/')
                .unwrap_or(path.len());
            (0..=end).any(|at| slow(rest, &path[at..]))
        }
        [first, rest @ ..] => path.first() == Some(first) && slow(rest, &path[1..]),
    }
}

proptest! {
    #[test]
    fn matching_never_panics(lines in prop::collection::vec("[ab*?!/\\\\\\[\\]^.é-]{0,12}", 0..4), path in "[ab/.é]{0,20}") {
        if let Ok(patterns) = Patterns::new(&lines) {
            let _ = patterns.matches(Path::new(&path));
            let _ = patterns.may_reinclude_below(Path::new(&path));
        }
        Patterns::read(&lines.join("\n"));
    }

    #[test]
    fn tokens_agree_with_the_slow_matcher(
        pattern in "(\\*\\*/|[ab]?\\*?[ab]/){0,3}[ab]?\\*[ab]",
        path in "[ab]{1,3}(/[ab]{1,3}){0,3}",
    ) {
        let glob = Glob::new(&cleaned(&pattern)).unwrap();
        prop_assert_eq!(
            glob.matches(path.as_bytes(), Goal::Path),
            slow(cleaned(&pattern).as_bytes(), path.as_bytes())
        );
    }
}

#[test]
fn hostile_patterns_are_quick() {
    let glob = Glob::new(&format!("{}b", "*a".repeat(120))).unwrap();
    assert!(!glob.matches("a".repeat(4_000).as_bytes(), Goal::Path));
    let glob = Glob::new(&format!("{}b?", "**/a*/".repeat(60))).unwrap();
    let path = "aa/".repeat(1_000);
    let ends = glob::ends(path.as_bytes());
    assert!(!glob.matches(path.as_bytes(), Goal::PathOrParent(&ends)));
}

#[test]
#[ignore = "measures"]
fn speed() {
    let lines: Vec<_> = (0..50)
        .map(|index| match index % 5 {
            0 => format!("dir{index}/**"),
            1 => format!("**/target{index}"),
            2 => format!("*.x{index}"),
            3 => format!("**/*.y{index}"),
            _ => format!("a/b{index}/*/c"),
        })
        .collect();
    let with_exclusion = [lines.clone(), vec!["!keep".to_owned()]].concat();
    let paths: Vec<_> = (0..20_000)
        .map(|index| format!("src/module{}/part{}/file{index}.rs", index % 100, index % 7))
        .collect();
    for lines in [lines, with_exclusion] {
        let patterns = Patterns::new(&lines).unwrap();
        let start = std::time::Instant::now();
        let ignored = paths
            .iter()
            .filter(|path| patterns.matches(Path::new(path)))
            .count();
        println!("{ignored} of {} in {:?}", paths.len(), start.elapsed());
    }
}
