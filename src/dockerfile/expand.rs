//! `$name`, `${name:-word}` and friends, against a given scope.

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
pub fn expand(word: &str, escape: char, scope: &dyn Scope) -> Result<Expanded, ExpandError> {
    let _ = (word, escape, scope);
    todo!()
}

/// Expands a text and splits it into words at unquoted blanks, as EXPOSE needs.
pub fn expand_words(
    text: &str,
    escape: char,
    scope: &dyn Scope,
) -> Result<Vec<String>, ExpandError> {
    let _ = (text, escape, scope);
    todo!()
}
