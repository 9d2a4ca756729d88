//! `exec`

use std::path::PathBuf;

use rbuild::engine::{self, Engine, ExecRequest, Streams};

use super::detach::Keys;
use super::parse;
use super::stream::{self, Ears, Wiring};
use super::terminal;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Run a further program in a running container
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// The keys that leave the program's terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// Set a variable; a bare name takes its value from here
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Keep standard input open
    #[arg(short, long)]
    interactive: bool,
    /// Let it do nearly everything
    #[arg(long)]
    privileged: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, and group after a colon, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The container, and the program with its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true)]
    #[arg(value_name = "CONTAINER COMMAND [ARG...]")]
    words: Vec<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let Some((container, argv)) = args.words.split_first() else {
        return Err(Failure::new(1, "\"exec\" requires at least 2 arguments"));
    };
    if let Some(path) = args.workdir.as_deref()
        && !path.is_empty()
        && !path.starts_with('/')
    {
        return Err(Failure::new(128, "Cwd must be an absolute path"));
    }
    let streams = Streams {
        stdin: args.interactive && !args.detach,
        stdout: !args.detach,
        stderr: !args.detach,
    };
    if args.tty && streams.stdin && !terminal::stdin_is_one() {
        return Err(Failure::new(1, "the input device is not a TTY"));
    }
    let keys = args
        .detach_keys
        .as_deref()
        .map_or(Ok(Keys::default()), Keys::parse);
    let wiring = Wiring {
        streams,
        tty: args.tty,
        // Docker's exec passes no signals on: they end the command.
        pass_signals: false,
        keys: keys.map_err(|err| Failure::new(1, err))?,
    };
    let ears = Ears::open(&wiring)?;
    let environment = &engine.config().environment;
    let variables = parse::variables(&args.env_file, &args.env, environment);
    let request = ExecRequest {
        argv: argv.to_vec(),
        env: variables
            .map_err(|err| Failure::new(if args.env_file.is_empty() { 125 } else { 1 }, err))?,
        user: args.user.clone(),
        working_dir: args.workdir.clone().filter(|path| !path.is_empty()),
        privileged: args.privileged,
        tty: args.tty,
        attach: streams,
        terminal: terminal::size(),
    };
    let mut attached = engine.container_exec(container, request).map_err(|error| {
        let code = match engine::run_code(&error) {
            125 => 1,
            // Nobody waits for the program: that it is not there is the command's own failure.
            _ if args.detach => 1,
            code => code,
        };
        Failure::from(error).with_code(code)
    })?;
    if args.detach {
        return Ok(0);
    }
    Ok(stream::serve(&mut attached, &wiring, &ears, output)?.code())
}
