//! The life of a build: Dockerfile to graph, graph to keys, what is missing is
//! run, the result becomes an image.
//!
//! In: a [`BuildRequest`]. Out: a [`BuildResult`], and events on the way. The
//! plan and the keys are pure; what touches disk and kernel is in `ops`.

mod aftermath;
mod ahead;
mod bases;
mod check;
mod chmod;
mod compare;
mod counter;
mod debug;
mod emulation;
mod epoch;
mod error;
mod explain;
mod export;
mod fetch;
mod graph;
mod input;
mod key;
mod listing;
mod mount;
mod ops;
mod output;
mod plan;
mod redact;
mod remote_cache;
mod request;
mod reuse;
mod scene;
mod solve;
mod step_options;
mod syntax;
pub mod usage;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

pub use aftermath::{BringOut, Brought, Left, LeftImage, OnError};
pub use check::{Checked, check};
pub use debug::{DebugRequest, ParseStepError, StepAddress, debug};
pub use error::{Error, Source};
pub use listing::{ContextAnswer, ContextListing, explain_context, list_context};
pub use output::{
    Annotated, Annotation, ArchiveOutput, FilesOutput, ImageOutput, Output, OutputForm, Push,
    Stream, Target,
};
pub use plan::{Outline, OutlineArg, OutlineMount};
pub use remote_cache::{
    CacheCompression, CacheMode, CacheMounts, CachePlace, CacheSource, CacheTarget,
};
pub use request::{
    BuildRequest, BuildResult, Cancel, ContextSource, DockerfileSource, NamedContext, PullPolicy,
    RunNetwork, context_name,
};
pub use scene::{Nobody, Scene, Stands, Visitor};
pub use step_options::{Entitlement, Retry, Secret, SshAgent, StepOptions, StepPattern, StepRule};

use crate::dockerfile::{self, Diagnostic, Level, Parsed, Span};
use crate::oci::Platform;
use crate::progress::{Event, Layer, Outcome, Sink, StepId};
use crate::remote::Remote;
use crate::snapshot;
use crate::store::{CacheMountKey, SnapshotId, Store};
use aftermath::Aftermath;
use bases::Bases;
use counter::Counter;
use epoch::Epoch;
use export::{Built, Exporting};
use fetch::Fetcher;
use graph::Graph;
use ops::Tools;
use ops::run::Failed;
use plan::Choices;
use plan::cut::Cut;
use redact::{RedactedSink, Redactor};
use remote_cache::Imports;
use solve::Solver;

/// Builds. `cancel` stops it from another thread; `visitor` is let into the
/// sandbox of a step that failed, where the request says so.
pub fn build(
    store: &Store,
    request: &BuildRequest,
    sink: &dyn Sink,
    cancel: &Cancel,
    visitor: &dyn Visitor,
) -> Result<BuildResult, Error> {
    let job = Job {
        request,
        sink,
        cancel,
        visitor,
    };
    job.run(store, &|work| work.all())
}

/// What is to be done, and who takes part in it.
#[derive(Clone, Copy)]
struct Job<'a> {
    request: &'a BuildRequest,
    sink: &'a dyn Sink,
    cancel: &'a Cancel,
    visitor: &'a dyn Visitor,
}

/// What is done once everything is ready for it.
type Act<'a, T> = dyn Fn(&mut Work<'_>) -> Result<T, Error> + 'a;

impl Job<'_> {
    fn run<T>(&self, store: &Store, act: &Act<'_, T>) -> Result<T, Error> {
        with_fetcher(store, self.request, self.cancel, &|fetcher| {
            build_with(store, self, fetcher, act)
        })
    }
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

fn build_with<T>(
    store: &Store,
    job: &Job<'_>,
    fetcher: &Fetcher<'_>,
    act: &Act<'_, T>,
) -> Result<T, Error> {
    let Job { request, sink, .. } = *job;
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
    let ended = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| sweep(store, &ended));
        let place = Place {
            input: &input,
            scratch: scratch.path(),
            steps: &steps,
            first,
        };
        let result = run(fetcher, job, &place, act);
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

/// What a build found, and where it works.
struct Place<'a> {
    input: &'a input::Input,
    scratch: &'a std::path::Path,
    steps: &'a Steps<'a>,
    /// The number of the first step of the graph.
    first: u32,
}

fn run<T>(
    fetcher: &Fetcher<'_>,
    job: &Job<'_>,
    place: &Place<'_>,
    act: &Act<'_, T>,
) -> Result<T, Error> {
    let (store, request) = (fetcher.store(), job.request);
    let Place { input, steps, .. } = *place;
    let source = &input.source;
    let parsed = parse(source)?;
    let asked = request.build_args.get(syntax::ARGUMENT);
    if let Some((span, warning)) = syntax::warning(&parsed.dockerfile, asked) {
        steps.warn(source, span, &warning);
    }
    let options = check::options(request, source, &parsed.dockerfile)?;
    let redactor = Redactor::new(&request.steps.secrets);
    let sink = RedactedSink {
        redactor: &redactor,
        sink: steps.sink,
    };
    let imports = Imports::open(store, &sink, &request.cache_from);
    let numbers = Counter::new(place.first);
    let bases = Bases::new(store, request, steps.sink, job.cancel, &numbers);
    let mut work = Work {
        imports: &imports,
        results: Vec::new(),
        caches: BTreeSet::new(),
        store,
        fetcher,
        request,
        input,
        parsed: &parsed,
        options: &options,
        checked: Cell::new(false),
        scratch: place.scratch,
        steps,
        sink: &sink,
        redactor: &redactor,
        renewed: Mutex::default(),
        cancel: job.cancel,
        visitor: job.visitor,
        network: Arc::default(),
        bases: &bases,
        numbers: &numbers,
    };
    let outcome = act(&mut work);
    let results = std::mem::take(&mut work.results);
    let caches: Vec<CacheMountKey> = std::mem::take(&mut work.caches).into_iter().collect();
    if let Some(Ok(attachment)) = Arc::into_inner(work.network).and_then(OnceLock::into_inner) {
        // A lease that cannot be given back ends with this process.
        drop(attachment.detach(store));
    }
    // What succeeded serves the next build, whatever became of this one.
    let export = remote_cache::Export {
        store,
        imports: &imports,
        sink: steps.sink,
        first_step: numbers.take(request.cache_to.len()),
    };
    let exported = export.run(&request.cache_to, &results, &caches);
    let result = outcome?;
    exported.map_err(Error::CacheExport)?;
    Ok(result)
}

/// A build under way: one graph a platform, each solved in turn.
struct Work<'a> {
    imports: &'a Imports<'a>,
    /// What goes to other places that keep results.
    results: Vec<remote_cache::ExportStep>,
    /// The cache mounts that go with them.
    caches: BTreeSet<CacheMountKey>,
    store: &'a Store,
    fetcher: &'a Fetcher<'a>,
    request: &'a BuildRequest,
    input: &'a input::Input,
    parsed: &'a Parsed,
    options: &'a dockerfile::CheckOptions,
    /// Whether the warnings of the checks were told: they are the same on every platform.
    checked: Cell<bool>,
    scratch: &'a std::path::Path,
    steps: &'a Steps<'a>,
    /// Where steps report to: no secret comes through it.
    sink: &'a dyn Sink,
    redactor: &'a Redactor,
    renewed: ops::Renewed,
    cancel: &'a Cancel,
    visitor: &'a dyn Visitor,
    network: ops::SharedNetwork,
    bases: &'a Bases<'a>,
    /// Numbers of steps.
    numbers: &'a Counter,
}

impl<'a> Work<'a> {
    fn all(&mut self) -> Result<BuildResult, Error> {
        let (request, began) = (self.request, Instant::now());
        let built = self.platforms(request)?;
        let exporting = self.exporting(request);
        let mut result = exporting.run(&built)?;
        for built in &built {
            tell_packed(self.store, self.steps.sink, built.solved.unpacked());
        }
        if request.check_reproducible {
            compare::wait_for_another_second(began);
            let anew = BuildRequest {
                no_cache: true,
                forget: true,
                ..request.clone()
            };
            let again = self.platforms(&anew)?;
            result.differences = Some(compare::differences(self.store, request, &built, &again)?);
        }
        Ok(result)
    }

    fn platforms(&mut self, request: &BuildRequest) -> Result<Vec<Built>, Error> {
        let host = [Platform::host()];
        let platforms = match request.platforms.as_slice() {
            [] => &host,
            platforms => platforms,
        };
        let mut built = Vec::with_capacity(platforms.len());
        for platform in platforms {
            built.push(self.platform(request, platform, platforms.len() > 1)?);
        }
        Ok(built)
    }

    /// Plans and solves for one platform.
    fn platform(
        &mut self,
        request: &BuildRequest,
        platform: &Platform,
        several: bool,
    ) -> Result<Built, Error> {
        let order = Order {
            request,
            platform,
            several,
        };
        let (graph, epoch) = self.plan(&order, None)?;
        self.warn(&graph);
        let tools = self.tools(&order, epoch);
        let first = self.numbers.take(graph.vertices.len());
        let source = &self.input.source;
        let solver = Solver::new(&graph, &tools, first, &source.text);
        let solved = solver.solve();
        let exported = !request.cache_to.is_empty() && !request.forget;
        let exports = if exported && !self.cancel.is_canceled() {
            solver.exports()
        } else {
            Vec::new()
        };
        let solved = solved.map_err(|failure| self.failed(&order, &graph, &tools, first, &failure));
        tools.failed.clear(self.store);
        if !exports.is_empty() {
            self.caches.extend(ops::run::portable_caches(&graph));
        }
        self.results.extend(exports);
        let solved = solved?;
        let target = graph.target.and_then(|id| u32::try_from(id.0).ok());
        Ok(Built {
            platform: platform.clone(),
            target: target.map(|index| StepId(first.saturating_add(index))),
            graph,
            solved,
            epoch,
        })
    }

    /// The plan, as far as `cut`, and `SOURCE_DATE_EPOCH` in seconds.
    fn plan(&self, order: &Order<'_>, cut: Option<Cut>) -> Result<(Graph, Option<i64>), Error> {
        let request = order.request;
        let (checks, unheard) = (self.checks(), self.checks());
        let choices = Choices::of(request, self.input);
        let plan_request = plan::Request {
            choices: &choices,
            checks: &unheard,
            is_check: false,
            dockerfile: &self.parsed.dockerfile,
            build_args: &request.build_args,
            target: request.target.as_deref(),
            platform: order.platform,
            several: order.several,
            network: request.network,
            cut,
            allow: &request.steps.allow,
        };
        let epoch = self.epoch(&plan_request)?;
        let build_args = match epoch {
            Found::Nothing => request.build_args.clone(),
            Found::Resolved(moment) => epoch::resolved(&request.build_args, moment),
        };
        let epoch = match epoch {
            Found::Nothing => None,
            Found::Resolved(moment) => moment,
        };
        let plan_request = plan::Request {
            checks: &checks,
            build_args: &build_args,
            ..plan_request
        };
        let asking = plan::Request {
            checks: &unheard,
            ..plan_request
        };
        // What is wrong with the plan is told by the real one.
        self.bases
            .find_ahead(|images| drop(plan::plan(&asking, images)));
        let graph = plan::plan(&plan_request, &mut |reference, platform| {
            self.bases.find(reference, platform)
        })
        .map_err(|err| self.unplanned(err));
        // The checks of a plan that is cut know only a part of the file.
        if cut.is_none() {
            self.told_checks(&checks)?;
        }
        Ok((graph?, epoch))
    }

    /// An error of the plan; a name that could not be asked for because the user
    /// has stopped the build is none.
    fn unplanned(&self, err: plan::PlanError) -> Error {
        if self.cancel.is_canceled() {
            return Error::Canceled;
        }
        Error::plan(&self.input.source, err)
    }

    fn exporting<'e>(&'e self, request: &'e BuildRequest) -> Exporting<'e> {
        Exporting {
            store: self.store,
            request,
            steps: self.steps,
            numbers: self.numbers,
            cancel: self.cancel,
        }
    }

    fn tools<'t>(&'t self, order: &Order<'t>, epoch: Option<i64>) -> Tools<'t> {
        let request = order.request;
        Tools {
            store: self.store,
            fetcher: self.fetcher,
            contexts: &self.input.contexts,
            request,
            sink: self.sink,
            epoch: epoch.filter(|_| !request.keep_times),
            cancel: self.cancel,
            scratch: self.scratch,
            network: Arc::clone(&self.network),
            failed: Failed::new(aftermath::is_wanted(request)),
            redactor: self.redactor,
            imports: self.imports,
            arguments: explain::declared_arguments(&self.parsed.dockerfile),
            renewed: &self.renewed,
        }
    }

    /// A step failed: what is done about that, and the error.
    fn failed(
        &self,
        order: &Order<'_>,
        graph: &Graph,
        tools: &Tools<'_>,
        first: u32,
        failure: &error::StepError,
    ) -> Error {
        let source = &self.input.source;
        let error = Error::step(source, failure, self.redactor);
        let aftermath = Aftermath {
            tools,
            first_step: first,
            source: &source.text,
            replan: &|cut| Ok(self.plan(order, Some(cut))?.0),
        };
        let left = aftermath.attend(graph, failure, &error, self.visitor);
        error.leaving(left)
    }

    /// What `SOURCE_DATE_EPOCH` leads to.
    fn epoch(&self, request: &plan::Request<'_>) -> Result<Found, Error> {
        let plan_error = |err| Error::plan(&self.input.source, err);
        let contexts = &self.input.named;
        let wanted = epoch::wanted(request, &|name| contexts.contains_key(name));
        let op = match wanted.map_err(plan_error)? {
            Epoch::None => return Ok(Found::Nothing),
            Epoch::At(seconds) => return Ok(Found::Resolved(Some(seconds))),
            Epoch::OfContext(name) => match contexts.get(&name) {
                Some(named) => epoch::op_of_context(named),
                None => input::remote_op(self.request)?,
            },
            Epoch::OfStage(index) => {
                let mut images =
                    |reference: &str, platform: &Platform| self.bases.find(reference, platform);
                let found = epoch::op_of_stage(request, index, &mut images);
                Some(found.map_err(plan_error)?)
            }
        };
        let moment = op.map(|op| epoch::time_of(self.fetcher, op));
        Ok(Found::Resolved(moment.transpose()?.flatten()))
    }

    fn checks(&self) -> plan::Checks<'a> {
        plan::Checks::new(self.options, &self.input.ignored)
    }

    /// Tells what the checks found, once; a plan that failed may have failed for it.
    fn told_checks(&self, checks: &plan::Checks<'_>) -> Result<(), Error> {
        if self.checked.replace(true) {
            return Ok(());
        }
        let warnings = check::warnings(self.parsed, self.options, checks);
        check::report(self.steps.sink, &self.input.source, &warnings);
        check::refuse(self.options, &warnings)
    }

    fn warn(&self, graph: &Graph) {
        for (span, warning) in &graph.warnings {
            self.steps.warn(&self.input.source, Some(*span), warning);
        }
    }
}

/// What is to be built.
struct Order<'a> {
    request: &'a BuildRequest,
    platform: &'a Platform,
    /// Whether other platforms are built as well.
    several: bool,
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

/// Whether `SOURCE_DATE_EPOCH` was given, and the moment that it led to.
enum Found {
    Nothing,
    Resolved(Option<i64>),
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

/// Tells of the steps around the graph.
struct Steps<'a> {
    sink: &'a dyn Sink,
}

impl Steps<'_> {
    /// A warning, with its place where it has one.
    fn warn(&self, source: &Source, span: Option<Span>, warning: &str) {
        let place = span.map(|span| format!(" ({}:{})", source.name, span.line(&source.text)));
        let text = format!("{warning}{}", place.unwrap_or_default());
        self.sink.event(Event::Warning(text));
    }

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
