//! What is said of a command line that cannot be understood, in Docker's words.
//!
//! Source: the texts and codes of Docker's command line 28.5. A wrong flag ends with
//! 125, a wrong number of arguments and an unknown command with 1, whatever the verb.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::report::Failure;

/// The code of a flag that is unknown or has a wrong value.
const WRONG_FLAG: u8 = 125;

/// Turns clap's error into a failure; help and version are printed. `plain` is the
/// program without the additions that only the parser needs.
pub(super) fn explain(error: &clap::Error, plain: Command, arguments: &[OsString]) -> Failure {
    match error.kind() {
        // A program or group without a verb lists its verbs, which is no mistake.
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let mut plain = plain;
            let shown = plain.try_get_matches_from_mut(super::args::named(arguments));
            // Whether the text could be written changes nothing any more.
            let _unwritable = match shown {
                Err(help) if help.kind() == error.kind() => help.print(),
                _ => error.print(),
            };
            return Failure::silent(0);
        }
        // Global flags alone: the program was not told what to do.
        ErrorKind::MissingSubcommand => {
            let mut plain = plain;
            let _unwritable = plain.print_help();
            return Failure::silent(0);
        }
        _ => {}
    }
    let mut plain = super::commands::with_aliases(plain);
    plain.build();
    let verb = Verb::find(&plain, arguments);
    verb.failure(error, arguments)
}

/// The failure of a flag's value that is found wrong when it is used.
pub(super) fn wrong_value(value: &str, flag: &str, why: impl std::fmt::Display) -> Failure {
    let why = format!("invalid argument \"{value}\" for \"{flag}\" flag: {why}");
    Failure::new(WRONG_FLAG, why)
}

/// The command that was meant, as far as it was understood.
struct Verb<'a> {
    command: &'a Command,
    path: String,
}

impl<'a> Verb<'a> {
    fn find(program: &'a Command, arguments: &[OsString]) -> Self {
        let mut verb = Self {
            command: program,
            path: "rbuild".to_owned(),
        };
        let mut rest = &arguments[super::args::first_word(arguments)..];
        while let Some((word, further)) = rest.split_first() {
            let Some(next) = word
                .to_str()
                .and_then(|word| verb.command.find_subcommand(word))
            else {
                break;
            };
            // The name that was typed: an alias stays.
            verb.path = format!("{} {}", verb.path, word.to_string_lossy());
            verb.command = next;
            rest = further;
        }
        verb
    }

    fn failure(&self, error: &clap::Error, arguments: &[OsString]) -> Failure {
        let named = text(error, ContextKind::InvalidArg).unwrap_or_default();
        match error.kind() {
            ErrorKind::UnknownArgument if named.starts_with("--") => {
                let name = named.split('=').next().unwrap_or_default();
                self.wrong_flag(&format!("unknown flag: {name}"))
            }
            ErrorKind::UnknownArgument if named.starts_with('-') && named.len() > 1 => {
                let (short, word) = short_in(&named, arguments);
                self.wrong_flag(&format!("unknown shorthand flag: '{short}' in {word}"))
            }
            ErrorKind::InvalidSubcommand => {
                let word = text(error, ContextKind::InvalidSubcommand).unwrap_or_default();
                self.say(1, &format!("rbuild: unknown command: {} {word}", self.path))
            }
            ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::NoEquals
                if named.starts_with('-') =>
            {
                self.wrong_value(error, &named, arguments)
            }
            ErrorKind::ValueValidation => {
                let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
                let why = std::error::Error::source(error).map(|why| reason(why, &value));
                Failure::new(
                    1,
                    why.unwrap_or_else(|| format!("invalid argument: {value}")),
                )
            }
            ErrorKind::UnknownArgument
            | ErrorKind::TooManyValues
            | ErrorKind::TooFewValues
            | ErrorKind::WrongNumberOfValues
            | ErrorKind::MissingRequiredArgument
                if !named.starts_with('-') =>
            {
                let count = count(self.command);
                self.say(1, &format!("rbuild: '{}' {count}", self.path))
            }
            _ => {
                let message = error.to_string();
                let message = message.split("\n\nUsage:").next().unwrap_or_default();
                let message = message.trim().trim_start_matches("error: ");
                // Flags that need or exclude each other, which Docker finds later.
                self.say(1, message)
            }
        }
    }

    fn wrong_value(&self, error: &clap::Error, named: &str, arguments: &[OsString]) -> Failure {
        let name = named.split([' ', '[', '=']).next().unwrap_or_default();
        let flag = self.command.get_arguments().find(|arg| {
            let long = arg.get_long_and_visible_aliases().unwrap_or_default();
            let long = long.iter().any(|long| name == format!("--{long}"));
            long || arg.get_short().is_some_and(|s| name == format!("-{s}"))
        });
        let value = text(error, ContextKind::InvalidValue).unwrap_or_default();
        let why = std::error::Error::source(error).map(|why| reason(why, &value));
        let choices = match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(choices)) => choices.as_slice(),
            _ => &[],
        };
        let is_missing = error.kind() != ErrorKind::ValueValidation && value.is_empty();
        if is_missing && why.is_none() {
            // It is the last word: nothing comes behind it.
            let last = arguments.last().and_then(|word| word.to_str());
            let short = flag.and_then(Arg::get_short);
            let typed = short.zip(last.filter(|word| !word.starts_with("--")));
            return self.wrong_flag(&match typed {
                Some((short, word)) if word.ends_with(short) => {
                    format!("flag needs an argument: '{short}' in -{short}")
                }
                _ => format!("flag needs an argument: {name}"),
            });
        }
        let why = why.unwrap_or_else(|| format!("must be one of {}", quoted(choices)));
        let shown = match flag.and_then(|flag| flag.get_short().zip(flag.get_long())) {
            Some((short, long)) => format!("-{short}, --{long}"),
            None => name.to_owned(),
        };
        self.wrong_flag(&format!(
            "invalid argument \"{value}\" for \"{shown}\" flag: {why}"
        ))
    }

    fn wrong_flag(&self, message: &str) -> Failure {
        self.say(WRONG_FLAG, message)
    }

    fn say(&self, code: u8, message: &str) -> Failure {
        let (usage, path) = (usage(self.command, &self.path), &self.path);
        let rest = format!("Usage:  {usage}\n\nRun '{path} --help' for more information");
        Failure::unlabelled(code, format!("{message}\n\n{rest}"))
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.first().cloned(),
        _ => None,
    }
}

/// The letter of an unknown short flag, and the word from it on.
fn short_in(named: &str, arguments: &[OsString]) -> (char, String) {
    let short = named.chars().nth(1).unwrap_or('-');
    let from = |word: &OsString| {
        let word = word.to_str()?;
        let letters = word.strip_prefix('-').filter(|l| !l.starts_with('-'))?;
        let at = letters.find(short)?;
        Some(format!("-{}", &letters[at..]))
    };
    let word = arguments.iter().find_map(from);
    (short, word.unwrap_or_else(|| named.to_owned()))
}

/// Why a value is wrong; numbers in the words of Go.
fn reason(source: &(dyn std::error::Error + 'static), value: &str) -> String {
    use std::num::IntErrorKind;
    let Some(number) = source.downcast_ref::<std::num::ParseIntError>() else {
        return source.to_string();
    };
    let why = match number.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.ParseInt: parsing \"{value}\": {why}")
}

fn quoted(choices: &[String]) -> String {
    let quoted: Vec<String> = choices.iter().map(|c| format!("\"{c}\"")).collect();
    quoted.join(", ")
}

/// The line that shows how a command is written.
fn usage(command: &Command, path: &str) -> String {
    let has_flags = command
        .get_opts()
        .chain(command.get_arguments().filter(|arg| is_switch(arg)))
        .any(|arg| arg.get_id() != "help" && !arg.is_global_set());
    let mut line = path.to_owned();
    if has_flags {
        line.push_str(" [OPTIONS]");
    }
    if command.has_subcommands() {
        line.push_str(if has_flags {
            " COMMAND [ARG...]"
        } else {
            " COMMAND"
        });
        return line;
    }
    for arg in command.get_positionals() {
        let names = arg.get_value_names().unwrap_or_default();
        let name = names.first().map_or("ARG", |name| name.as_str());
        line.push(' ');
        line.push_str(&match (arg.is_required_set(), many(arg)) {
            // Several words that say themselves which of them may be left out.
            _ if name.contains(' ') => name.to_owned(),
            (true, false) => name.to_owned(),
            (true, true) => format!("{name} [{name}...]"),
            (false, false) => format!("[{name}]"),
            (false, true) => format!("[{name}...]"),
        });
    }
    line
}

fn is_switch(arg: &Arg) -> bool {
    !arg.is_positional() && !arg.get_action().takes_values()
}

/// Whether a positional argument may stand several times.
fn many(arg: &Arg) -> bool {
    let several = arg.get_num_args().is_some_and(|n| n.max_values() > 1);
    several || matches!(arg.get_action(), ArgAction::Append)
}

/// How many arguments a command takes.
fn count(command: &Command) -> String {
    let (mut least, mut most) = (0, Some(0));
    for arg in command.get_positionals() {
        if arg.is_required_set() {
            least += arg.get_num_args().map_or(1, |n| n.min_values().max(1));
        }
        most = most.filter(|_| !many(arg)).map(|most| most + 1);
    }
    let plural = |n: usize| if n == 1 { "argument" } else { "arguments" };
    match most {
        Some(0) => "accepts no arguments".to_owned(),
        Some(most) if most == least => format!("requires {most} {}", plural(most)),
        Some(most) if least == 0 => format!("requires at most {most} {}", plural(most)),
        Some(most) => format!(
            "requires at least {least} and at most {most} {}",
            plural(most)
        ),
        None => format!("requires at least {least} {}", plural(least)),
    }
}
