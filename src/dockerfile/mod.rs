//! Dockerfile text to syntax tree, with byte spans and every diagnostic. No files.
//!
//! In: the text of a Dockerfile. Out: [`Parsed`], a tree as far as it could be
//! read and all diagnostics, not the first. Variables are left as written:
//! [`expand()`] works on one word against a given scope when the plan is made.
//!
//! The parser has two levels, as BuildKit's has: lines to nodes (`lines`,
//! `words`, `json`, `heredoc`, `node`), then nodes to typed instructions
//! (`flags`, `typed`, `command`, `copy`). Beside it stand the small languages
//! that words are written in ([`mount_options`], [`exposed_ports`],
//! [`git_reference`], [`signal_number`]) and the checks that need nothing but
//! the file ([`lint()`]).
//!
//! Every input is hostile: recursion, the length of a line, the size of an
//! expansion and the number of errors are bounded.
//!
//! Source: Dockerfile reference, syntax 1.26, as BuildKit 0.32 reads it.

mod check;
mod command;
mod copy;
mod directives;
#[cfg(test)]
mod dump;
mod expand;
mod expose;
mod flags;
mod git;
mod go;
mod heredoc;
mod instruction;
mod json;
mod lexer;
mod lines;
mod lint;
mod mount;
mod node;
mod parse;
mod pattern;
mod quote;
mod rules;
mod signal;
mod span;
mod suggest;
mod typed;
mod words;

#[cfg(test)]
mod tests;

pub use check::CheckOptions;
pub use expand::{ExpandError, Expanded, Scope, expand, expand_heredoc, expand_words};
pub use expose::{ExposedPorts, exposed_ports};
pub use git::{GitReference, git_reference};
pub use go::{boolean, duration, memory_bytes};
pub use instruction::{
    Add, Arg, Command, Copy, CopyFlags, Dockerfile, Form, From, Healthcheck, Heredoc, Instruction,
    Located, Onbuild, Pair, Run, RunFlags, Stage, Word,
};
pub use lint::{is_secret_name, lint, lint_with};
pub use mount::{
    DeviceRequest, MountKind, MountOptions, Sharing, csv_fields, device_request, mount_options,
    mount_options_with,
};
pub use parse::{parse, parse_trigger};
pub use quote::quote;
pub use rules::{RULES, Rule};
pub use signal::signal_number;
pub use span::{Diagnostic, Level, Span};
pub use suggest::closest_exact;

/// What parsing yields: the tree as far as it could be read, and everything
/// that was found wrong.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The tree. Instructions that could not be read are left out.
    pub dockerfile: Dockerfile,
    /// Errors and warnings, in order of their place.
    pub diagnostics: Vec<Diagnostic>,
}
