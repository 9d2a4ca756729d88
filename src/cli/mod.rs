//! The command line: words in, words out.
//!
//! [`args`] is the low form, what was typed; each file of [`commands`] turns it
//! into one request to the engine and shows the result through [`output`].
//! Errors become a [`report::Failure`] with its exit code. Nothing else in the
//! program prints or knows of a terminal.

mod args;
mod commands;
mod excerpt;
mod format;
mod human;
mod output;
mod progress;
mod report;
mod report_page;
mod transfer;
mod usage;
mod values;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use rbuild::engine::{Config, Engine};

use output::Output;
use report::Failure;

/// Runs one command; `arguments` are those after the program's name. Returns the exit code.
pub(crate) fn main(arguments: Vec<OsString>, environment: BTreeMap<String, String>) -> u8 {
    let mut output = Output::new(&environment);
    let result = args::parse(arguments)
        .and_then(|cli| run(cli, environment, &mut output))
        .and_then(|code| output.flush().map(|()| code));
    match result {
        Ok(code) => code,
        Err(failure) => {
            // What was printed before the failure belongs before its message.
            let _lost = output.flush();
            output.failure(&failure);
            failure.code()
        }
    }
}

fn run(
    cli: args::Cli,
    environment: BTreeMap<String, String>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let config = configure(&cli.global, environment)?;
    if cli.global.debug || cli.global.log_level.as_deref() == Some("debug") {
        output.set_detailed();
    }
    let open = || Engine::open(config.clone()).map_err(Failure::from);
    commands::run(cli.command, &config, &open, output)
}

fn configure(
    global: &args::Global,
    environment: BTreeMap<String, String>,
) -> Result<Config, Failure> {
    let working_directory = match std::env::current_dir() {
        Ok(directory) => directory,
        // Removed meanwhile. What needs no file here works; what does is told by the
        // kernel that there is none.
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => PathBuf::from("/proc/self/cwd"),
        Err(err) => {
            let message = format!("cannot find the current directory: {err}");
            return Err(Failure::new(1, message));
        }
    };
    let named = |flag: &Option<PathBuf>, variable: &str| {
        flag.clone()
            .or_else(|| {
                environment
                    .get(variable)
                    .filter(|v| !v.is_empty())
                    .map(PathBuf::from)
            })
            .map(|path| working_directory.join(path))
    };
    let data = named(&global.root, "RBUILD_ROOT");
    let run = named(&global.run_root, "RBUILD_RUN");
    let client = named(&global.config, "DOCKER_CONFIG");
    let mut config = Config::new(data, run, environment, working_directory);
    config.client = client;
    Ok(config)
}
