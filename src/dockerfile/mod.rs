//! Dockerfile text to syntax tree, with byte spans and every diagnostic. No files.
//!
//! In: the text of a Dockerfile. Out: [`Parsed`], a tree as far as it could be
//! read and all diagnostics, not the first. Variables are left as written:
//! [`expand`] works on one word against a given scope when the plan is made.
//!
//! Source: Dockerfile reference, syntax 1.26, as BuildKit 0.32 reads it.

mod expand;
mod instruction;
mod span;

pub use expand::{ExpandError, Expanded, Scope, expand, expand_words};
pub use instruction::{
    Add, Arg, Command, Copy, CopyFlags, Dockerfile, Form, From, Healthcheck, Heredoc, Instruction,
    Located, Onbuild, Pair, Run, RunFlags, Stage, Word,
};
pub use span::{Diagnostic, Level, Span};

/// What parsing yields: the tree as far as it could be read, and everything
/// that was found wrong.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The tree. Instructions that could not be read are left out.
    pub dockerfile: Dockerfile,
    /// Errors and warnings, in order of their place.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses a Dockerfile.
pub fn parse(text: &str) -> Parsed {
    let _ = text;
    todo!()
}

/// Parses the instruction that an `ONBUILD` of a base image carries, such as
/// `RUN make`; heredocs may follow on further lines. `escape` is `\`.
pub fn parse_trigger(text: &str) -> Result<Located<Instruction>, Vec<Diagnostic>> {
    let _ = text;
    todo!()
}
