//! `completion` and the hidden command that its scripts ask.
//!
//! A script hands over the words up to the cursor and gets one candidate a line,
//! with what it means after a tab. So every shell knows the same, names of
//! containers, images and volumes are those that are there now, and the scripts
//! never grow old. A last line `:files` asks the shell to complete paths as well.

mod names;
mod scripts;
mod walk;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::CommandFactory;
use rbuild::engine::{Config, Engine};

use crate::cli::args::Cli;
use crate::cli::output::Output;
use crate::cli::report::Failure;
use walk::Wanted;

/// Print the completion script of a shell
///
/// For bash: `source <(rbuild completion bash)`, or write it to
/// /etc/bash_completion.d/rbuild. For zsh: write it to a file `_rbuild` in a
/// directory of $fpath. For fish: write it to
/// ~/.config/fish/completions/rbuild.fish.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// What may follow the words up to the cursor
#[derive(Debug, clap::Args)]
#[command(hide = true, disable_help_flag = true)]
pub(crate) struct CompleteArgs {
    /// The words after the program's name; the last one is being written
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    words: Vec<OsString>,
}

/// `completion`
pub(crate) fn run(args: &Args, output: &mut Output) -> Result<u8, Failure> {
    output.bytes(scripts::script(&args.shell).as_bytes())?;
    Ok(0)
}

/// `__complete`
pub(crate) fn complete(
    args: &CompleteArgs,
    config: &Config,
    output: &mut Output,
) -> Result<u8, Failure> {
    let words: Vec<String> = args
        .words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let program = crate::cli::commands::with_aliases(Cli::command());
    let found = walk::walk(&program, &words);
    let mut candidates = found.candidates;
    let start = found.prefix.as_str();
    let mut files = false;
    for wanted in &found.wanted {
        match wanted {
            Wanted::Files => files = true,
            // Without a store there are no names; a mistake is told by the command itself.
            Wanted::Names(kind) => {
                let engine = open(config, &words);
                let found = engine.and_then(|engine| names::names(&engine, *kind));
                candidates.extend(found.unwrap_or_default());
            }
        }
    }
    for (name, about) in candidates {
        if !name.starts_with(start) {
            continue;
        }
        let about = about.lines().next().unwrap_or_default();
        output.line(format!("{}{name}\t{about}", found.lead))?;
    }
    if files {
        output.line(":files")?;
    }
    Ok(0)
}

/// Opens the store that the words name; nothing is made where there is none.
fn open(config: &Config, words: &[String]) -> Result<Engine, Failure> {
    let value = |flag: &str| {
        words.iter().enumerate().find_map(|(at, word)| {
            let rest = word.strip_prefix(flag)?;
            match rest.strip_prefix('=') {
                Some(value) => Some(value.to_owned()),
                None if rest.is_empty() => words.get(at + 1).cloned(),
                None => None,
            }
        })
    };
    let directory = |flag| value(flag).map(|text| config.working_directory.join(text));
    let (data, run): (Option<PathBuf>, _) = (directory("--root"), directory("--run-root"));
    let config = if data.is_some() || run.is_some() {
        Config::new(
            data.or_else(|| Some(config.data.clone())),
            run,
            config.environment.clone(),
            config.working_directory.clone(),
        )
    } else {
        config.clone()
    };
    if !config.data.join("index.sqlite").exists() {
        return Err(Failure::silent(0));
    }
    Ok(Engine::open(config)?)
}
