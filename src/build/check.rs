//! The build checks of a build, and those without one.
//!
//! The checks are made by the parser's [`lint_with`](dockerfile::lint_with) and,
//! on the way, by the plan. What is wanted of them and what comes of them is
//! decided here.

use super::bases::Bases;
use super::counter::Counter;
use super::error::Source;
use super::plan::{self, Checks, Choices, Outline};
use super::{BuildRequest, Cancel, Error, input};
use crate::dockerfile::{self, CheckOptions, Diagnostic, Dockerfile, Level, Parsed};
use crate::oci::Platform;
use crate::progress::{Event, Silent, Sink};
use crate::store::Store;

/// The build argument that overrides the `check` directive.
const CHECK_ARG: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// A Dockerfile that was looked at and not built.
#[derive(Debug)]
pub struct Checked {
    /// The Dockerfile.
    pub source: Source,
    /// What it says, as far as it could be read.
    pub dockerfile: Dockerfile,
    /// What the checks found, in the order of the checks.
    pub warnings: Vec<Diagnostic>,
    /// What the target can be given and needs.
    pub outline: Outline,
    /// Why it could not be built, as far as that can be told.
    pub error: Option<Error>,
}

/// Looks at the Dockerfile of a request as a build would, and builds nothing.
///
/// Without a target every stage is looked at. A base image that is neither in the
/// store nor on its registry is taken for one of which nothing is known.
///
/// # Errors
/// When there is no Dockerfile, or the options of the checks cannot be read.
/// Errors in it are a part of the result.
pub fn check(store: &Store, request: &BuildRequest) -> Result<Checked, Error> {
    let scratch = store.temp_dir()?;
    let input = super::with_fetcher(store, request, &Cancel::new(), &|fetcher| {
        input::open(store, fetcher, request, scratch.path())
    })?;
    let choices = Choices::of(request, &input);
    let source = input.source;
    let parsed = dockerfile::parse(&source.text);
    let options = options(request, &source, &parsed.dockerfile)?;
    if let Err(error) = super::refuse_errors(&source, &parsed) {
        return Ok(Checked {
            source,
            dockerfile: parsed.dockerfile,
            warnings: Vec::new(),
            outline: Outline::default(),
            error: Some(error),
        });
    }
    let checks = Checks::new(&options, &input.ignored);
    let host = Platform::host();
    let platform = request.platforms.first().unwrap_or(&host);
    let plan_request = plan::Request {
        dockerfile: &parsed.dockerfile,
        build_args: &request.build_args,
        target: request.target.as_deref(),
        platform,
        several: request.platforms.len() > 1,
        cut: None,
        network: request.network,
        choices: &choices,
        allow: &request.steps.allow,
        checks: &checks,
        is_check: true,
    };
    let (cancel, numbers) = (Cancel::new(), Counter::new(1));
    let bases = Bases::new(store, request, &Silent, &cancel, &numbers);
    let unheard = Checks::new(&options, &input.ignored);
    let asking = plan::Request {
        checks: &unheard,
        ..plan_request
    };
    bases.find_ahead(|images| drop(plan::check(&asking, images)));
    let planned = plan::check(&plan_request, &mut |reference, platform| {
        bases.find(reference, platform)
    });
    let warnings = warnings(&parsed, &options, &checks);
    let (outline, error) = match planned {
        Ok(outline) => (outline, refuse(&options, &warnings).err()),
        Err(err) => (Outline::default(), Some(Error::plan(&source, err))),
    };
    Ok(Checked {
        source,
        dockerfile: parsed.dockerfile,
        warnings,
        outline,
        error,
    })
}

/// Which checks are wanted: by the build argument, or else by the directive.
pub(super) fn options(
    request: &BuildRequest,
    source: &Source,
    dockerfile: &Dockerfile,
) -> Result<CheckOptions, Error> {
    if let Some(text) = request.build_args.get(CHECK_ARG) {
        let wrong = |why| Error::CheckOptions(format!("failed to parse {CHECK_ARG}: {why}"));
        return CheckOptions::read(text).map_err(wrong);
    }
    let Some(directive) = &dockerfile.check else {
        return Ok(CheckOptions::default());
    };
    CheckOptions::read(&directive.value).map_err(|why| Error::Plan {
        source_file: source.clone(),
        span: directive.span,
        message: format!("failed to parse check options: {why}"),
        hint: Some("options are skip=RULE,..., error=true and experimental=RULE,...".to_owned()),
    })
}

/// Everything that was found: by the parser, in the text as a whole, by the plan.
pub(super) fn warnings(
    parsed: &Parsed,
    options: &CheckOptions,
    checks: &Checks<'_>,
) -> Vec<Diagnostic> {
    let is_wanted = |found: &&Diagnostic| match found.level {
        Level::Warning(rule) => options.wants(rule),
        Level::Error => false,
    };
    let mut warnings: Vec<_> = parsed
        .diagnostics
        .iter()
        .filter(is_wanted)
        .cloned()
        .collect();
    warnings.extend(dockerfile::lint_with(&parsed.dockerfile, options));
    warnings.extend(checks.found());
    warnings
}

impl Checked {
    /// A warning on one line, as a build tells it: rule, message and place.
    pub fn short(&self, warning: &Diagnostic) -> String {
        short(&self.source, warning)
    }
}

fn short(source: &Source, warning: &Diagnostic) -> String {
    let rule = match warning.level {
        Level::Warning(rule) => rule,
        Level::Error => "error",
    };
    let (message, line) = (&warning.message, warning.span.line(&source.text));
    format!("{rule}: {message} ({}:{line})", source.name)
}

/// Tells of the warnings.
pub(super) fn report(sink: &dyn Sink, source: &Source, warnings: &[Diagnostic]) {
    for warning in warnings {
        sink.event(Event::Warning(short(source, warning)));
    }
}

/// Refuses to build what has warnings, where the options want that.
pub(super) fn refuse(options: &CheckOptions, warnings: &[Diagnostic]) -> Result<(), Error> {
    if !options.error || warnings.is_empty() {
        return Ok(());
    }
    let mut rules: Vec<&str> = Vec::new();
    for warning in warnings {
        if let Level::Warning(rule) = warning.level
            && !rules.contains(&rule)
        {
            rules.push(rule);
        }
    }
    Err(Error::Lint(rules.join(", ")))
}
