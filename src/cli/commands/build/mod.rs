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
mod warnings;

use call::Call;
use interrupt::Interrupt;
use rbuild::build::{self, BuildRequest, BuildResult, Cancel};
use rbuild::engine::{Config, Engine, Error};
use rbuild::sandbox::Rlimit;
use rbuild::sys::signals::Signals;
pub(super) use request::read;
pub(super) use shell::{Host, catch_resizing};

use super::Open;
use crate::cli::output::Output;
use crate::cli::progress::{Ending, Mode, Progress, Settings, Summary};
use crate::cli::report::Failure;
use crate::cli::{excerpt, human, values};

/// Build an image from a Dockerfile
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The context: a directory, a tar file, a git repository, the URL of a tar or a Dockerfile, or `-` for one on standard input
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
    /// Ask the registries for newer base images: always, missing, newer, never
    #[arg(long, value_name = "WHEN", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "always")]
    pull: Option<String>,
    /// Say for each step that runs what has changed
    #[arg(long)]
    explain_cache: bool,
    /// Set a label of the image
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    label: Vec<(String, String)>,
    /// Show nothing but the image's ID
    #[arg(short, long)]
    quiet: bool,
    /// How to show progress [env: BUILDKIT_PROGRESS] [default: auto]
    #[arg(long, value_name = "auto|tty|plain|rawjson|quiet|none")]
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
    /// Answer a question about the Dockerfile instead of building: check, targets, outline,
    /// subrequests.describe
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
    /// Remove intermediate containers (there are none)
    #[arg(long, hide = true)]
    rm: bool,
    /// The same
    #[arg(long, hide = true)]
    force_rm: bool,
    /// Compress the context (it is never sent anywhere)
    #[arg(long, hide = true)]
    compress: bool,
    /// Show warnings with their places
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
        (_, true) => Call::read("check")?,
        (Some(call), _) => Call::read(call)?,
        (None, _) => None,
    };
    if args.failing.wants_shell() {
        refuse_used_input(args)?;
    }
    let engine = open()?;
    let mut request = request::read(args, config, &engine)?;
    request.build.explain_cache |= mode == Mode::RawJson;
    if let Some(question) = question {
        return call::run(&question, &request.build, &engine, output);
    }
    let settings = settings(args, config, mode, output);
    run_build(args, &request, (mode, settings), &engine, output)
}

fn run_build(
    args: &Args,
    request: &request::Request,
    (mode, settings): (Mode, Settings),
    engine: &Engine,
    output: &mut Output,
) -> Result<u8, Failure> {
    let resized = args
        .failing
        .wants_shell()
        .then(catch_resizing)
        .transpose()?;
    let cancel = Cancel::new();
    let style = settings.warning();
    let interrupt = watch(&cancel)?;
    let progress = Progress::start(mode, settings);
    let (result, summary, visited) = if let Some(resized) = &resized {
        with_shell(progress, resized, &request.build, &cancel, engine, output)?
    } else {
        let result = engine.build(&request.build, progress.sink(), &cancel);
        let summary = progress.finish(ending(&result));
        (result, summary, false)
    };
    let quiet = mode == Mode::Quiet;
    if !matches!(mode, Mode::Quiet | Mode::None | Mode::RawJson) {
        let is_expanded = args.accepted.debug || output.is_detailed();
        warnings::show(
            summary.warnings(),
            is_expanded,
            &request.build,
            engine,
            style,
            output,
        );
    }
    let result = result.map_err(|error| {
        if interrupt.happened() {
            return interrupted();
        }
        let failure = failure(&error, summary.failed_log(), output.colors());
        if visited {
            // The log and the place stand above the shell.
            return failure.without_excerpt();
        }
        failure
    });
    let told = args.reporting.write(engine, &summary, result.as_ref());
    let (result, told) = match (result, told) {
        (Ok(result), told) => (result, told),
        (Err(failed), told) => {
            // The build's own failure decides; it comes last.
            told.unwrap_or_else(|unwritten| output.failure(&unwritten));
            return Err(failed);
        }
    };
    let code = args.outputs.report(
        &request.build,
        &result,
        summary.warnings(),
        engine.config(),
        quiet,
        output,
    )?;
    told.map(|()| code)
}

/// A build with a shell in the step that fails; whether there was one.
fn with_shell(
    progress: Progress,
    resized: &Signals,
    build: &BuildRequest,
    cancel: &Cancel,
    engine: &Engine,
    output: &mut Output,
) -> Result<(Result<BuildResult, Error>, Summary, bool), Failure> {
    output.flush()?;
    let explain = explain(output);
    let kind = engine.config().environment.get("TERM");
    let host = Host::new(progress, resized, kind, &explain);
    let result = engine.build_visited(build, &host, cancel, &host);
    let (summary, visit) = host.finish(ending(&result));
    let visited = visit.is_some();
    if let Some(Err(why)) = visit {
        output.warn(format!("there is no shell in the failed step: {why}"));
    }
    Ok((result, summary, visited))
}

/// Says why a step failed, as it is said at the end of a build.
pub(super) fn explain(
    output: &Output,
) -> impl Fn(&build::Error, &Summary) -> String + Sync + use<> {
    let colors = output.colors();
    move |error, summary| build_failure(error, summary.failed_log(), colors).text()
}

/// Refuses what this version does not have; how progress is shown.
pub(super) fn prepare(args: &Args, config: &Config) -> Result<Mode, Failure> {
    args.later.refuse()?;
    request::progress(args, config)
}

/// How progress looks, with complaints about what the environment says of it.
pub(super) fn settings(args: &Args, config: &Config, mode: Mode, output: &mut Output) -> Settings {
    let mut settings = Settings::read(&config.environment, output.colors());
    // Reports and programs are told anyway; people are when they ask.
    settings.reasons = args.explain_cache || mode == Mode::RawJson;
    for complaint in &settings.complaints {
        output.warn(complaint);
    }
    settings
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

/// Lets a signal stop a build.
pub(super) fn watch(cancel: &Cancel) -> Result<Interrupt, Failure> {
    Interrupt::watch(cancel)
        .map_err(|err| Failure::new(1, format!("cannot watch for signals: {err}")))
}

fn ending(result: &Result<BuildResult, Error>) -> Ending {
    match result {
        Ok(result) => Ending {
            image: result.image.map(|image| image.to_string()),
            names: result.names.iter().map(ToString::to_string).collect(),
            error: None,
        },
        Err(error) => Ending {
            error: Some(error.to_string()),
            ..Ending::default()
        },
    }
}

/// A build that the user has stopped.
pub(super) fn interrupted() -> Failure {
    /// 128 and SIGINT, as a shell reports it.
    const INTERRUPTED: u8 = 130;
    Failure::build("Canceled: context canceled").with_code(INTERRUPTED)
}

/// A failed build in BuildKit's words: the log of the step that failed, its
/// place in the Dockerfile, and why.
pub(super) fn failure(error: &Error, log: String, colors: bool) -> Failure {
    match error {
        Error::Build(build::Error::Canceled) => interrupted(),
        Error::Build(error) => build_failure(error, log, colors),
        error => Failure::build(error),
    }
}

fn build_failure(error: &build::Error, log: String, colors: bool) -> Failure {
    let mut excerpt = log;
    let mut hint = None;
    let text = error.to_string();
    let mut why = text
        .strip_prefix("failed to solve: ")
        .unwrap_or(&text)
        .to_owned();
    if let Some((source, diagnostics)) = error.place() {
        let (name, text) = (source.name.as_str(), &*source.text);
        if let (build::Error::Step { .. }, [step]) = (error, diagnostics.as_slice()) {
            // The message stands below with its code; the place is the whole instruction.
            excerpt.push_str(&excerpt::marked(name, text, step.span));
            hint.clone_from(&step.hint);
        } else {
            let shown = excerpt::diagnostics(name, text, &diagnostics, colors);
            excerpt.push_str(&shown);
            // BuildKit's clients have the likely word in the message.
            let first = diagnostics.first().and_then(|first| first.hint.as_deref());
            if let Some(meant) = first.filter(|hint| hint.starts_with("did you mean")) {
                why.push_str(&format!(" ({meant})"));
            }
        }
    }
    let mut failure = Failure::build(why).with_excerpt(excerpt);
    if let Some(hint) = hint {
        failure = failure.with_hint(hint);
    }
    if let Some(known) = error.hint() {
        failure = failure.with_hint(known);
    }
    if let build::Error::Step { left, .. } = error {
        failure = failure.with_notes(failing::notes(left));
    }
    match std::error::Error::source(error) {
        Some(source) => failure.because(source),
        None => failure,
    }
}
