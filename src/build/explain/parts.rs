//! How the parts of two keys differ, in words. Pure.

use std::collections::BTreeSet;

use super::visible;
use crate::build::key;
use crate::store::KeyPart;

/// Longest value that is shown, in characters.
const SHOWN: usize = 80;

/// One difference between what a step was made of and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// Something that the step itself has: the words for it.
    Text(String),
    /// The step that it works on.
    Parent,
    /// A step that it copies from, by the part's name.
    From(String),
    /// A step whose files it mounts, by the part's name.
    MountTree(String),
    /// The step that made the layer that it links.
    Layer,
    /// The step whose users it names.
    Users,
    /// Files of the context.
    Files,
}

/// The differences, in the order of the parts; `arguments` are the variables that
/// are arguments of the build.
pub(super) fn differences(
    old: &[KeyPart],
    new: &[KeyPart],
    arguments: &BTreeSet<String>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let value = |parts, name| key::value(parts, name);
    let mut add = |difference| {
        if !found.contains(&difference) {
            found.push(difference);
        }
    };
    if let Some(command) = command(old, new) {
        add(Difference::Text(command));
    }
    for part in visible(new).filter(|part| !is_argument(&part.name)) {
        let before = value(old, &part.name);
        if before == Some(part.value.as_str()) {
            continue;
        }
        add(difference(&part.name, before, Some(&part.value), arguments));
    }
    for part in visible(old).filter(|part| !is_argument(&part.name)) {
        if value(new, &part.name).is_none() {
            add(difference(&part.name, Some(&part.value), None, arguments));
        }
    }
    found
}

/// How much two runs differ: what a step itself has weighs more than its inputs.
pub(super) fn distance(old: &[KeyPart], new: &[KeyPart], arguments: &BTreeSet<String>) -> usize {
    let weight = |difference: &Difference| match difference {
        Difference::Text(_) => 4,
        Difference::Files => 2,
        _ => 1,
    };
    differences(old, new, arguments).iter().map(weight).sum()
}

fn difference(
    name: &str,
    old: Option<&str>,
    new: Option<&str>,
    arguments: &BTreeSet<String>,
) -> Difference {
    match name {
        "parent" => Difference::Parent,
        "files" => Difference::Files,
        "layer" => Difference::Layer,
        "users" => Difference::Users,
        _ if key::is_from(name) => Difference::From(name.to_owned()),
        _ if key::is_mount_tree(name) => Difference::MountTree(name.to_owned()),
        _ => Difference::Text(text(name, old, new, arguments)),
    }
}

/// A part in words, as it was and as it is; nothing where it is not there.
fn text(name: &str, old: Option<&str>, new: Option<&str>, arguments: &BTreeSet<String>) -> String {
    let (kind, rest) = name.split_once(' ').unwrap_or((name, ""));
    let number = || rest.parse::<usize>().map_or(1, |number| number + 1);
    let what = match (kind, rest) {
        ("variable", variable) if arguments.contains(variable) => {
            format!("build argument {variable}")
        }
        ("destination" | "instruction" | "network" | "user" | "working" | "variable", _) => {
            name.to_owned()
        }
        ("script", "") => "the script".to_owned(),
        ("heredoc", file) => format!("the text of {file}"),
        ("host", host) => format!("--add-host {host}"),
        ("epoch", "") => "SOURCE_DATE_EPOCH".to_owned(),
        ("mount", _) => format!("mount {}", number()),
        ("source", _) => format!("source {}", number()),
        ("exclude", _) => format!("--exclude {}", number()),
        ("path", "") => "the directory".to_owned(),
        ("chown" | "chmod" | "checksum" | "security" | "parents" | "link" | "unpack", "") => {
            format!("--{kind}")
        }
        _ => name.to_owned(),
    };
    // An option that is not given is an empty text in older keys.
    let is_given = |text: &&str| !text.is_empty() || kind == "variable";
    if kind == "host" {
        return match new {
            Some(_) => format!("{what} is new"),
            None => format!("{what} is gone"),
        };
    }
    match (old.filter(is_given), new.filter(is_given)) {
        (Some(old), Some(new)) => format!(
            "{what} changed from {:?} to {:?}",
            shortened(old),
            shortened(new)
        ),
        (None, Some(new)) => format!("{what} is new: {:?}", shortened(new)),
        (Some(old), None) => format!("{what} is gone: it was {:?}", shortened(old)),
        (None, None) => format!("{what} changed"),
    }
}

/// How the commands differ: as a whole, because a word alone says little.
fn command(old: &[KeyPart], new: &[KeyPart]) -> Option<String> {
    let words = |parts: &[KeyPart]| -> Vec<String> {
        let words = visible(parts).filter(|part| is_argument(&part.name));
        words.map(|part| part.value.clone()).collect()
    };
    let (old, new) = (words(old), words(new));
    if old == new {
        return None;
    }
    // The instruction is the same, so it is most often the shell that is not.
    let (Some((was, before)), Some((is, after))) = (old.split_last(), new.split_last()) else {
        return Some("the command changed".to_owned());
    };
    if was == is {
        return Some(format!("the shell changed from {before:?} to {after:?}"));
    }
    Some(format!(
        "the command changed from {:?} to {:?}",
        shortened(&old.join(" ")),
        shortened(&new.join(" "))
    ))
}

fn is_argument(name: &str) -> bool {
    name.starts_with("argument ")
}

/// A text of any length on one line.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(texts: &[(&str, &str)]) -> Vec<KeyPart> {
        let part = |(name, value): &(&str, &str)| KeyPart {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
        };
        texts.iter().map(part).collect()
    }

    fn check(old: &[(&str, &str)], new: &[(&str, &str)], expected: &[&str]) {
        let arguments = BTreeSet::from(["VERSION".to_owned()]);
        let found = differences(&parts(old), &parts(new), &arguments);
        let shown: Vec<String> = found
            .into_iter()
            .map(|difference| match difference {
                Difference::Text(text) => text,
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(shown, expected, "{old:?} {new:?}");
    }

    #[test]
    fn what_a_step_has_is_named_in_the_words_of_the_dockerfile() {
        for (name, old, new, expected) in [
            (
                "variable A",
                "1",
                "2",
                "variable A changed from \"1\" to \"2\"",
            ),
            (
                "variable VERSION",
                "1",
                "",
                "build argument VERSION changed from \"1\" to \"\"",
            ),
            ("user", "", "app", "user is new: \"app\""),
            ("user", "app", "", "user is gone: it was \"app\""),
            (
                "working directory",
                "/",
                "/w",
                "working directory changed from \"/\" to \"/w\"",
            ),
            (
                "network",
                "default",
                "none",
                "network changed from \"default\" to \"none\"",
            ),
            ("chown", "", "1:1", "--chown is new: \"1:1\""),
            (
                "chmod",
                "0644",
                "0755",
                "--chmod changed from \"0644\" to \"0755\"",
            ),
            (
                "destination",
                "/a",
                "/b",
                "destination changed from \"/a\" to \"/b\"",
            ),
            ("source 1", "a", "b", "source 2 changed from \"a\" to \"b\""),
            (
                "exclude 0",
                "*.md",
                "*.txt",
                "--exclude 1 changed from \"*.md\" to \"*.txt\"",
            ),
            (
                "mount 0",
                "type=cache",
                "type=tmpfs",
                "mount 1 changed from \"type=cache\" to \"type=tmpfs\"",
            ),
            ("script", "a", "b", "the script changed from \"a\" to \"b\""),
            (
                "heredoc f",
                "a",
                "b",
                "the text of f changed from \"a\" to \"b\"",
            ),
            (
                "epoch",
                "1",
                "2",
                "SOURCE_DATE_EPOCH changed from \"1\" to \"2\"",
            ),
        ] {
            check(&[(name, old)], &[(name, new)], &[expected]);
        }
    }

    #[test]
    fn what_comes_and_goes_is_named() {
        check(&[], &[("variable A", "1")], &["variable A is new: \"1\""]);
        check(
            &[("variable A", "")],
            &[],
            &["variable A is gone: it was \"\""],
        );
        check(&[], &[("host db", "")], &["--add-host db is new"]);
        check(&[("host db", "")], &[], &["--add-host db is gone"]);
        check(
            &[],
            &[("security", "insecure")],
            &["--security is new: \"insecure\""],
        );
    }

    #[test]
    fn inputs_are_left_to_whoever_knows_them() {
        check(
            &[
                ("parent", "1"),
                ("from", "1"),
                ("from 1", "1"),
                ("files", "1"),
                ("tree of mount 0", "1"),
            ],
            &[
                ("parent", "2"),
                ("from", "1"),
                ("from 1", "2"),
                ("files", "2"),
                ("tree of mount 0", "2"),
            ],
            &[
                "Parent",
                "From(\"from 1\")",
                "Files",
                "MountTree(\"tree of mount 0\")",
            ],
        );
        check(
            &[("@parent", "1"), ("@files", "1")],
            &[("@parent", "2")],
            &[],
        );
    }

    #[test]
    fn a_command_is_compared_as_a_whole() {
        let run = |words: &[&str]| -> Vec<(String, String)> {
            let words = words.iter().enumerate();
            words
                .map(|(number, word)| (format!("argument {number}"), (*word).to_owned()))
                .collect()
        };
        let check = |old: &[&str], new: &[&str], expected: &[&str]| {
            let (old, new) = (run(old), run(new));
            let borrow = |words: &[(String, String)]| -> Vec<KeyPart> {
                let part = |(name, value): &(String, String)| KeyPart {
                    name: name.clone(),
                    value: value.clone(),
                };
                words.iter().map(part).collect()
            };
            let found = differences(&borrow(&old), &borrow(&new), &BTreeSet::new());
            let expected: Vec<Difference> = expected
                .iter()
                .map(|text| Difference::Text((*text).to_owned()))
                .collect();
            assert_eq!(found, expected);
        };
        check(&["sh", "-c", "x"], &["sh", "-c", "x"], &[]);
        check(
            &["/bin/sh", "-c", "x"],
            &["/bin/bash", "-ec", "x"],
            &["the shell changed from [\"/bin/sh\", \"-c\"] to [\"/bin/bash\", \"-ec\"]"],
        );
        check(
            &["echo", "1"],
            &["echo", "2"],
            &["the command changed from \"echo 1\" to \"echo 2\""],
        );
    }

    #[test]
    fn long_values_are_cut() {
        let long = "x".repeat(1000);
        let found = text("script", Some(&long), Some("y"), &BTreeSet::new());
        assert!(found.chars().count() < 150, "{found}");
        assert!(found.contains('…'));
    }
}
