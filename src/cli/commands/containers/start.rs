//! `start`

use std::cell::RefCell;

use rbuild::engine::{Engine, StartOptions, Streams};

use super::detach::Keys;
use super::each::each;
use super::stream::{self, Ears, Wiring};
use super::terminal;
use crate::cli::output::Output;
use crate::cli::report::Failure;

/// Start one or more stopped containers
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Attach to the container's output, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach to the container's input as well
    #[arg(short, long)]
    interactive: bool,
    /// The keys that leave the container's terminal
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<String>,
    /// The containers, by name or ID
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

pub(super) fn run(args: &Args, engine: &Engine, output: &mut Output) -> Result<u8, Failure> {
    if !args.attach && !args.interactive {
        let failed = RefCell::new(Vec::new());
        let code = each(&args.containers, output, &|name| {
            let started = engine.container_start(name, StartOptions::default());
            started.inspect_err(|_| failed.borrow_mut().push(name.to_owned()))?;
            Ok(name.to_owned())
        })?;
        let failed = failed.into_inner();
        if !failed.is_empty() {
            output.error(format!("failed to start containers: {}", failed.join(", ")));
        }
        return Ok(code);
    }
    let [name] = args.containers.as_slice() else {
        return Err(Failure::new(
            1,
            "you cannot start and attach multiple containers at once",
        ));
    };
    let document = engine.container_inspect(name)?;
    let is = |key: &str| document["Config"][key].as_bool().unwrap_or_default();
    let streams = Streams {
        stdin: args.interactive && is("OpenStdin"),
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
        pass_signals: !is("Tty"),
        keys: keys.map_err(|err| Failure::new(1, err))?,
    };
    let ears = Ears::open(&wiring)?;
    let options = StartOptions {
        attach: Some(streams),
        terminal: terminal::size(),
        spare: None,
    };
    let mut attached = if let Some(started) = engine.container_start(name, options)? {
        for warning in &started.warnings {
            output.warn(warning);
        }
        started.attached
    } else {
        // It runs already: then this is `attach`.
        let mut attached = engine.container_attach(name, streams)?;
        if wiring.tty {
            stream::ask_to_redraw(&mut attached)?;
        }
        Some(attached)
    };
    match &mut attached {
        Some(attached) => Ok(stream::serve(attached, &wiring, &ears, output)?.code()),
        None => Ok(0),
    }
}
