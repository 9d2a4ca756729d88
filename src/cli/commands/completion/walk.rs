//! From the words up to the cursor to what may stand there. Pure.

use clap::{Arg, Command};

use super::names::Kind;

/// A candidate and what it means.
pub(super) type Candidate = (String, String);

/// What may stand at the cursor.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// What is known without looking anything up.
    pub(super) candidates: Vec<Candidate>,
    /// What must be looked up.
    pub(super) wanted: Vec<Wanted>,
    /// What a candidate must start with.
    pub(super) prefix: String,
    /// What stands before each candidate in the same word: `--flag=`.
    pub(super) lead: String,
}

/// Something to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Paths, which the shell knows best.
    Files,
    /// Names of objects.
    Names(Kind),
}

/// Walks the words through the commands and flags of the program.
pub(super) fn walk(program: &Command, words: &[String]) -> Found {
    let Some((last, before)) = words.split_last() else {
        return Found::default();
    };
    let mut command = program;
    let mut path: Vec<&str> = Vec::new();
    let mut positions = 0;
    let mut only_values = false;
    let mut pending: Option<&Arg> = None;
    for word in before {
        if pending.take().is_some() {
            continue;
        }
        if word == "--" && !only_values {
            only_values = true;
        } else if word.starts_with('-') && word.len() > 1 && !only_values {
            pending = flag(program, command, word).filter(|_| !word.contains('='));
        } else if let Some(next) = subcommand(command, word).filter(|_| positions == 0) {
            command = next;
            path.push(next.get_name());
        } else {
            positions += 1;
            // What follows an image belongs to the container.
            only_values |= takes_the_rest(command, positions);
        }
    }
    if let Some(arg) = pending {
        return values(&path, arg, last, String::new());
    }
    if last.starts_with('-') && !only_values {
        return match last.split_once('=') {
            Some((name, value)) => match flag(program, command, name) {
                Some(arg) => values(&path, arg, value, format!("{name}=")),
                None => Found::default(),
            },
            None => Found {
                candidates: flags(command),
                prefix: last.clone(),
                ..Found::default()
            },
        };
    }
    let mut found = Found {
        prefix: last.clone(),
        ..Found::default()
    };
    if positions == 0 && command.has_subcommands() {
        found.candidates = verbs(command);
        return found;
    }
    let arg = command
        .get_positionals()
        .nth(positions)
        .or_else(|| command.get_positionals().last());
    found.wanted.extend(Kind::of_position(&path, positions));
    found
        .candidates
        .extend(arg.map(possible).unwrap_or_default());
    if !found.candidates.is_empty() {
        found.wanted.clear();
    }
    found
}

/// Whether everything after so many words is the program of a container.
fn takes_the_rest(command: &Command, positions: usize) -> bool {
    positions > 0 && matches!(command.get_name(), "run" | "create" | "exec")
}

fn subcommand<'a>(command: &'a Command, word: &str) -> Option<&'a Command> {
    command
        .get_subcommands()
        .find(|verb| verb.get_name() == word || verb.get_all_aliases().any(|alias| alias == word))
}

/// The flag that wants a value after this word.
fn flag<'a>(program: &'a Command, command: &'a Command, word: &str) -> Option<&'a Arg> {
    let name = word.split('=').next().unwrap_or_default();
    let mut all = command.get_arguments().chain(program.get_arguments());
    let fits = |arg: &&Arg| match name.strip_prefix("--") {
        Some(long) => {
            arg.get_long() == Some(long)
                || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
        }
        // Of several letters in one word the last one takes the value.
        None => arg.get_short().is_some() && arg.get_short() == name.chars().last(),
    };
    all.find(|arg| fits(arg) && arg.get_action().takes_values() && !optional(arg))
}

/// A switch whose value may only follow `=`.
fn optional(arg: &Arg) -> bool {
    arg.is_require_equals_set()
}

fn values(path: &[&str], arg: &Arg, start: &str, lead: String) -> Found {
    let candidates = possible(arg);
    let wanted = match Kind::of_flag(path, arg.get_long().unwrap_or_default()) {
        _ if !candidates.is_empty() => None,
        Some(kind) => Some(Wanted::Names(kind)),
        None => Some(Wanted::Files),
    };
    Found {
        candidates,
        wanted: wanted.into_iter().collect(),
        prefix: start.to_owned(),
        lead,
    }
}

fn possible(arg: &Arg) -> Vec<Candidate> {
    let help =
        |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    let values = arg.get_possible_values();
    values
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| (value.get_name().to_owned(), help(value.get_help())))
        .collect()
}

fn flags(command: &Command) -> Vec<Candidate> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let mut flags: Vec<Candidate> = shown
        .filter_map(|arg| {
            let help = arg.get_help().map(ToString::to_string);
            Some((format!("--{}", arg.get_long()?), help.unwrap_or_default()))
        })
        .collect();
    flags.push(("--help".to_owned(), "Print help".to_owned()));
    flags.sort();
    flags.dedup_by(|one, other| one.0 == other.0);
    flags
}

fn verbs(command: &Command) -> Vec<Candidate> {
    command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set())
        .map(|verb| {
            let about = verb.get_about().map(ToString::to_string);
            (verb.get_name().to_owned(), about.unwrap_or_default())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn found(words: &str) -> Found {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        walk(&crate::cli::args::Cli::command(), &words)
    }

    fn names(words: &str) -> Vec<String> {
        let found = found(words);
        let candidates = found.candidates.into_iter();
        candidates
            .map(|(name, _)| name)
            .filter(|name| name.starts_with(&found.prefix))
            .collect()
    }

    #[test]
    fn verbs_and_flags_are_known() {
        assert!(names("ru").contains(&"run".to_owned()));
        assert!(!names("").contains(&"__complete".to_owned()));
        assert_eq!(names("volume cre"), ["create"]);
        assert_eq!(names("run --na"), ["--name"]);
        assert!(names("--root /x volume l").contains(&"ls".to_owned()));
        assert_eq!(names("run --pull=al"), ["always"]);
        assert_eq!(names("run --pull mis"), ["missing"]);
        assert_eq!(names("completion z"), ["zsh"]);
    }

    #[test]
    fn objects_are_looked_up_where_they_may_stand() {
        let wanted = |words| found(words).wanted;
        for (words, kind) in [
            ("stop ", Kind::RunningContainers),
            ("container stop -t 3 ", Kind::RunningContainers),
            ("rm -f ", Kind::Containers),
            ("run -it --name x ", Kind::Images),
            ("volume rm a ", Kind::Volumes),
            ("rmi ", Kind::Images),
            ("inspect ", Kind::Everything),
            ("run --network container:", Kind::NetworkModes),
            ("network rm ", Kind::OwnNetworks),
            ("network connect ", Kind::Networks),
            ("network connect --alias x net ", Kind::Containers),
        ] {
            assert_eq!(wanted(words), [Wanted::Names(kind)], "{words}");
        }
        assert_eq!(wanted("build "), [Wanted::Files]);
        assert_eq!(wanted("run --env-file "), [Wanted::Files]);
        assert_eq!(wanted("run busybox "), [Wanted::Files]);
    }
}
