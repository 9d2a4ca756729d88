//! What was typed: the global flags and one command, nothing looked up yet.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory, FromArgMatches, Parser};

use super::commands;
use super::report::Failure;
use super::usage;

/// The version line of `--version`, after the program's name.
pub(crate) const VERSION: &str = concat!("version ", env!("CARGO_PKG_VERSION"), ", build source");

/// Builds OCI images from Dockerfiles and runs them: one binary, no daemon.
///
/// `rbuild -t user/app .` is short for `rbuild build -t user/app .`.
#[derive(Debug, Parser)]
#[command(name = "rbuild", version = VERSION, disable_version_flag = true)]
#[command(
    arg_required_else_help = true,
    max_term_width = 100,
    args_override_self = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: commands::Command,
}

/// Flags before the command.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Keep all data in this directory [env: RBUILD_ROOT]
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Keep runtime files in this directory [env: RBUILD_RUN]
    #[arg(long, value_name = "DIR")]
    pub(crate) run_root: Option<PathBuf>,
    /// Directory of the client's configuration, with its credentials [env: DOCKER_CONFIG]
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Show the warnings of a build with their places
    #[arg(short = 'D', long, hide = true)]
    pub(crate) debug: bool,
    /// Accepted for compatibility
    #[arg(short = 'l', long, value_name = "LEVEL", hide = true)]
    #[arg(value_parser = ["debug", "info", "warn", "error", "fatal"])]
    pub(crate) log_level: Option<String>,
    /// A daemon to talk to; there is none
    #[arg(short = 'H', long, value_name = "URL", hide = true)]
    pub(crate) host: Option<String>,
    /// Print the version and quit
    #[arg(short = 'v', long, action = ArgAction::Version)]
    version: Option<bool>,
}

/// Global flags that take a value, which is thus no command.
const WITH_VALUE: [&str; 7] = [
    "--root",
    "--run-root",
    "--config",
    "--log-level",
    "-l",
    "--host",
    "-H",
];
/// Global flags without a value.
const WITHOUT_VALUE: [&str; 6] = ["-D", "--debug", "-v", "--version", "-h", "--help"];

/// Parses the arguments after the program's name.
///
/// # Errors
/// A failure in [`usage`]'s words: 125 for a wrong flag, 1 for a wrong argument.
/// `--help` and `--version` print their text and come back as a silent failure
/// of code 0.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Cli, Failure> {
    let cli = match parse_alone(&arguments) {
        Some(cli) => cli,
        None => parse_among_all(arguments)?,
    };
    if let Some(host) = &cli.global.host {
        let message = format!("cannot use the host `{host}`: rbuild works without a daemon");
        return Err(Failure::new(1, message).with_hint("leave `--host` out"));
    }
    Ok(cli)
}

/// Parses one of the common commands by its own arguments alone. `None` where it is another one, or where
/// anything is unusual or wrong: then [`parse_among_all`] knows more and says it better.
fn parse_alone(arguments: &[OsString]) -> Option<Cli> {
    let mut arguments = arguments.to_vec();
    let at = first_word(&arguments);
    let word = arguments.get(at)?.to_str()?.to_owned();
    // No command looks like this; it is the context of a build.
    let is_context = word.starts_with('-') || word == "." || word.contains('/');
    let verb = if is_context { "build" } else { &word };
    let verb = commands::alone(verb)?;
    if is_context {
        arguments.insert(at, OsString::from("build"));
    }
    let program = clap::Command::new("rbuild")
        .version(VERSION)
        .disable_version_flag(true)
        .args_override_self(true);
    let program = <Global as clap::Args>::augment_args(program).subcommand(verb);
    let matches = program.try_get_matches_from(named(&arguments)).ok()?;
    Cli::from_arg_matches(&matches).ok()
}

fn parse_among_all(arguments: Vec<OsString>) -> Result<Cli, Failure> {
    let plain = Cli::command();
    let arguments = with_verb(arguments, &|word| is_command(&plain, word))?;
    commands::with_aliases(switches(plain.clone()))
        .try_get_matches_from(named(&arguments))
        .and_then(|matches| Cli::from_arg_matches(&matches))
        .map_err(|error| usage::explain(&error, plain, &arguments))
}

/// Docker's commands that a later version brings. Taken for the name of a
/// context they would be told to lack one.
const LATER: [&str; 11] = [
    "bake",
    "checkpoint",
    "compose",
    "config",
    "node",
    "plugin",
    "secret",
    "service",
    "stack",
    "swarm",
    "trust",
];

/// Puts `build` before the first word that is no command: `rbuild -t user/app .`
/// means `rbuild build -t user/app .`.
///
/// # Errors
/// A failure for a command that only Docker has.
fn with_verb(
    mut arguments: Vec<OsString>,
    is_command: &dyn Fn(&str) -> bool,
) -> Result<Vec<OsString>, Failure> {
    let at = first_word(&arguments);
    if let Some(word) = arguments.get(at).map(|word| word.to_string_lossy())
        && !is_command(&word)
    {
        if LATER.contains(&word.as_ref()) {
            let message = format!("`{word}` is not available in this version");
            let hint = format!("to build the directory `{word}`, write `rbuild build {word}`");
            return Err(Failure::new(1, message).with_hint(hint));
        }
        arguments.insert(at, OsString::from("build"));
    }
    Ok(arguments)
}

/// Where the command or what stands for it is, after the global flags.
pub(super) fn first_word(arguments: &[OsString]) -> usize {
    let mut at = 0;
    while let Some(word) = arguments.get(at).map(|word| word.to_string_lossy()) {
        if WITH_VALUE.contains(&word.as_ref()) {
            at += 2;
        } else if WITHOUT_VALUE.contains(&word.as_ref()) || is_assigned(&word) {
            at += 1;
        } else {
            break;
        }
    }
    at.min(arguments.len())
}

/// `--root=/x`, `-D=true`, and `-l=debug` or `-ldebug`.
fn is_assigned(word: &str) -> bool {
    let follows = |flag: &&str, all: bool| {
        word.strip_prefix(flag)
            .is_some_and(|rest| rest.starts_with('=') || all)
    };
    WITH_VALUE
        .iter()
        .any(|flag| follows(flag, !flag.starts_with("--")))
        || WITHOUT_VALUE.iter().any(|flag| follows(flag, false))
}

fn is_command(program: &clap::Command, word: &str) -> bool {
    word == "help"
        || program
            .get_subcommands()
            .any(|verb| verb.get_name() == word || verb.get_all_aliases().any(|a| a == word))
}

pub(super) fn named(arguments: &[OsString]) -> impl Iterator<Item = &OsStr> {
    std::iter::once(OsStr::new("rbuild")).chain(arguments.iter().map(OsString::as_os_str))
}

/// Makes flags as Go's are: every switch takes a value after `=`, as in `--rm=false`, and
/// what comes after a flag with a value is that value, whatever it begins with.
fn switches(program: clap::Command) -> clap::Command {
    let takes_next = |arg: &clap::Arg| {
        let alone = arg
            .get_num_args()
            .is_none_or(|number| number.min_values() > 0);
        !arg.is_positional() && !arg.is_require_equals_set() && alone
    };
    program
        .mut_args(|arg| match arg.get_action() {
            ArgAction::Set | ArgAction::Append if takes_next(&arg) => arg.allow_hyphen_values(true),
            ArgAction::SetTrue => arg
                .action(ArgAction::Set)
                .num_args(0..=1)
                .require_equals(true)
                .default_value("false")
                .default_missing_value("true")
                .value_parser(go_bool),
            _ => arg,
        })
        .mut_subcommands(switches)
}

/// A truth value in the spellings of Go's `strconv.ParseBool`.
fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "strconv.ParseBool: parsing \"{text}\": invalid syntax"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &str, meant: &str) {
        let words = typed.split(' ').map(OsString::from).collect();
        let program = Cli::command();
        let got = with_verb(words, &|word| is_command(&program, word)).unwrap();
        let want: Vec<OsString> = meant.split(' ').map(OsString::from).collect();
        assert_eq!(got, want, "{typed}");
    }

    #[test]
    fn a_first_word_that_is_no_command_means_build() {
        check("-t user/app .", "build -t user/app .");
        check("build -t user/app .", "build -t user/app .");
        check(".", "build .");
        check("-", "build -");
        check("--root /x -t a .", "--root /x build -t a .");
        check("--root=/x images", "--root=/x images");
        check("-D -l debug images -q", "-D -l debug images -q");
        check("--version", "--version");
        check("--root images", "--root images");
    }

    #[test]
    fn the_arguments_are_well_formed() {
        commands::with_aliases(switches(Cli::command())).debug_assert();
    }

    #[test]
    fn a_command_alone_is_the_one_among_all() {
        let all = Cli::command();
        let shape = |command: &clap::Command| {
            let mut command = command.clone();
            command.render_long_help().to_string()
        };
        let mut alone = 0;
        for verb in all.get_subcommands() {
            if let Some(own) = commands::alone(verb.get_name()) {
                assert_eq!(shape(&own), shape(verb), "{}", verb.get_name());
                alone += 1;
            }
        }
        assert!(alone > 10, "{alone}");
    }

    #[test]
    fn what_is_unusual_is_parsed_among_all() {
        let alone = |typed: &str| {
            let words: Vec<_> = typed.split(' ').map(OsString::from).collect();
            parse_alone(&words)
        };
        for usual in [
            "run --rm a b",
            "-D exec -it c sh -c x",
            "-t a .",
            "--root /x ps -a",
        ] {
            assert!(alone(usual).is_some(), "{usual}");
        }
        for unusual in [
            "run --rm=false a",
            "run --nope a",
            "ps --help",
            "volume ls",
            "src",
            "-v",
        ] {
            assert!(alone(unusual).is_none(), "{unusual}");
        }
    }

    #[test]
    fn switches_take_go_values() {
        let parse = |typed: &str| {
            let words = typed.split(' ').map(OsString::from).collect();
            parse(words)
        };
        assert!(parse("-D=true version").unwrap().global.debug);
        assert!(!parse("--debug=false version").unwrap().global.debug);
        assert!(parse("-D version").unwrap().global.debug);
    }
}
