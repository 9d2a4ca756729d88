//! How a failure reads: what went wrong, its causes, the place, what to do; and
//! the exit code.

use std::error::Error as _;
use std::io;

use rbuild::engine;
use rbuild::fs::PathError;

/// A command that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    code: u8,
    label: &'static str,
    what: String,
    causes: Vec<String>,
    excerpt: Option<String>,
    /// Lines that come last: advice, and what else there is to say.
    last: Vec<String>,
}

impl Failure {
    /// A failure with a message: one line, no full stop.
    pub(crate) fn new(code: u8, what: impl Into<String>) -> Self {
        Self {
            code,
            label: "Error",
            what: what.into(),
            causes: Vec::new(),
            excerpt: None,
            last: Vec::new(),
        }
    }

    /// A failure whose message says itself what it is.
    pub(crate) fn unlabelled(code: u8, what: impl Into<String>) -> Self {
        Self {
            label: "",
            ..Self::new(code, what)
        }
    }

    /// A failed build, in the words that BuildKit's clients say it with.
    pub(crate) fn build(why: impl std::fmt::Display) -> Self {
        Self {
            label: "ERROR",
            ..Self::new(1, format!("failed to build: failed to solve: {why}"))
        }
    }

    /// What keeps a Dockerfile from being built, said without an attempt to.
    pub(crate) fn plain_build(why: impl Into<String>) -> Self {
        Self {
            label: "ERROR",
            ..Self::new(1, why)
        }
    }

    /// A failure whose messages were printed already, or that needs none.
    pub(crate) fn silent(code: u8) -> Self {
        Self::new(code, "")
    }

    /// The same with the causes of `error`, outermost first.
    #[must_use]
    pub(crate) fn because(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            let text = error.to_string();
            // A transparent error repeats its source's words.
            if self.causes.last().unwrap_or(&self.what) != &text {
                self.causes.push(text);
            }
            next = error.source();
        }
        self
    }

    /// The same with advice.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.last.push(format!("  hint: {}", hint.into()));
        self
    }

    /// The same with lines to be printed after all else.
    #[must_use]
    pub(crate) fn with_notes(mut self, notes: Vec<String>) -> Self {
        self.last.extend(notes);
        self
    }

    /// The same with lines that show the place, printed before the message.
    #[must_use]
    pub(crate) fn with_excerpt(mut self, excerpt: impl Into<String>) -> Self {
        self.excerpt = Some(excerpt.into());
        self
    }

    /// The same without them: they were shown before.
    #[must_use]
    pub(crate) fn without_excerpt(mut self) -> Self {
        self.excerpt = None;
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }

    /// The lines for standard error; empty for a silent failure.
    pub(crate) fn text(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(self.excerpt.as_ref().map(|text| text.trim_end().to_owned()));
        if !self.what.is_empty() {
            let what = harmless(&self.what);
            lines.push(match self.label {
                "" => what,
                label => format!("{label}: {what}"),
            });
            let causes = self.causes.iter();
            lines.extend(causes.map(|cause| format!("  caused by: {}", harmless(cause))));
        }
        lines.extend(self.last.iter().cloned());
        lines.retain(|line| !line.is_empty());
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.join("\n")
    }
}

/// A text without what commands a terminal: names from archives and documents
/// from registries stand in messages.
fn harmless(text: &str) -> String {
    let commands = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().filter(|c| !commands(c)).collect()
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        let mut failure = Self::new(1, error.to_string());
        if let Some(hint) = error.hint() {
            failure = failure.with_hint(hint);
        }
        match error.source() {
            Some(source) => failure.because(source),
            None => failure,
        }
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::new(1, error.to_string()).because(&error.source)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // The reader has seen enough, as with `| head`.
            io::ErrorKind::BrokenPipe => Self::silent(0),
            _ => Self::new(1, format!("cannot write the output: {error}")),
        }
    }
}
