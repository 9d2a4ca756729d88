//! What can go wrong in a build, with its place in the Dockerfile.

use std::sync::Arc;

use super::aftermath::Left;
use super::fetch::FetchError;
use super::graph::{Vertex, VertexId};
use super::ops::copy::CopyError;
use super::ops::run::RunError;
use super::plan::PlanError;
use super::redact::Redactor;
use crate::dockerfile::{Diagnostic, Span};
use crate::fs::PathError;
use crate::{context, image, remote, snapshot, store, transfer};

/// A Dockerfile as it was read: its name for messages, and its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file's name as the user knows it.
    pub name: String,
    /// Its text.
    pub text: Arc<str>,
}

/// What can go wrong in a build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no Dockerfile.
    #[error("failed to read dockerfile: open {0}: no such file or directory")]
    NoDockerfile(String),
    /// The Dockerfile is not text.
    #[error("failed to read dockerfile: `{0}` is not valid UTF-8")]
    NotText(String),
    /// The Dockerfile cannot be parsed.
    #[error(
        "dockerfile parse error on line {}: {}",
        line(source_file, diagnostics),
        first(diagnostics)
    )]
    Parse {
        /// The Dockerfile.
        source_file: Source,
        /// Everything that is wrong with it; at least one.
        diagnostics: Vec<Diagnostic>,
    },
    /// The Dockerfile cannot be planned.
    #[error("failed to solve: {message}")]
    Plan {
        /// The Dockerfile.
        source_file: Source,
        /// The place.
        span: Span,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// The options of the build checks cannot be read.
    #[error("failed to solve: {0}")]
    CheckOptions(String),
    /// The build checks found something, and are to fail the build then.
    #[error("failed to solve: lint violation found for rules: {0}")]
    Lint(String),
    /// A step failed.
    #[error("failed to solve: {message}")]
    Step {
        /// The Dockerfile.
        source_file: Source,
        /// The place, where the step stands in this file.
        span: Option<Span>,
        /// What happened, causes included.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// What was left of the step.
        left: Box<Left>,
    },
    /// A step's sandbox cannot be entered.
    #[error("{0}")]
    Scene(String),
    /// A step's tree has no shell.
    #[error("`{0}` is not there: the step's tree has no shell")]
    NoShell(String),
    /// A context does not come from its server.
    #[error("failed to load the build context")]
    Remote {
        /// Why.
        #[source]
        source: remote::Error,
    },
    /// The build was stopped.
    #[error("build canceled")]
    Canceled,
    /// The ignore file is malformed.
    #[error("failed to read `{file}`")]
    Ignore {
        /// The ignore file.
        file: String,
        /// Why.
        #[source]
        source: context::IgnoreError,
    },
    /// The context is no directory, no archive and no Dockerfile.
    #[error("cannot use `{path}` as a build context: {why}")]
    Context {
        /// What was given.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The context's archive is refused.
    #[error(transparent)]
    Archive(#[from] context::SourceError),
    /// The result does not get to its registry, or the image that it stands on
    /// does not come from there.
    #[error("failed to solve: {message}")]
    Transfer {
        /// What, and why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Something that a later version brings.
    #[error("{0}")]
    Unsupported(String),
    /// The cache could not be exported, and the request says that this matters.
    #[error("cannot export the cache: {0}")]
    CacheExport(String),
    /// An image refused.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A layer cannot be written again.
    #[error(transparent)]
    Rewrite(#[from] snapshot::RewriteError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

fn line(source: &Source, diagnostics: &[Diagnostic]) -> usize {
    diagnostics
        .first()
        .map_or(1, |first| first.span.line(&source.text))
}

fn first(diagnostics: &[Diagnostic]) -> &str {
    diagnostics
        .first()
        .map_or("", |first| first.message.as_str())
}

impl From<FetchError> for Error {
    fn from(err: FetchError) -> Self {
        match err {
            FetchError::Remote(remote::Error::Canceled) => Self::Canceled,
            FetchError::Remote(source) => Self::Remote { source },
            FetchError::Snapshot(err) => err.into(),
            FetchError::Store(err) => err.into(),
            FetchError::File(err) => err.into(),
        }
    }
}

impl Error {
    /// An error of the plan, with its file.
    pub(super) fn plan(source_file: &Source, err: PlanError) -> Self {
        Self::Plan {
            source_file: source_file.clone(),
            span: err.span,
            message: err.message,
            hint: err.hint,
        }
    }

    /// An error of a step, with its file and without secrets.
    pub(super) fn step(source_file: &Source, err: &StepError, redactor: &Redactor) -> Self {
        if err.is_canceled() {
            return Self::Canceled;
        }
        Self::Step {
            source_file: source_file.clone(),
            span: err.span,
            hint: err.hint(),
            message: redactor.text(&err.to_string()).into_owned(),
            left: Box::default(),
        }
    }

    /// Adds what was left of the step.
    pub(super) fn leaving(mut self, rest: Left) -> Self {
        if let Self::Step { left, .. } = &mut self {
            **left = rest;
        }
        self
    }

    /// An error of a transfer; `what` failed.
    pub(super) fn transfer(what: &str, err: &transfer::Error) -> Self {
        Self::Transfer {
            message: format!("{what}: {}", super::remote_cache::causes(err)),
            hint: err.hint().map(str::to_owned),
        }
    }

    /// What to do about an error without a place, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Transfer { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }

    /// The place in the Dockerfile, what to call it, and what to do, where the error has one.
    pub fn place(&self) -> Option<(&Source, Vec<Diagnostic>)> {
        let one = |span: Span, message: &str, hint: &Option<String>| {
            vec![Diagnostic {
                level: crate::dockerfile::Level::Error,
                span,
                message: message.to_owned(),
                hint: hint.clone(),
            }]
        };
        match self {
            Self::Parse {
                source_file,
                diagnostics,
            } => Some((source_file, diagnostics.clone())),
            Self::Plan {
                source_file,
                span,
                message,
                hint,
            }
            | Self::Step {
                source_file,
                span: Some(span),
                message,
                hint,
                ..
            } => Some((source_file, one(*span, message, hint))),
            _ => None,
        }
    }
}

/// A step's failure, and where the step stands.
#[derive(Debug)]
pub(super) struct StepError {
    cause: Box<Cause>,
    span: Option<Span>,
    vertex: Option<VertexId>,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("canceled")]
    Canceled,
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Copy(#[from] CopyError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Transfer(#[from] transfer::Error),
    #[error(transparent)]
    Image(#[from] image::Error),
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    #[error(transparent)]
    Rewrite(#[from] snapshot::RewriteError),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    File(#[from] PathError),
}

impl<E: Into<Cause>> From<E> for StepError {
    fn from(cause: E) -> Self {
        Self {
            cause: Box::new(cause.into()),
            span: None,
            vertex: None,
        }
    }
}

impl StepError {
    /// The build was stopped.
    pub(super) fn canceled() -> Self {
        Self {
            cause: Box::new(Cause::Canceled),
            span: None,
            vertex: None,
        }
    }

    pub(super) fn is_canceled(&self) -> bool {
        match &*self.cause {
            Cause::Canceled | Cause::Run(RunError::Canceled) => true,
            Cause::Fetch(err) => err.is_canceled(),
            _ => false,
        }
    }

    /// Adds the place of the step, unless a nearer one is known.
    pub(super) fn at(mut self, vertex: &Vertex) -> Self {
        let own = match &*self.cause {
            Cause::Copy(CopyError::NotFound { span, .. } | CopyError::BadPattern { span, .. }) => {
                *span
            }
            Cause::Run(err) => err.span(),
            _ => None,
        };
        self.span = self.span.or(own).or(vertex.span);
        self
    }

    /// Adds which step it is.
    pub(super) fn of(mut self, vertex: VertexId) -> Self {
        self.vertex = Some(vertex);
        self
    }

    /// The step that failed.
    pub(super) fn vertex(&self) -> Option<VertexId> {
        self.vertex
    }

    fn hint(&self) -> Option<String> {
        let hint = match &*self.cause {
            Cause::Copy(CopyError::NotFound { .. }) => {
                "the source is not in the build context, or the ignore file leaves it out"
            }
            Cause::Run(RunError::Emulation(err)) => return err.hint(),
            Cause::Fetch(err) => return err.hint().map(str::to_owned),
            Cause::Transfer(err) => return err.hint().map(str::to_owned),
            Cause::Copy(CopyError::SeveralSources(_)) => "write a / at the end of the destination",
            Cause::Run(err) => return err.hint(),
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

impl std::fmt::Display for StepError {
    /// The error and its causes on one line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Cause::Copy(CopyError::NotFound { path, .. }) = &*self.cause {
            return write!(
                f,
                "failed to calculate checksum of ref: {path:?}: not found"
            );
        }
        self.cause.fmt(f)?;
        let mut cause = std::error::Error::source(&*self.cause);
        // `transparent` errors print their source themselves.
        while let Some(next) = cause {
            let text = next.to_string();
            write!(f, ": {text}")?;
            cause = next.source();
        }
        Ok(())
    }
}
