//! `$name`, `${name:-word}` and friends, against a given scope.
//!
//! Source: "Environment replacement" in the Dockerfile reference, and the
//! parts of POSIX shell expansion that BuildKit keeps.

use super::lexer::{Lexer, Mode};

/// What a name stands for while words are expanded.
pub trait Scope {
    /// The value of `name`; `None` when it is not set.
    fn get(&self, name: &str) -> Option<String>;
}

/// An expanded word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// The text, quotes removed.
    pub text: String,
    /// Names that were looked up and found, in order, each once.
    pub matched: Vec<String>,
    /// Names that were looked up and not set, in order, each once.
    pub unmatched: Vec<String>,
}

/// Why a word cannot be expanded, in BuildKit's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpandError(pub String);

/// Expands one word to one text: quotes are removed, variables replaced.
/// `escape` is the escape character of the file.
///
/// # Errors
/// When a substitution is malformed, a `${name:?}` fails, a quote is not
/// closed, or the result would be larger than 16 MiB.
pub fn expand(word: &str, escape: char, scope: &dyn Scope) -> Result<Expanded, ExpandError> {
    expand_in(word, escape, Mode::default(), scope)
}

/// Expands the body of a heredoc that COPY or ADD writes to a file: quotes are
/// left alone, and the escape character is `\` whatever the file says.
///
/// # Errors
/// As [`expand`], quotes excepted.
pub fn expand_heredoc(body: &str, scope: &dyn Scope) -> Result<Expanded, ExpandError> {
    let mode = Mode {
        ignore_quotes: true,
        ..Mode::default()
    };
    expand_in(body, '\\', mode, scope)
}

/// Expands a text and splits it into words at unquoted blanks, as EXPOSE needs.
/// Blanks that come from a variable split, too. Empty words are dropped.
///
/// # Errors
/// As [`expand`].
pub fn expand_words(
    text: &str,
    escape: char,
    scope: &dyn Scope,
) -> Result<Vec<String>, ExpandError> {
    Lexer::new(text, escape, Mode::default(), scope)
        .words()
        .map_err(|inner| error(text, &inner))
}

fn expand_in(
    text: &str,
    escape: char,
    mode: Mode,
    scope: &dyn Scope,
) -> Result<Expanded, ExpandError> {
    if !text.contains(['$', '\'', '"', escape]) {
        return Ok(Expanded {
            text: text.to_owned(),
            matched: Vec::new(),
            unmatched: Vec::new(),
        });
    }
    Lexer::new(text, escape, mode, scope)
        .expanded()
        .map_err(|inner| error(text, &inner))
}

fn error(text: &str, inner: &str) -> ExpandError {
    ExpandError(format!(
        "failed to process {}: {inner}",
        super::quote::quote(text)
    ))
}

#[cfg(test)]
#[path = "tests/expand.rs"]
mod tests;
