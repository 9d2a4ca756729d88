//! The life of a build: Dockerfile to graph, graph to keys, what is missing is
//! run, the result becomes an image.
//!
//! In: a [`BuildRequest`]. Out: a [`BuildResult`], and events on the way. The
//! plan and the keys are pure; what touches disk and kernel is in `ops`.

mod ahead;
mod check;
mod chmod;
mod error;
mod explain;
mod export;
mod graph;
mod input;
mod key;
mod mount;
mod ops;
mod plan;
mod redact;
mod remote_cache;
mod request;
mod reuse;
mod solve;
mod step_options;
pub mod usage;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

pub use check::{Checked, check};
pub use error::{Error, Source};
pub use plan::{Outline, OutlineArg, OutlineMount};
pub use remote_cache::{
    CacheCompression, CacheMode, CacheMounts, CachePlace, CacheSource, CacheTarget,
};
pub use request::{BuildRequest, BuildResult, Cancel, ContextSource, DockerfileSource, RunNetwork};
pub use step_options::{Entitlement, Retry, Secret, SshAgent, StepOptions, StepPattern, StepRule};

use crate::dockerfile::{self, Diagnostic, Dockerfile, Level, Parsed};
use crate::image;
use crate::oci::Platform;
use crate::progress::{Event, Layer, Outcome, Sink, StepId};
use crate::snapshot;
use crate::store::{SnapshotId, Store};
use graph::{BaseImage, Graph};
use ops::Tools;
use redact::{RedactedSink, Redactor};
use remote_cache::Imports;
use solve::Solver;

/// Builds. `cancel` stops it from another thread.
pub fn build(
    store: &Store,
    request: &BuildRequest,
    sink: &dyn Sink,
    cancel: &Cancel,
) -> Result<BuildResult, Error> {
    let scratch = store.temp_dir()?;
    let steps = Steps { sink };
    let mut input = steps.timed(1, "[internal] load build definition", || {
        input::open(store, request, scratch.path())
    })?;
    let mut first = 2;
    if let Some(name) = &input.ignore_file {
        steps.timed(first, &format!("[internal] load {name}"), || Ok(()))?;
        first += 1;
    }
    let ended = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| sweep(store, &ended));
        let result = run(
            store,
            request,
            &input,
            scratch.path(),
            &steps,
            first,
            cancel,
        );
        ended.store(true, Ordering::Relaxed);
        result
    });
    if let Some(cap) = request.cache_max {
        fit(store, cap, sink);
    }
    for context in &mut input.contexts {
        context.save();
    }
    result
}

/// Removes what killed builds have left half done, beside this build and only as
/// long as that runs.
fn sweep(store: &Store, ended: &AtomicBool) {
    /// One build removes no more than this: the next one goes on.
    const MOST: usize = 64;
    // What cannot be removed now is the next build's, or a prune's.
    drop(store.temp_sweep());
    drop(snapshot::collect_dead(store, MOST, &|| {
        ended.load(Ordering::Relaxed)
    }));
}

/// Makes the cache fit once this build needs nothing of it any more.
fn fit(store: &Store, cap: u64, sink: &dyn Sink) {
    let held = store.unpin_all().map_err(usage::Error::from);
    if let Err(err) = held.and_then(|()| usage::settle_cap(store, cap)) {
        let why = remote_cache::causes(&err);
        sink.event(Event::Warning(format!(
            "cannot limit the build cache: {why}"
        )));
    }
}

fn run(
    store: &Store,
    request: &BuildRequest,
    input: &input::Input,
    scratch: &std::path::Path,
    steps: &Steps<'_>,
    first: u32,
    cancel: &Cancel,
) -> Result<BuildResult, Error> {
    let source = &input.source;
    let parsed = parse(source)?;
    let options = check::options(request, source, &parsed.dockerfile)?;
    let checks = plan::Checks::new(&options, &input.ignored);
    let graph = make_plan(store, request, source, &parsed.dockerfile, &checks);
    // A plan that failed may have failed for what a warning tells.
    let warnings = check::warnings(&parsed, &options, &checks);
    check::report(steps.sink, source, &warnings);
    let mut graph = graph?;
    reuse::forbid(&mut graph, &parsed.dockerfile, &request.no_cache_filter);
    check::refuse(&options, &warnings)?;
    for (span, warning) in &graph.warnings {
        let line = span.line(&source.text);
        steps.sink.event(Event::Warning(format!(
            "{warning} ({}:{line})",
            source.name
        )));
    }
    let redactor = Redactor::new(&request.steps.secrets);
    let sink = RedactedSink {
        redactor: &redactor,
        sink: steps.sink,
    };
    let imports = Imports::open(store, &sink, &request.cache_from);
    let tools = Tools {
        store,
        contexts: &input.contexts,
        request,
        sink: &sink,
        cancel,
        scratch,
        network: OnceLock::new(),
        redactor: &redactor,
        imports: &imports,
        arguments: explain::declared_arguments(&parsed.dockerfile),
        renewed: Mutex::default(),
    };
    let solver = Solver::new(&graph, &tools, first, &source.text);
    let solved = solver.solve();
    let wanted = !request.cache_to.is_empty() && !cancel.is_canceled();
    let results = if wanted { solver.exports() } else { Vec::new() };
    if let Some(Ok(attachment)) = tools.network.into_inner() {
        // A lease that cannot be given back ends with this process.
        drop(attachment.detach(store));
    }
    let count = u32::try_from(graph.vertices.len()).unwrap_or(u32::MAX);
    let last = first.saturating_add(count);
    let result = match solved {
        Ok(solved) => to_image(store, request, &graph, &solved, steps, (first, last)),
        Err(err) => Err(Error::step(source, &err, &redactor)),
    };
    // What succeeded serves the next build, whatever became of this one.
    let export = remote_cache::Export {
        store,
        imports: &imports,
        sink: steps.sink,
        first_step: last.saturating_add(1),
    };
    let mounts = ops::run::portable_caches(&graph);
    let exported = export.run(&request.cache_to, &results, &mounts);
    let result = result?;
    exported.map_err(Error::CacheExport)?;
    Ok(result)
}

/// Makes the image, as the step `last`; the graph's begin with `first`.
fn to_image(
    store: &Store,
    request: &BuildRequest,
    graph: &Graph,
    solved: &solve::Solved,
    steps: &Steps<'_>,
    (first, last): (u32, u32),
) -> Result<BuildResult, Error> {
    let target = graph.target.and_then(|id| u32::try_from(id.0).ok());
    let inputs = target
        .map(|index| StepId(first.saturating_add(index)))
        .into_iter()
        .collect();
    let result = steps.timed_after(last, "exporting to image", inputs, || {
        export::export(store, request, graph, solved)
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
    source: &Source,
    dockerfile: &Dockerfile,
    checks: &plan::Checks<'_>,
) -> Result<Graph, Error> {
    let host = Platform::host();
    let platform = request.platform.clone().unwrap_or_else(|| host.clone());
    if (&platform.os, &platform.architecture) != (&host.os, &host.architecture) {
        return Err(Error::Unsupported(format!(
            "cannot build for `{platform}` on `{host}`: this version builds for the platform that it runs on"
        )));
    }
    let plan_request = plan::Request {
        dockerfile,
        build_args: &request.build_args,
        target: request.target.as_deref(),
        platform: &platform,
        network: request.network,
        allow: &request.steps.allow,
        checks,
        is_check: false,
    };
    plan::plan(&plan_request, &mut |reference| find_image(store, reference))
        .map_err(|err| Error::plan(source, err))
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
