//! Ignore-file patterns and matching. Pure.
//!
//! Source: moby patternmatcher; `.dockerignore` in the Dockerfile reference.

use std::path::Path;

/// A pattern that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A lone `!`.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneExclusion,
    /// A malformed pattern.
    #[error("syntax error in pattern `{0}`")]
    Syntax(String),
}

/// An ordered list of patterns; the last one that matches decides.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    lines: Vec<String>,
}

impl Patterns {
    /// Reads an ignore file: comments and blank lines dropped, paths cleaned.
    /// Returns the cleaned patterns as text.
    pub fn read(text: &str) -> Vec<String> {
        let _ = text;
        todo!()
    }

    /// Compiles cleaned patterns.
    pub fn new(lines: &[String]) -> Result<Self, IgnoreError> {
        let _ = lines;
        todo!()
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether `path` (relative, cleaned, `/`-separated) or one of its parents is matched: ignored.
    pub fn matches(&self, path: &Path) -> bool {
        let _ = path;
        todo!()
    }

    /// Whether a directory that is ignored must still be walked because a later
    /// `!` pattern may bring something beneath it back.
    pub fn may_reinclude_below(&self, dir: &Path) -> bool {
        let _ = dir;
        todo!()
    }
}
