//! Conformance vectors that BuildKit passes. They are not part of the
//! repository: the tests say so and pass where they are absent.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::dump::dump;
use super::super::json::{Array, array};
use super::super::lexer::{Lexer, Mode};
use super::super::lines::Logical;
use super::super::words::split_quoted;
use super::super::{
    Diagnostic, Level, Scope, directives, expand, expand_words, git_reference, node, parse,
};

/// The directory of the vectors.
fn data(name: &str) -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance");
    let roots = [Some(beside), option_env!("RBUILD_CONFORMANCE")];
    let path = roots
        .into_iter()
        .flatten()
        .map(|root| Path::new(root).join("data").join(name))
        .find(|path| path.exists());
    if path.is_none() {
        println!("skipped: no conformance data `{name}` (RBUILD_CONFORMANCE)");
    }
    path
}

fn json(name: &str) -> Option<Value> {
    let text = fs::read_to_string(data(name)?).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

fn cases(name: &str) -> Vec<Value> {
    json(name).map_or_else(Vec::new, |file| file["cases"].as_array().unwrap().clone())
}

fn strings(value: &Value) -> Option<Vec<String>> {
    let list = value.as_array()?.iter();
    Some(list.map(|item| item.as_str().unwrap().to_owned()).collect())
}

impl<S: std::hash::BuildHasher> Scope for HashMap<String, String, S> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }
}

fn errors(diagnostics: &[Diagnostic]) -> Vec<&str> {
    let errors = diagnostics
        .iter()
        .filter(|found| found.level == Level::Error);
    errors.map(|found| found.message.as_str()).collect()
}

#[test]
fn parser_trees() {
    let Some(directory) = data("dockerfile-parser/testfiles") else {
        return;
    };
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(path.join("Dockerfile")).unwrap();
        let want = fs::read_to_string(path.join("result")).unwrap();
        let tree = node::read(&text);
        assert_eq!(errors(&tree.diagnostics), [""; 0], "{}", path.display());
        assert_eq!(dump(&tree.nodes), want, "{}", path.display());
    }
}

#[test]
fn parser_refusals() {
    let Some(directory) = data("dockerfile-parser/testfiles-negative") else {
        return;
    };
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(path.join("Dockerfile")).unwrap();
        let tree = node::read(&text);
        assert!(!errors(&tree.diagnostics).is_empty(), "{}", path.display());
    }
}

#[test]
fn parser_lines() {
    let Some(directory) = data("dockerfile-parser/testfile-line") else {
        return;
    };
    let text = fs::read_to_string(directory.join("Dockerfile")).unwrap();
    let want = fs::read_to_string(directory.join("lines.json")).unwrap();
    let want: Value = serde_json::from_str(&want).unwrap();
    let nodes = node::read(&text).nodes;
    let got: Vec<_> = nodes
        .iter()
        .map(|node| [node.lines.0, node.lines.1])
        .collect();
    assert_eq!(serde_json::json!(got), want["children"]);
}

fn shell_file(name: &str, mut check: impl FnMut(&str)) {
    let Some(path) = data(name) else {
        return;
    };
    for line in fs::read_to_string(path).unwrap().lines() {
        if !line.starts_with('#') && !line.trim().is_empty() {
            check(line);
        }
    }
}

#[test]
fn expansion_table() {
    let scope: HashMap<_, _> = [
        ("PWD", "/home"),
        ("SHELL", "bash"),
        ("KOREAN", "한국어"),
        ("NULL", ""),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    shell_file("shell/envVarTest", |line| {
        let parts: Vec<_> = line.splitn(3, '|').map(str::trim).collect();
        let [platform, input, want] = parts[..] else {
            panic!("{line}");
        };
        if platform == "W" {
            return;
        }
        match expand(input, '\\', &scope) {
            Ok(expanded) => assert_eq!(expanded.text, want, "{line}"),
            Err(error) => assert_eq!(want, "error", "{line}: {error}"),
        }
    });
}

#[test]
fn word_table() {
    let mut scope = HashMap::new();
    shell_file("shell/wordsTest", |line| {
        if let Some(assignment) = line.strip_prefix("ENV ") {
            let (name, value) = assignment.split_once('=').unwrap();
            scope.insert(name.trim_start().to_owned(), value.to_owned());
            return;
        }
        let (input, want) = line.split_once('|').unwrap();
        let want: Vec<_> = want.trim_start().split(',').map(str::to_owned).collect();
        match expand_words(input.trim(), '\\', &scope) {
            Ok(words) => assert_eq!(words, want, "{line}"),
            Err(error) => assert_eq!(want, ["error"], "{line}: {error}"),
        }
    });
}

#[test]
fn expansion_with_names() {
    for case in cases("shell/expand.json") {
        let scope: HashMap<String, String> = case["env"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
            .collect();
        let got = expand(case["input"].as_str().unwrap(), '\\', &scope);
        let is_error = case["error"].as_bool().unwrap();
        let Ok(got) = got else {
            assert!(is_error, "{case}: {got:?}");
            continue;
        };
        assert!(!is_error, "{case}: {got:?}");
        assert_eq!(got.text, case["expect"].as_str().unwrap(), "{case}");
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        assert_eq!(
            Some(sorted(got.matched)),
            strings(&case["matched"]),
            "{case}"
        );
        assert_eq!(
            Some(sorted(got.unmatched)),
            strings(&case["unmatched"]),
            "{case}"
        );
    }
}

#[test]
fn words_keep_quotes() {
    for case in cases("instructions/words.json") {
        let mut line = Logical::default();
        line.push(case["input"].as_str().unwrap(), 0);
        let words = split_quoted(line.all(), '\\');
        let words: Vec<_> = words
            .into_iter()
            .map(|word| word.text().to_owned())
            .collect();
        assert_eq!(Some(words), strings(&case["expect"]), "{case}");
    }
}

#[test]
fn exec_form() {
    for case in cases("instructions/json-form.json") {
        let got = match array(case["input"].as_str().unwrap()) {
            Array::Strings(words) => Some(words.into_iter().map(|(word, _)| word).collect()),
            _ => None,
        };
        assert_eq!(got, strings(&case["expect"]), "{case}");
    }
}

#[test]
fn directives_at_the_head() {
    for case in cases("instructions/directives.json") {
        let text = case["input"].as_str().unwrap();
        let got = match case["name"].as_str().unwrap() {
            "syntax" => directives::find_syntax(text),
            name => directives::find(text, name),
        };
        let value = got.as_ref().map(|found| found.text.as_str());
        assert_eq!(value, case["value"].as_str(), "{case}");
        if let Some(line) = case.get("line") {
            let got = got.map(|found| found.span.line(text) as u64);
            assert_eq!(got, line.as_u64(), "{case}");
        }
    }
}

#[test]
fn instruction_errors() {
    for case in cases("instructions/errors.json") {
        let text = format!("FROM scratch\n{}", case["dockerfile"].as_str().unwrap());
        let parsed = parse(&text);
        let errors = errors(&parsed.diagnostics);
        let want = case["error"].as_str().unwrap();
        assert!(
            errors.iter().any(|error| error.contains(want)),
            "{case}: {errors:?}"
        );
    }
}

#[test]
fn git_references() {
    for case in cases("instructions/git-ref.json") {
        let got = git_reference(case["ref"].as_str().unwrap());
        if let Some(want) = case["error"].as_str() {
            let error = got.unwrap_err();
            assert!(error.contains(want), "{case}: {error}");
            continue;
        }
        let got = got.unwrap().map(|git| {
            let mut object = serde_json::Map::new();
            let mut put = |key: &str, value: Option<Value>| {
                object.extend(value.map(|value| (key.to_owned(), value)));
            };
            let flag = |on: bool| on.then_some(Value::Bool(true));
            put("Remote", Some(git.remote.into()));
            put("ShortName", Some(git.short_name.into()));
            put("Ref", git.reference.map(Value::from));
            put("SubDir", git.subdir.map(Value::from));
            put("Checksum", git.checksum.map(Value::from));
            let mtime = |of_commit| if of_commit { "commit" } else { "checkout" };
            put("MTime", git.mtime_of_commit.map(mtime).map(Value::from));
            put(
                "IndistinguishableFromLocal",
                flag(git.indistinguishable_from_local),
            );
            put("UnencryptedTCP", flag(git.unencrypted));
            put("FetchByCommit", flag(git.fetch_by_commit));
            put("KeepGitDir", git.keep_git_dir.map(Value::from));
            put("Submodules", git.submodules.map(Value::from));
            Value::from(object)
        });
        assert_eq!(got.unwrap_or_default(), case["expect"], "{case}");
    }
}

#[test]
fn heredocs() {
    let Some(file) = json("heredoc/extract.json") else {
        return;
    };
    let tree = node::read(file["dockerfile"].as_str().unwrap());
    assert_eq!(errors(&tree.diagnostics), [""; 0]);
    let got: Vec<Value> = tree.nodes[1..]
        .iter()
        .map(|node| match node.heredocs.as_slice() {
            [] => Value::Null,
            heredocs => heredocs
                .iter()
                .map(|heredoc| {
                    serde_json::json!({
                        "name": heredoc.name,
                        "content": heredoc.raw,
                        "expand": heredoc.expand,
                        "chomp": heredoc.chomp,
                        "fd": heredoc.fd,
                    })
                })
                .collect(),
        })
        .collect();
    assert_eq!(Value::from(got), file["instructions"]);
}

#[test]
fn corpus_of_real_files() {
    let Some(path) = data("corpus/dockerfiles.jsonl") else {
        return;
    };
    let mut count = 0;
    for line in fs::read_to_string(path).unwrap().lines() {
        let item: Value = serde_json::from_str(line).unwrap();
        let name = format!("{}:{}", item["repo"], item["path"]);
        let text = item["text"].as_str().unwrap();
        let parsed = parse(text);
        let errors = errors(&parsed.diagnostics);
        count += 1;
        if let Some(want) = item.get("error").and_then(Value::as_str) {
            assert!(errors.contains(&want), "{name}: {errors:?}");
            continue;
        }
        assert_eq!(errors, [""; 0], "{name}");
        let file = parsed.dockerfile;
        let got: Vec<_> = file
            .stages
            .iter()
            .map(|stage| {
                let from = &stage.from;
                let name = from
                    .value
                    .name
                    .as_ref()
                    .map_or("", |name| name.text.as_str());
                let base = from.value.base.text.clone();
                (name.to_owned(), base, from.span.line(text) as u64)
            })
            .collect();
        let want: Vec<_> = item["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| {
                let text = |key: &str| target[key].as_str().unwrap().to_owned();
                (text("name"), text("base"), target["line"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(got, want, "{name}");
    }
    println!("{count} files");
}

#[test]
fn heredoc_lexing_never_replaces() {
    // Not a vector: the mode that heredocs are looked for in is the one the
    // tables above do not reach.
    let mode = Mode {
        keep_quotes: true,
        keep_escapes: true,
        keep_unset: true,
        ..Mode::default()
    };
    let text = r#"a\$b "$c ${d:-e}" ${f#g} ${h/i/j} 'k'"#;
    let scope: HashMap<String, String> = HashMap::new();
    let words = Lexer::new(text, '\\', mode, &scope).words().unwrap();
    assert_eq!(words.join(" "), text);
}
