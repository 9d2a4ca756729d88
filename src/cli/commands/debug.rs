//! `debug`

use rbuild::build::{Cancel, DebugRequest, StepAddress};
use rbuild::engine::Config;

use super::Open;
use super::build::{self, Host};
use crate::cli::output::Output;
use crate::cli::progress::{Ending, Progress};
use crate::cli::report::Failure;

/// Open a shell at a step of a build
///
/// Builds what the step stands on and opens the stage's shell in the step's sandbox: its files,
/// mounts, environment, user and network. Commands may come from a terminal or a pipe; the exit
/// code is the shell's.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// The step: its number in the target, STAGE:NUMBER, or :LINE of the Dockerfile
    /// [default: behind the last step]
    #[arg(long, value_name = "STEP")]
    step: Option<StepAddress>,
    /// Do the step first: the shell is then behind it, not before
    #[arg(long)]
    after: bool,
    #[command(flatten)]
    build: build::Args,
}

pub(super) fn run(
    args: &Args,
    config: &Config,
    open: Open<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let mode = build::prepare(&args.build, config)?;
    build::refuse_used_input(&args.build)?;
    let engine = open()?;
    let request = build::read(&args.build, config, &engine)?;
    let debug = DebugRequest {
        build: request.build.clone(),
        step: args.step.clone().unwrap_or_default(),
        after: args.after,
    };
    let resized = build::catch_resizing()?;
    let cancel = Cancel::new();
    let interrupt = build::watch(&cancel)?;
    let settings = build::settings(&args.build, config, mode, output);
    let progress = Progress::start(mode, settings);
    output.flush()?;
    let explain = build::explain(output);
    let kind = engine.config().environment.get("TERM");
    let host = Host::new(progress, &resized, kind, &explain);
    let result = engine.debug(&debug, &host, &cancel, &host);
    let (summary, outcome) = host.finish(Ending {
        error: result.as_ref().err().map(ToString::to_string),
        ..Ending::default()
    });
    result.map_err(|error| {
        if interrupt.happened() {
            return build::interrupted();
        }
        let failure = build::failure(&error, summary.failed_log(), output.colors());
        if outcome.is_some() {
            return failure.without_excerpt();
        }
        failure
    })?;
    match outcome {
        Some(Ok(code)) => Ok(code),
        Some(Err(why)) => Err(Failure::new(1, why)),
        None => Err(Failure::new(1, "the step was not reached")),
    }
}
