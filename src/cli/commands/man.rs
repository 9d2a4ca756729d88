//! `man`: manual pages, one a command.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, Command, CommandFactory};

use crate::cli::args::Cli;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Write a manual page for every command
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory to write to, such as /usr/local/share/man/man1
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// `man`
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    let failed = |path: &Path, err: std::io::Error| {
        Failure::new(1, format!("cannot write {}: {err}", path.display()))
    };
    std::fs::create_dir_all(&args.directory).map_err(|err| failed(&args.directory, err))?;
    let mut program = crate::cli::commands::with_aliases(Cli::command());
    program.build();
    for (name, page) in pages(&program, "rbuild") {
        let path = args.directory.join(format!("{name}.1"));
        std::fs::write(&path, page).map_err(|err| failed(&path, err))?;
        output.line(path.display())?;
    }
    Ok(0)
}

/// The pages of a command and of those beneath it, by name.
fn pages(command: &Command, name: &str) -> Vec<(String, String)> {
    let mut pages = vec![(name.to_owned(), page(command, name))];
    let shown = |verb: &&Command| !verb.is_hide_set() && verb.get_name() != "help";
    for verb in command.get_subcommands().filter(shown) {
        pages.extend(pages_of(verb, name));
    }
    pages
}

fn pages_of(verb: &Command, parent: &str) -> Vec<(String, String)> {
    pages(verb, &format!("{parent}-{}", verb.get_name()))
}

/// Source: man-pages(7), groff_man(7).
fn page(command: &Command, name: &str) -> String {
    let mut out = String::new();
    let title = name.to_uppercase();
    let version = env!("CARGO_PKG_VERSION");
    // Writing to a string cannot fail.
    let _infallible = writeln!(out, ".TH \"{title}\" 1 \"\" \"rbuild {version}\"");
    let about = text(command.get_about());
    let _infallible = writeln!(out, ".SH NAME\n{} \\- {about}", escape(name));
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").trim();
    let _infallible = writeln!(out, ".SH SYNOPSIS\n{}", escape(usage));
    let long = text(command.get_long_about());
    if !long.is_empty() && long != about {
        let _infallible = writeln!(out, ".SH DESCRIPTION\n{long}");
    }
    let shown = |arg: &&Arg| !arg.is_hide_set();
    let positions: Vec<&Arg> = command.get_positionals().filter(shown).collect();
    section(&mut out, "ARGUMENTS", &positions);
    let flags: Vec<&Arg> = command.get_opts().filter(shown).collect();
    section(&mut out, "OPTIONS", &flags);
    let shown = |verb: &&Command| !verb.is_hide_set() && verb.get_name() != "help";
    let verbs: Vec<&Command> = command.get_subcommands().filter(shown).collect();
    if !verbs.is_empty() {
        out.push_str(".SH COMMANDS\n");
        for verb in verbs {
            let page = escape(&format!("{name}-{}", verb.get_name()));
            let about = text(verb.get_about());
            let _infallible = writeln!(out, ".TP\n.BR {page} (1)\n{about}");
        }
    }
    if name != "rbuild" {
        let parent = name.rsplit_once('-').map_or("rbuild", |(parent, _)| parent);
        let _infallible = writeln!(out, ".SH SEE ALSO\n.BR {} (1)", escape(parent));
    }
    out
}

fn section(out: &mut String, title: &str, arguments: &[&Arg]) {
    if arguments.is_empty() {
        return;
    }
    let _infallible = writeln!(out, ".SH {title}");
    for arg in arguments {
        let mut names = Vec::new();
        names.extend(arg.get_short().map(|short| format!("-{short}")));
        names.extend(arg.get_long().map(|long| format!("--{long}")));
        let values = arg.get_value_names().unwrap_or_default();
        let value = values.first().map(ToString::to_string).unwrap_or_default();
        let head = match (names.is_empty(), arg.get_action().takes_values()) {
            (true, _) => value,
            (false, true) => format!("{} {value}", names.join(", ")),
            (false, false) => names.join(", "),
        };
        let help = text(arg.get_long_help().or(arg.get_help()));
        let _infallible = writeln!(out, ".TP\n.B {}\n{help}", escape(head.trim()));
        let possible: Vec<String> = arg
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        if !possible.is_empty() {
            let _infallible = writeln!(out, "One of: {}.", escape(&possible.join(", ")));
        }
    }
}

fn text(styled: Option<&clap::builder::StyledStr>) -> String {
    escape(&styled.map(ToString::to_string).unwrap_or_default())
}

/// Text that troff shows as it is.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let lines = text.lines().map(|line| {
        // A dot or quote at the start would be a command.
        if line.starts_with(['.', '\'']) {
            format!("\\&{line}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let mut program = Cli::command();
        program.build();
        let pages = pages(&program, "rbuild");
        let find = |name: &str| pages.iter().find(|(known, _)| known == name);
        let (_, page) = find("rbuild-volume-create").unwrap();
        assert!(page.starts_with(".TH \"RBUILD-VOLUME-CREATE\" 1"), "{page}");
        assert!(page.contains(".B \\-\\-label KEY=VALUE\n"), "{page}");
        assert!(find("rbuild-run").is_some() && find("rbuild").is_some());
        assert!(!pages.iter().any(|(name, _)| name.contains("__complete")));
    }

    #[test]
    fn troff_sees_no_commands_in_texts() {
        assert_eq!(escape(".x\n'y\n\\ -"), "\\&.x\n\\&'y\n\\e \\-");
    }
}
