//! The life of a build: Dockerfile to graph, graph to keys, what is missing is
//! run, the result becomes an image.
//!
//! In: a [`BuildRequest`]. Out: a [`BuildResult`], and events on the way. The
//! plan and the keys are pure; what touches disk and kernel is in `ops`.

mod ahead;
mod compare;
mod emulation;
mod epoch;
mod error;
mod export;
mod graph;
mod input;
mod key;
mod mount;
mod ops;
mod output;
mod plan;
mod redact;
mod request;
mod solve;
mod step_options;

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

pub use error::{Error, Source};
pub use output::{
    Annotated, Annotation, ArchiveOutput, FilesOutput, ImageOutput, Output, OutputForm, Stream,
    Target,
};
pub use request::{BuildRequest, BuildResult, Cancel, ContextSource, DockerfileSource, RunNetwork};

pub use step_options::{Entitlement, Retry, Secret, SshAgent, StepOptions, StepPattern, StepRule};

use crate::dockerfile::{self, Dockerfile, Level};
use crate::image;
use crate::oci::Platform;
use crate::progress::{Event, Outcome, Sink, StepId};
use crate::store::Store;
use epoch::Epoch;
use export::Built;
use graph::{BaseImage, Graph};
use ops::Tools;
use redact::{RedactedSink, Redactor};
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
    if let Some(name) = &input.ignore_file {
        steps.timed(2, &format!("[internal] load {name}"), || Ok(()))?;
    }
    let result = run(store, request, &input, scratch.path(), &steps, cancel);
    for context in &mut input.contexts {
        context.save();
    }
    result
}

fn run(
    store: &Store,
    request: &BuildRequest,
    input: &input::Input,
    scratch: &std::path::Path,
    steps: &Steps<'_>,
    cancel: &Cancel,
) -> Result<BuildResult, Error> {
    let dockerfile = parse(&input.source)?;
    let redactor = Redactor::new(&request.steps.secrets);
    let sink = RedactedSink {
        redactor: &redactor,
        sink: steps.sink,
    };
    let mut work = Work {
        store,
        request,
        input,
        dockerfile: &dockerfile,
        scratch,
        steps,
        sink: &sink,
        redactor: &redactor,
        renewed: Mutex::default(),
        cancel,
        network: Arc::default(),
        next: 3,
    };
    let outcome = work.all();
    if let Some(Ok(attachment)) = Arc::into_inner(work.network).and_then(OnceLock::into_inner) {
        // A lease that cannot be given back ends with this process.
        drop(attachment.detach(store));
    }
    outcome
}

/// A build under way: one graph a platform, each solved in turn.
struct Work<'a> {
    store: &'a Store,
    request: &'a BuildRequest,
    input: &'a input::Input,
    dockerfile: &'a Dockerfile,
    scratch: &'a std::path::Path,
    steps: &'a Steps<'a>,
    /// Where steps report to: no secret comes through it.
    sink: &'a dyn Sink,
    redactor: &'a Redactor,
    renewed: ops::Renewed,
    cancel: &'a Cancel,
    network: ops::SharedNetwork,
    /// The number of the next step.
    next: u32,
}

impl Work<'_> {
    fn all(&mut self) -> Result<BuildResult, Error> {
        let (request, began) = (self.request, Instant::now());
        let built = self.platforms(request)?;
        let mut result = export::export(self.store, request, &built, self.steps, self.next)?;
        if request.check_reproducible {
            compare::wait_for_another_second(began);
            self.next += u32::try_from(request.outputs.len().max(1)).unwrap_or(1);
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
        let source = &self.input.source;
        let plan_request = plan::Request {
            dockerfile: self.dockerfile,
            build_args: &request.build_args,
            target: request.target.as_deref(),
            platform,
            several,
            network: request.network,
            allow: &request.steps.allow,
        };
        let epoch = find_epoch(&plan_request).map_err(|err| Error::plan(source, err))?;
        let build_args = match epoch {
            Found::Nothing => request.build_args.clone(),
            Found::Resolved(moment) => epoch::resolved(&request.build_args, moment),
        };
        let epoch = match epoch {
            Found::Nothing => None,
            Found::Resolved(moment) => moment,
        };
        let plan_request = plan::Request {
            build_args: &build_args,
            ..plan_request
        };
        let graph = plan::plan(&plan_request, &mut |reference| {
            find_image(self.store, reference, platform)
        })
        .map_err(|err| Error::plan(source, err))?;
        self.warn(&graph);
        let tools = Tools {
            store: self.store,
            contexts: &self.input.contexts,
            request,
            sink: self.sink,
            epoch: epoch.filter(|_| !request.keep_times),
            platform,
            cancel: self.cancel,
            scratch: self.scratch,
            network: Arc::clone(&self.network),
            redactor: self.redactor,
            renewed: &self.renewed,
        };
        let solved = Solver::new(&graph, &tools, self.next).solve();
        self.next += u32::try_from(graph.vertices.len()).unwrap_or(u32::MAX - self.next);
        let solved = solved.map_err(|err| Error::step(source, &err, self.redactor))?;
        Ok(Built {
            platform: platform.clone(),
            graph,
            solved,
            epoch,
        })
    }

    fn warn(&self, graph: &Graph) {
        let source = &self.input.source;
        for (span, warning) in &graph.warnings {
            let line = span.line(&source.text);
            self.steps.sink.event(Event::Warning(format!(
                "{warning} ({}:{line})",
                source.name
            )));
        }
    }
}

/// What `SOURCE_DATE_EPOCH` leads to.
fn find_epoch(request: &plan::Request<'_>) -> Result<Found, plan::PlanError> {
    Ok(match epoch::wanted(request, &|_| false)? {
        Epoch::None => Found::Nothing,
        Epoch::At(seconds) => Found::Resolved(Some(seconds)),
        // A directory has no time of its own.
        Epoch::OfContext(_) | Epoch::OfStage(_) => Found::Resolved(None),
    })
}

/// Whether `SOURCE_DATE_EPOCH` was given, and the moment that it led to.
enum Found {
    Nothing,
    Resolved(Option<i64>),
}

/// Parses; any error ends the build with all of them.
fn parse(source: &Source) -> Result<Dockerfile, Error> {
    let parsed = dockerfile::parse(&source.text);
    let mut diagnostics = parsed.diagnostics;
    diagnostics.retain(|diagnostic| diagnostic.level == Level::Error);
    if diagnostics.is_empty() {
        return Ok(parsed.dockerfile);
    }
    Err(Error::Parse {
        source_file: source.clone(),
        diagnostics,
    })
}

fn find_image(store: &Store, reference: &str, platform: &Platform) -> Result<BaseImage, String> {
    let image = image::find_for(store, reference, platform).map_err(|err| match err {
        image::Error::NotFound(_) => match reference.parse::<crate::oci::Reference>() {
            Ok(full) => format!(
                "{reference}: failed to resolve source metadata for {full}: not found in the local store \
                 (this version does not pull; `rbuild load` or `rbuild import` it first)"
            ),
            Err(err) => format!("failed to parse stage name {reference:?}: {err}"),
        },
        other => format!("{reference}: {other}"),
    })?;
    let config = &image.config;
    if !config.architecture.is_empty() && config.architecture != platform.architecture {
        return Err(format!(
            "{reference}: no match for platform in manifest: the image is for {}/{}, the build for {platform}",
            config.os, config.architecture
        ));
    }
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
        let (step, began) = (StepId(number), Instant::now());
        self.sink.event(Event::Started {
            step,
            name: name.to_owned(),
            inputs: Vec::new(),
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
            layer_bytes: None,
            usage: None,
        });
        result
    }
}
