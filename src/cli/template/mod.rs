//! Go templates over JSON values, as far as `--format` uses them.
//!
//! Fields, variables, pipelines, `if`, `range`, `with`, `else`, comments, trim
//! markers, and the functions that Docker's command line offers. Values print
//! as Go prints them: `[a b]`, `map[k:v]`, `<no value>`.
//!
//! Source: Go text/template; docker/cli `templates`.

mod eval;
mod functions;
mod lex;
mod parse;

use serde_json::Value;

use parse::Node;

/// A parsed template.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

/// What is wrong with a template, or with its use of a value.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum TemplateError {
    /// It cannot be read.
    #[error("template parsing error: {0}")]
    Parse(String),
    /// It does not fit the value.
    #[error("template: {0}")]
    Execute(String),
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Ok(Self {
            nodes: parse::parse(&lex::lex(text)?)?,
        })
    }

    /// Renders it for `value`.
    pub(crate) fn render(&self, value: &Value) -> Result<String, TemplateError> {
        eval::render(&self.nodes, value)
    }
}

#[cfg(test)]
mod tests;
