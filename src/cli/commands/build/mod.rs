//! `build`

mod caching;
mod call;
mod contexts;
mod converse;
mod failing;
mod interrupt;
mod later;
mod outputs;
mod reporting;
mod request;
mod shell;
mod steps;

use std::fs;
use std::path::PathBuf;

use interrupt::Interrupt;
use rbuild::build::{self, Cancel};
use rbuild::engine::{Config, Engine, Error};
use rbuild::fs::At;
use rbuild::sandbox::Rlimit;
pub(super) use request::read;
pub(super) use shell::{Host, catch_resizing};

use super::Open;
use crate::cli::output::Output;
use crate::cli::progress::{Mode, Progress, Summary};
use crate::cli::report::Failure;
use crate::cli::{excerpt, human, values};

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The context: a directory, a tar file, or `-` for a tar or a Dockerfile on standard input
    #[arg(value_name = "CONTEXT")]
    pub(super) context: Option<String>,
    /// Give the image this name; may be repeated
    #[arg(short, long, value_name = "NAME[:TAG]")]
    tag: Vec<String>,
    /// The Dockerfile; `-` is standard input [default: CONTEXT/Dockerfile]
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Set a build argument; without a value it comes from the environment
    #[arg(long, value_name = "NAME[=VALUE]")]
    build_arg: Vec<String>,
    /// Build this stage, by name or number
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Run every step, whatever the cache holds
    #[arg(long)]
    no_cache: bool,
    /// Say for each step that runs what has changed
    #[arg(long)]
    explain_cache: bool,
    /// Set a label of the image
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    label: Vec<(String, String)>,
    /// Write the image's ID to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Show nothing but the image's ID
    #[arg(short, long)]
    quiet: bool,
    /// How to show progress [env: BUILDKIT_PROGRESS] [default: auto]
    #[arg(long, value_name = "auto|tty|plain|quiet|none")]
    progress: Option<Mode>,
    /// The network of RUN steps: default, none or host
    #[arg(
        long,
        value_name = "MODE",
        default_value = "default",
        hide_default_value = true
    )]
    network: String,
    /// Add a host name to RUN steps
    #[arg(long, value_name = "NAME:IP")]
    add_host: Vec<String>,
    /// Build for this platform; only this machine's is available
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    platform: Vec<String>,
    /// Size of /dev/shm of RUN steps
    #[arg(long, value_name = "SIZE", value_parser = human::parse_size)]
    shm_size: Option<u64>,
    /// Limit a resource of RUN steps
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = values::ulimit)]
    ulimit: Vec<Rlimit>,
    /// Memory that a RUN step may use
    #[arg(short, long, value_name = "SIZE", value_parser = human::parse_size)]
    memory: Option<u64>,
    /// Length of a CPU period in microseconds
    #[arg(
        long,
        value_name = "MICROSECONDS",
        default_value_t = 100_000,
        hide_default_value = true
    )]
    cpu_period: u64,
    /// CPU time of a RUN step in each period
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_quota: Option<u64>,
    /// Answer a question about the Dockerfile instead of building: check, targets, outline
    #[arg(long, value_name = "QUESTION[,format=json]")]
    call: Option<String>,
    /// Check the Dockerfile; short for `--call=check`
    #[arg(long, conflicts_with = "call")]
    check: bool,
    #[command(flatten)]
    accepted: Accepted,
    #[command(flatten)]
    steps: steps::Steps,
    #[command(flatten)]
    contexts: contexts::Contexts,
    #[command(flatten)]
    outputs: outputs::Outputs,
    #[command(flatten)]
    caching: caching::Caching,
    #[command(flatten)]
    failing: failing::Failing,
    #[command(flatten)]
    reporting: reporting::Reporting,
    #[command(flatten)]
    later: later::Later,
}

/// Flags that ask for what happens anyway.
#[derive(Debug, clap::Args)]
struct Accepted {
    /// Look for newer base images (there is no registry to look at yet)
    #[arg(long, hide = true)]
    pull: bool,
    /// Remove intermediate containers (there are none)
    #[arg(long, hide = true)]
    rm: bool,
    /// The same
    #[arg(long, hide = true)]
    force_rm: bool,
    /// Compress the context (it is never sent anywhere)
    #[arg(long, hide = true)]
    compress: bool,
    /// Put the image into the store (it always goes there)
    #[arg(long, hide = true)]
    load: bool,
    /// Show more
    #[arg(short = 'D', long, hide = true)]
    debug: bool,
    /// A builder by name
    #[arg(long, hide = true, value_name = "NAME")]
    builder: Option<String>,
    /// A kind of isolation
    #[arg(long, hide = true, value_name = "KIND")]
    isolation: Option<String>,
}

pub(crate) fn run(
    args: &Args,
    config: &Config,
    open: Open<'_>,
    output: &mut Output,
) -> Result<u8, Failure> {
    let mode = prepare(args, config)?;
    let question = match (&args.call, args.check) {
        (_, true) => Some("check"),
        (Some(call), _) => Some(call.as_str()).filter(|call| *call != "build"),
        (None, _) => None,
    };
    if args.failing.wants_shell() {
        refuse_used_input(args)?;
    }
    let engine = open()?;
    let request = request::read(args, config, &engine)?;
    match question {
        Some(question) => call::run(question, &request.build, &engine, output),
        None => run_build(args, &request, mode, &engine, output),
    }
}

/// Refuses what this version does not have; how progress is shown.
pub(super) fn prepare(args: &Args, config: &Config) -> Result<Mode, Failure> {
    args.later.refuse()?;
    request::progress(args, config)
}

/// A shell needs the standard input for itself.
pub(super) fn refuse_used_input(args: &Args) -> Result<(), Failure> {
    let used = args.context.as_deref() == Some("-") || args.file.as_deref() == Some("-");
    if !used {
        return Ok(());
    }
    let message = "the standard input cannot be both a shell's and the context or the Dockerfile";
    Err(Failure::new(1, message).with_hint("name a directory or a file, or use `--on-error=keep`"))
}

fn run_build(
    args: &Args,
    request: &request::Request,
    mode: Mode,
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let resized = catch_resizing()?;
    let cancel = Cancel::new();
    let interrupt = watch(&cancel)?;
    let progress = Progress::start(mode, output.colors());
    let (result, summary, visited) = if args.failing.wants_shell() {
        output.flush()?;
        let colors = output.colors();
        let explain =
            |error: &build::Error, summary: &Summary| step_failure(error, summary, colors).text();
        let kind = engine.config().environment.get("TERM");
        let host = Host::new(progress, &resized, kind, &explain);
        let result = engine.build_visited(&request.build, &host, &cancel, &host);
        let (summary, visit) = host.finish();
        let visited = visit.is_some();
        if let Some(Err(why)) = visit {
            output.warn(format!("there is no shell in the failed step: {why}"));
        }
        (result, summary, visited)
    } else {
        let result = engine.build(&request.build, progress.sink(), &cancel);
        (result, progress.finish(), false)
    };
    let result = result.map_err(|error| {
        let failure = failure(&error, &summary, interrupt.happened(), output);
        if visited {
            // The place and the log stand above the shell.
            return failure.without_excerpt();
        }
        failure
    })?;
    summary.warn(output);
    if let Some(path) = &args.iidfile {
        fs::write(path, result.image.to_string()).at("write", path)?;
    }
    if mode == Mode::Quiet {
        output.line(result.image)?;
    }
    Ok(0)
}

/// Lets a signal stop a build.
pub(super) fn watch(cancel: &Cancel) -> Result<Interrupt, Failure> {
    Interrupt::watch(cancel)
        .map_err(|err| Failure::new(1, format!("cannot watch for signals: {err}")))
}

/// A failed build in BuildKit's words: the log of the step that failed, its
/// place in the Dockerfile, and why.
pub(super) fn failure(
    error: &Error,
    summary: &Summary,
    interrupted: bool,
    output: &Output,
) -> Failure {
    /// 128 and SIGINT, as a shell reports it.
    const INTERRUPTED: u8 = 130;
    let Error::Build(error) = error else {
        return Failure::build(error);
    };
    if interrupted || matches!(error, build::Error::Canceled) {
        return Failure::build("Canceled: context canceled").with_code(INTERRUPTED);
    }
    let failure = step_failure(error, summary, output.colors());
    match error {
        build::Error::Step { left, .. } => failure.with_notes(failing::notes(left)),
        _ => failure,
    }
}

/// The log of the step that failed, its place in the Dockerfile, and why.
pub(super) fn step_failure(error: &build::Error, summary: &Summary, colors: bool) -> Failure {
    let mut excerpt = summary.failed_log();
    let mut hint = None;
    if let Some((source, diagnostics)) = error.place() {
        let (name, text) = (source.name.as_str(), &*source.text);
        if let (build::Error::Step { .. }, [step]) = (error, diagnostics.as_slice()) {
            // The message stands below with its code; the place is the whole instruction.
            excerpt.push_str(&excerpt::marked(name, text, step.span));
            hint.clone_from(&step.hint);
        } else {
            let shown = excerpt::diagnostics(name, text, &diagnostics, colors);
            excerpt.push_str(&shown);
        }
    }
    let text = error.to_string();
    let why = text.strip_prefix("failed to solve: ").unwrap_or(&text);
    let mut failure = Failure::build(why).with_excerpt(excerpt);
    if let Some(hint) = hint {
        failure = failure.with_hint(hint);
    }
    match std::error::Error::source(error) {
        Some(source) => failure.because(source),
        None => failure,
    }
}
