//! The tree of a template, and its parts written out again for messages.

use std::fmt;

use serde_json::Value;

/// A part of a template.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// Text to copy.
    Text(String),
    /// A pipeline to print, or to give to a variable.
    Action(Pipe),
    /// `if`, `with` or `range` over a pipeline.
    Branch {
        kind: Branch,
        pipe: Pipe,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    /// `template "name" pipeline`
    Template {
        at: usize,
        name: String,
        pipe: Option<Pipe>,
    },
    /// `break`
    Break,
    /// `continue`
    Continue,
}

/// What a branch does with its pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Branch {
    /// Renders the body when it is true.
    If,
    /// The same, with the value as `.`.
    With,
    /// Renders the body for each element.
    Range,
}

/// Commands joined by `|`, and the variables that get the result.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) at: usize,
    pub(super) variables: Vec<String>,
    /// Whether the variables are there already.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// A function or value and its arguments.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) at: usize,
    pub(super) words: Vec<Word>,
}

/// One word of a command.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) at: usize,
    pub(super) kind: WordKind,
}

/// The kinds of word.
#[derive(Debug, Clone)]
pub(super) enum WordKind {
    /// `.`
    Dot,
    /// `nil`
    Nil,
    /// A constant and how it was written.
    Constant(Value, String),
    /// A function.
    Function(String),
    /// `.A.B`
    Field(Vec<String>),
    /// `$x.A.B`; the name carries its dollar sign.
    Variable(String, Vec<String>),
    /// `(pipeline)`
    Pipe(Box<Pipe>),
    /// `(pipeline).A.B`
    Chain(Box<Word>, Vec<String>),
}

impl fmt::Display for Pipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            let sign = if self.assigns { "=" } else { ":=" };
            write!(f, "{} {sign} ", self.variables.join(", "))?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            let gap = if index > 0 { " | " } else { "" };
            write!(f, "{gap}{command}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            let gap = if index > 0 { " " } else { "" };
            write!(f, "{gap}{word}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = |f: &mut fmt::Formatter<'_>, fields: &[String]| {
            fields.iter().try_for_each(|field| write!(f, ".{field}"))
        };
        match &self.kind {
            WordKind::Dot => f.write_str("."),
            WordKind::Nil => f.write_str("nil"),
            WordKind::Constant(_, text) => f.write_str(text),
            WordKind::Function(name) => f.write_str(name),
            WordKind::Field(names) => fields(f, names),
            WordKind::Variable(name, names) => {
                f.write_str(name)?;
                fields(f, names)
            }
            WordKind::Pipe(pipe) => write!(f, "({pipe})"),
            WordKind::Chain(word, names) => {
                write!(f, "{word}")?;
                fields(f, names)
            }
        }
    }
}
