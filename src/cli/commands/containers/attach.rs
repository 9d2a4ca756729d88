//! `attach`

use rbuild::engine::{Engine, Streams};

use super::detach::Keys;
use super::stream::{self, Ears, Wiring};
use super::terminal;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Attach to a running container's input and output
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Leave standard input alone
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the program
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    /// The keys that leave the container's terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// The container, by name or ID
    container: String,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let name = &args.container;
    let document = engine.container_inspect(name)?;
    let is = |key: &str| document["Config"][key].as_bool().unwrap_or_default();
    let streams = Streams {
        stdin: !args.no_stdin && is("OpenStdin"),
        stdout: true,
        stderr: true,
    };
    let keys = args
        .detach_keys
        .as_deref()
        .map_or(Ok(Keys::default()), Keys::parse);
    let wiring = Wiring {
        streams,
        tty: is("Tty"),
        pass_signals: args.sig_proxy && !is("Tty"),
        keys: keys.map_err(|err| Failure::new(1, err))?,
    };
    let running = document["State"]["Status"] == "running";
    if running && wiring.tty && streams.stdin && !terminal::stdin_is_one() {
        return Err(Failure::new(1, "the input device is not a TTY"));
    }
    let ears = Ears::open(&wiring)?;
    let mut attached = engine.container_attach(name, streams)?;
    if wiring.tty {
        stream::ask_to_redraw(&mut attached)?;
    }
    Ok(stream::serve(&mut attached, &wiring, &ears, output)?.code())
}
