//! Builder flags as typed options.

use super::node::Node;
use super::typed::Sink;
use super::words::FlagWord;
use super::{Span, Word, suggest};

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `--name`, `--name=true` or `--name=false`.
    Switch,
    /// `--name=value`, once.
    Text,
    /// `--name=value`, as often as wanted.
    List,
}

/// The flags that an instruction has.
pub(super) type Known = &'static [(&'static str, Kind)];

/// The flags that an instruction was given.
#[derive(Debug)]
pub(super) struct Flags {
    used: Vec<(&'static str, Word)>,
    /// Whether all of them could be read.
    pub(super) are_valid: bool,
}

/// Reads the flags of a node.
pub(super) fn read(node: &Node, known: Known, sink: &mut Sink<'_>) -> Flags {
    let mut flags = Flags {
        used: Vec::new(),
        are_valid: true,
    };
    for flag in &node.flags {
        if let Err((message, hint)) = flags.add(flag, known) {
            flags.are_valid = false;
            sink.error_with(flag.word.span, message, hint);
        }
    }
    flags
}

impl Flags {
    fn add(&mut self, flag: &FlagWord, known: Known) -> Result<(), (String, Option<String>)> {
        let (name, value) = match flag.word.text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.word.text.as_str(), None),
        };
        let bare = name.strip_prefix("--").unwrap_or(name);
        let Some((key, kind)) = known.iter().find(|(key, _)| *key == bare) else {
            let names: Vec<_> = known.iter().map(|(key, _)| *key).collect();
            let hint = suggest::closest_exact(bare, &names)
                .map(|name| format!("did you mean --{name}?"))
                .or_else(|| unknown_hint(&names));
            return Err((format!("unknown flag: {name}"), hint));
        };
        if *kind != Kind::List && self.get(key).is_some() {
            return Err((format!("duplicate flag specified: {name}"), None));
        }
        let value = match (kind, value) {
            (Kind::Switch, None) => "true".to_owned(),
            (Kind::Switch, Some(value)) if !value.is_empty() => {
                let lower = value.to_ascii_lowercase();
                if !matches!(lower.as_str(), "true" | "false") {
                    let message = format!("expecting boolean value for flag {name}, not: {value}");
                    return Err((message, None));
                }
                lower
            }
            (Kind::Text | Kind::List, Some(value)) => value.to_owned(),
            (Kind::Switch, Some(_)) | (_, None) => {
                let hint = (*kind != Kind::Switch).then(|| format!("write {name}=value"));
                return Err((format!("missing a value on flag: {name}"), hint));
            }
        };
        self.used.push((
            *key,
            Word {
                text: value,
                span: flag.value,
            },
        ));
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&Word> {
        let used = self.used.iter().find(|(key, _)| *key == name);
        used.map(|(_, word)| word)
    }

    /// The value of a flag; an empty one counts as none.
    pub(super) fn text(&self, name: &str) -> Option<Word> {
        self.get(name).filter(|word| !word.text.is_empty()).cloned()
    }

    /// The value of a flag, even if it is empty.
    pub(super) fn any_text(&self, name: &str) -> Option<Word> {
        self.get(name).cloned()
    }

    /// Whether a switch is on, where it was given.
    pub(super) fn switch(&self, name: &str) -> Option<(bool, Span)> {
        self.get(name).map(|word| (word.text == "true", word.span))
    }

    /// All values of a flag.
    pub(super) fn list(&self, name: &str) -> Vec<Word> {
        let used = self.used.iter().filter(|(key, _)| *key == name);
        used.map(|(_, word)| word.clone()).collect()
    }
}

fn unknown_hint(names: &[&str]) -> Option<String> {
    if names.is_empty() {
        return Some("write ` -- ` in front of words that start with --".to_owned());
    }
    None
}
