//! `run`

use rbuild::engine::{self, Engine, Spare, StartOptions, Streams};

use super::create::create;
use super::detach::Keys;
use super::flags::Flags;
use super::stream::{self, Ears, Wiring};
use super::terminal;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Make a container of an image and run it
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Run in the background and print the ID
    #[arg(short, long)]
    detach: bool,
    /// Pass signals on to the program
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    /// The keys that leave the container's terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    #[command(flatten)]
    flags: Flags,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    let flags = &args.flags;
    let wrong = |err: String| Failure::new(125, err);
    if args.detach && !flags.attach.is_empty() {
        let message = "conflicting options: cannot specify both --attach and --detach";
        return Err(Failure::new(1, message));
    }
    let keys = args
        .detach_keys
        .as_deref()
        .map_or(Ok(Keys::default()), Keys::parse);
    let streams = if args.detach {
        Streams::default()
    } else {
        flags.streams().map_err(wrong)?
    };
    let wiring = Wiring {
        streams,
        tty: flags.tty,
        pass_signals: args.sig_proxy,
        keys: keys.map_err(wrong)?,
    };
    if flags.tty && streams.stdin && !terminal::stdin_is_one() {
        return Err(Failure::new(1, "the input device is not a TTY"));
    }
    // Without one in advance, the start makes its own.
    let spare = Spare::start().ok();
    let created = create(flags, engine, streams, output)?;
    // From here on signals are the program's. One that arrives before it runs waits for it.
    let ears = (!args.detach).then(|| Ears::open(&wiring)).transpose()?;
    let options = StartOptions {
        attach: (!args.detach).then_some(streams),
        terminal: terminal::size(),
        spare,
    };
    let started = engine
        .container_start(&created.id, options)
        .map_err(|error| {
            let code = engine::run_code(&error);
            Failure::from(error).with_code(code)
        });
    if args.detach {
        // Docker tells the ID also of one that did not start: it is there to be looked at.
        output.line(&created.id)?;
    }
    let Some(started) = started? else {
        return Ok(0);
    };
    for warning in &started.warnings {
        output.warn(warning);
    }
    if let (Some(mut attached), Some(ears)) = (started.attached, ears) {
        return Ok(stream::serve(&mut attached, &wiring, &ears, output)?.code());
    }
    Ok(0)
}
