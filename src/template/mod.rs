//! Go templates over JSON values, as `--format` uses them.
//!
//! In go the text of a template and a value; out comes text, or an error in the
//! words that Docker's users know. The whole language of Go's `text/template` is
//! here: actions, pipelines, variables, `if`, `with`, `range`, `break`,
//! `continue`, `define`, `template`, `block`, comments, trim markers, the
//! functions of Go and those that Docker adds. What Go's types would tell (that
//! a member is a map, or a list that may be `null`) is told by a [`Schema`].
//!
//! A template is what a user typed, but may be typed for them: nesting, steps
//! and output are bounded, and no text makes it panic.
//!
//! Source: Go 1.24 `text/template`; docker/cli 28 `templates`.

mod escape;
mod eval;
mod functions;
mod lex;
mod node;
mod number;
mod parse;
mod printf;
mod show;

use serde_json::Value;

/// A parsed template.
#[derive(Debug, Clone)]
pub struct Template {
    text: String,
    parsed: parse::Parsed,
}

/// What is wrong with a template, or with its use of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("template parsing error: template: :{line}: {message}")]
    Parse {
        /// The line in the template, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// It does not fit the value.
    #[error(
        "template parsing error: template: :{line}:{column}: executing \"{name}\" at <{context}>: {message}"
    )]
    Execute {
        /// The line in the template, from 1.
        line: usize,
        /// The byte in the line, from 0.
        column: usize,
        /// The template that is executed; empty for the outer one.
        name: String,
        /// The part of the template.
        context: String,
        /// What is wrong.
        message: String,
    },
}

/// What Go's types know of a value and JSON does not say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schema {
    /// Members that are maps: a key that is not there is no error.
    pub maps: &'static [&'static str],
    /// Members that are lists, also while they are `null`.
    pub lists: &'static [&'static str],
    /// Members that may be left out.
    pub optional: &'static [&'static str],
    /// Members that are left out while they are empty texts.
    pub texts: &'static [&'static str],
    /// The type to name when a member is not there; without one it is a map.
    pub type_name: Option<&'static str>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Error::Parse`] with Go's words.
    pub fn parse(text: &str) -> Result<Self, Error> {
        Ok(Self {
            text: text.to_owned(),
            parsed: parse::parse(text)?,
        })
    }

    /// Renders it for `value`.
    ///
    /// # Errors
    /// [`Error::Execute`] with Go's words.
    pub fn render(&self, value: &Value, schema: &Schema) -> Result<String, Error> {
        eval::render(&self.text, &self.parsed, value, schema, false)
    }

    /// Renders the line above a table: the titles by member. Functions that
    /// change texts leave titles as they are, and a member without title is no error.
    ///
    /// # Errors
    /// [`Error::Execute`] with Go's words.
    pub fn render_header(&self, titles: &Value) -> Result<String, Error> {
        eval::render(&self.text, &self.parsed, titles, &Schema::default(), true)
    }

    /// Whether the template mentions a member of this name anywhere.
    pub fn mentions(&self, member: &str) -> bool {
        self.parsed.fields.contains(member)
    }
}

#[cfg(test)]
mod tests;
