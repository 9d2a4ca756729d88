//! The life of a build: Dockerfile to graph, graph to keys, what is missing is
//! run, the result becomes an image.
//!
//! In: a [`BuildRequest`]. Out: a [`BuildResult`], and events on the way. The
//! plan and the keys are pure; what touches disk and kernel is in `ops`.

mod ahead;
mod check;
mod error;
mod export;
mod fetch;
mod graph;
mod input;
mod key;
mod mount;
mod ops;
mod plan;
mod redact;
mod request;
mod solve;
mod step_options;
mod syntax;

use std::sync::{Mutex, OnceLock};
use std::time::Instant;

pub use check::{Checked, check};
pub use error::{Error, Source};
pub use plan::{Outline, OutlineArg, OutlineMount};
pub use request::{
    BuildRequest, BuildResult, Cancel, ContextSource, DockerfileSource, NamedContext, RunNetwork,
    context_name,
};
pub use step_options::{Entitlement, Retry, Secret, SshAgent, StepOptions, StepPattern, StepRule};

use crate::dockerfile::{self, Diagnostic, Dockerfile, Level, Parsed, Span};
use crate::image;
use crate::oci::Platform;
use crate::progress::{Event, Layer, Outcome, Sink, StepId};
use crate::remote::Remote;
use crate::store::{SnapshotId, Store};
use fetch::Fetcher;
use graph::{BaseImage, Graph};
use ops::Tools;
use plan::Choices;
use redact::{RedactedSink, Redactor};
use solve::Solver;

/// Builds. `cancel` stops it from another thread.
pub fn build(
    store: &Store,
    request: &BuildRequest,
    sink: &dyn Sink,
    cancel: &Cancel,
) -> Result<BuildResult, Error> {
    with_fetcher(store, request, cancel, &|fetcher| {
        build_with(store, request, sink, cancel, fetcher)
    })
}

/// Does `work` with what fetches for this build.
fn with_fetcher<T>(
    store: &Store,
    request: &BuildRequest,
    cancel: &Cancel,
    work: &dyn Fn(&Fetcher<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let remote = Remote {
        secret: &|name| Some(request.steps.secrets.get(name)?.value().to_vec()),
        ssh_agent: request
            .steps
            .agents
            .get("default")
            .map(|agent| agent.socket.as_path()),
        canceled: &|| cancel.is_stopped(),
        ..Remote::new(&request.remote)
    };
    work(&Fetcher::new(store, &remote))
}

fn build_with(
    store: &Store,
    request: &BuildRequest,
    sink: &dyn Sink,
    cancel: &Cancel,
    fetcher: &Fetcher<'_>,
) -> Result<BuildResult, Error> {
    let scratch = store.temp_dir()?;
    let steps = Steps { sink };
    let mut input = steps.timed(1, "[internal] load build definition", || {
        input::open(store, fetcher, request, scratch.path())
    })?;
    let mut first = 2;
    if let Some(name) = &input.ignore_file {
        steps.timed(first, &format!("[internal] load {name}"), || Ok(()))?;
        first += 1;
    }
    let result = run(
        fetcher,
        request,
        &input,
        scratch.path(),
        &steps,
        first,
        cancel,
    );
    for context in &mut input.contexts {
        context.save();
    }
    result
}

fn run(
    fetcher: &Fetcher<'_>,
    request: &BuildRequest,
    input: &input::Input,
    scratch: &std::path::Path,
    steps: &Steps<'_>,
    first: u32,
    cancel: &Cancel,
) -> Result<BuildResult, Error> {
    let store = fetcher.store();
    let source = &input.source;
    let parsed = parse(source)?;
    let warn = |span: Option<Span>, warning: &str| {
        let place = span.map(|span| format!(" ({}:{})", source.name, span.line(&source.text)));
        let text = format!("{warning}{}", place.unwrap_or_default());
        steps.sink.event(Event::Warning(text));
    };
    let asked = request.build_args.get(syntax::ARGUMENT);
    if let Some((span, warning)) = syntax::warning(&parsed.dockerfile, asked) {
        warn(span, &warning);
    }
    let options = check::options(request, source, &parsed.dockerfile)?;
    let checks = plan::Checks::new(&options, &input.ignored);
    let graph = make_plan(store, request, input, &parsed.dockerfile, &checks);
    // A plan that failed may have failed for what a warning tells.
    let warnings = check::warnings(&parsed, &options, &checks);
    check::report(steps.sink, source, &warnings);
    let graph = graph?;
    check::refuse(&options, &warnings)?;
    for (span, warning) in &graph.warnings {
        warn(Some(*span), warning);
    }
    let redactor = Redactor::new(&request.steps.secrets);
    let sink = RedactedSink {
        redactor: &redactor,
        sink: steps.sink,
    };
    let tools = Tools {
        store,
        fetcher,
        contexts: &input.contexts,
        request,
        sink: &sink,
        cancel,
        scratch,
        network: OnceLock::new(),
        redactor: &redactor,
        renewed: Mutex::default(),
    };
    let solved = Solver::new(&graph, &tools, first, &source.text).solve();
    if let Some(Ok(attachment)) = tools.network.into_inner() {
        // A lease that cannot be given back ends with this process.
        drop(attachment.detach(store));
    }
    let solved = solved.map_err(|err| Error::step(source, &err, &redactor))?;
    let count = u32::try_from(graph.vertices.len()).unwrap_or(u32::MAX);
    let last = first.saturating_add(count);
    let target = graph.target.and_then(|id| u32::try_from(id.0).ok());
    let inputs = target
        .map(|index| StepId(first.saturating_add(index)))
        .into_iter()
        .collect();
    let result = steps.timed_after(last, "exporting to image", inputs, || {
        export::export(store, request, &graph, &solved)
    })?;
    tell_packed(store, steps.sink, solved.unpacked());
    Ok(result)
}

/// Tells the diff IDs that became known when the image was made.
fn tell_packed(store: &Store, sink: &dyn Sink, unpacked: &[(StepId, Layer)]) {
    for (step, layer) in unpacked {
        let row = store.snapshot_get(SnapshotId(layer.snapshot));
        if let Ok(Some(row)) = row
            && let Some(diff_id) = row.diff_id
        {
            let layer = Layer {
                diff_id: Some(diff_id.to_string()),
                ..layer.clone()
            };
            sink.event(Event::Layer { step: *step, layer });
        }
    }
}

/// Parses; any error ends the build with all of them.
fn parse(source: &Source) -> Result<Parsed, Error> {
    let parsed = dockerfile::parse(&source.text);
    refuse_errors(source, &parsed)?;
    Ok(parsed)
}

fn refuse_errors(source: &Source, parsed: &Parsed) -> Result<(), Error> {
    let errors = parsed.diagnostics.iter();
    let errors = errors.filter(|diagnostic| diagnostic.level == Level::Error);
    let diagnostics: Vec<Diagnostic> = errors.cloned().collect();
    if diagnostics.is_empty() {
        return Ok(());
    }
    Err(Error::Parse {
        source_file: source.clone(),
        diagnostics,
    })
}

fn make_plan(
    store: &Store,
    request: &BuildRequest,
    input: &input::Input,
    dockerfile: &Dockerfile,
    checks: &plan::Checks<'_>,
) -> Result<Graph, Error> {
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let choices = Choices::of(request, input);
    let plan_request = plan::Request {
        dockerfile,
        build_args: &request.build_args,
        target: request.target.as_deref(),
        platform: &platform,
        network: request.network,
        choices: &choices,
        allow: &request.steps.allow,
        checks,
        is_check: false,
    };
    plan::plan(&plan_request, &mut |reference, _| {
        find_image(store, reference)
    })
    .map_err(|err| Error::plan(&input.source, err))
}

fn find_image(store: &Store, reference: &str) -> Result<BaseImage, String> {
    let image = image::find(store, reference).map_err(|err| match err {
        image::Error::NotFound(_) => match reference.parse::<crate::oci::Reference>() {
            Ok(full) => format!(
                "{reference}: failed to resolve source metadata for {full}: not found in the local store \
                 (this version does not pull; `rbuild load` or `rbuild import` it first)"
            ),
            Err(err) => format!("failed to parse stage name {reference:?}: {err}"),
        },
        other => format!("{reference}: {other}"),
    })?;
    let reference = reference.parse::<crate::oci::Reference>();
    Ok(BaseImage {
        reference: reference
            .map_or_else(|_| image.id.to_string(), |reference| reference.to_string()),
        id: image.id,
        diff_ids: image.config.rootfs.diff_ids.clone(),
        config: image.config,
    })
}

/// Tells of the steps around the graph.
struct Steps<'a> {
    sink: &'a dyn Sink,
}

impl Steps<'_> {
    fn timed<T>(
        &self,
        number: u32,
        name: &str,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.timed_after(number, name, Vec::new(), work)
    }

    fn timed_after<T>(
        &self,
        number: u32,
        name: &str,
        inputs: Vec<StepId>,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (step, began) = (StepId(number), Instant::now());
        self.sink.event(Event::Started {
            step,
            name: name.to_owned(),
            inputs,
            line: None,
        });
        let result = work();
        let outcome = match &result {
            Ok(_) => Outcome::Done,
            Err(err) => Outcome::Failed(err.to_string()),
        };
        self.sink.event(Event::Finished {
            step,
            outcome,
            took: began.elapsed(),
            layer: None,
            usage: None,
        });
        result
    }
}
