//! The life of a build: Dockerfile to graph, graph to keys, what is missing is
//! run, the result becomes an image.
//!
//! In: a [`BuildRequest`]. Out: a [`BuildResult`], and events on the way. The
//! plan and the keys are pure; what touches disk and kernel is in `ops`.

mod aftermath;
mod ahead;
mod debug;
mod error;
mod export;
mod graph;
mod input;
mod key;
mod listing;
mod mount;
mod ops;
mod plan;
mod redact;
mod request;
mod scene;
mod solve;
mod step_options;

use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

pub use aftermath::{BringOut, Brought, Left, LeftImage, OnError};
pub use debug::{DebugRequest, ParseStepError, StepAddress, debug};
pub use error::{Error, Source};
pub use listing::{ContextAnswer, ContextListing, explain_context, list_context};
pub use request::{BuildRequest, BuildResult, Cancel, ContextSource, DockerfileSource, RunNetwork};
pub use scene::{Nobody, Scene, Stands, Visitor};

pub use step_options::{Entitlement, Retry, Secret, SshAgent, StepOptions, StepPattern, StepRule};

use crate::dockerfile::{self, Dockerfile, Level};
use crate::image;
use crate::oci::Platform;
use crate::progress::{Event, Outcome, Sink, StepId};
use crate::store::Store;
use aftermath::Aftermath;
use graph::{BaseImage, Graph};
use ops::Tools;
use ops::run::Failed;
use plan::cut::Cut;
use redact::{RedactedSink, Redactor};
use solve::Solver;

/// The progress number of the first step of the graph; what comes before reads the input.
const FIRST_STEP: u32 = 3;

/// Builds. `cancel` stops it from another thread; `visitor` is let into the
/// sandbox of a step that failed, where the request says so.
pub fn build(
    store: &Store,
    request: &BuildRequest,
    sink: &dyn Sink,
    cancel: &Cancel,
    visitor: &dyn Visitor,
) -> Result<BuildResult, Error> {
    let scratch = store.temp_dir()?;
    let steps = Steps { sink };
    let mut input = steps.open(store, request, scratch.path())?;
    let result = run(
        store,
        request,
        &input,
        scratch.path(),
        &steps,
        cancel,
        visitor,
    );
    for context in &mut input.contexts {
        context.save();
    }
    result
}

fn run(
    store: &Store,
    request: &BuildRequest,
    input: &input::Input,
    scratch: &Path,
    steps: &Steps<'_>,
    cancel: &Cancel,
    visitor: &dyn Visitor,
) -> Result<BuildResult, Error> {
    let source = &input.source;
    let dockerfile = parse(source)?;
    let replan = |cut| make_plan(store, request, source, &dockerfile, cut);
    let graph = replan(None)?;
    steps.warn(&graph, source);
    let redactor = Redactor::new(&request.steps.secrets);
    let sink = RedactedSink {
        redactor: &redactor,
        sink: steps.sink,
    };
    let place = Place {
        input,
        scratch,
        redactor: &redactor,
    };
    let tools = place.tools(store, request, &sink, cancel);
    let solved = Solver::new(&graph, &tools, FIRST_STEP).solve();
    let solved = solved.map_err(|failure| {
        let error = Error::step(source, &failure, &redactor);
        let aftermath = Aftermath {
            tools: &tools,
            first_step: FIRST_STEP,
            replan: &|cut| replan(Some(cut)),
        };
        let left = aftermath.attend(&graph, &failure, &error, visitor);
        error.leaving(left)
    });
    close(tools);
    let solved = solved?;
    let last = FIRST_STEP + u32::try_from(graph.vertices.len()).unwrap_or(u32::MAX - FIRST_STEP);
    steps.timed(last, "exporting to image", || {
        export::export(store, request, &graph, &solved)
    })
}

/// What a build works with besides its request.
struct Place<'a> {
    input: &'a input::Input,
    /// A directory of this build alone.
    scratch: &'a Path,
    redactor: &'a Redactor,
}

impl<'a> Place<'a> {
    fn tools(
        &self,
        store: &'a Store,
        request: &'a BuildRequest,
        sink: &'a dyn Sink,
        cancel: &'a Cancel,
    ) -> Tools<'a> {
        Tools {
            store,
            contexts: &self.input.contexts,
            request,
            sink,
            cancel,
            scratch: self.scratch,
            network: OnceLock::new(),
            redactor: self.redactor,
            renewed: Mutex::default(),
            failed: Failed::new(aftermath::is_wanted(request)),
        }
    }
}

/// Clears away what was made for the steps: their network, and trees that failed.
fn close(tools: Tools<'_>) {
    let store = tools.store;
    tools.failed.clear(store);
    if let Some(Ok(attachment)) = tools.network.into_inner() {
        // A lease that cannot be given back ends with this process.
        drop(attachment.detach(store));
    }
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

fn make_plan(
    store: &Store,
    request: &BuildRequest,
    source: &Source,
    dockerfile: &Dockerfile,
    cut: Option<Cut>,
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
        cut,
    };
    plan::plan(&plan_request, &mut |reference| {
        find_image(store, reference, &platform)
    })
    .map_err(|err| Error::plan(source, err))
}

fn find_image(store: &Store, reference: &str, platform: &Platform) -> Result<BaseImage, String> {
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
    /// Opens context and Dockerfile.
    fn open(
        &self,
        store: &Store,
        request: &BuildRequest,
        scratch: &Path,
    ) -> Result<input::Input, Error> {
        let input = self.timed(1, "[internal] load build definition", || {
            input::open(store, request, scratch)
        })?;
        if let Some(name) = &input.ignore_file {
            self.timed(2, &format!("[internal] load {name}"), || Ok(()))?;
        }
        Ok(input)
    }

    /// Tells the warnings of a plan.
    fn warn(&self, graph: &Graph, source: &Source) {
        for (span, warning) in &graph.warnings {
            let line = span.line(&source.text);
            let text = format!("{warning} ({}:{line})", source.name);
            self.sink.event(Event::Warning(text));
        }
    }

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
