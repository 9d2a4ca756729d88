//! Why there is no plan.

use crate::dockerfile::{ExpandError, Span};

/// Why there is no plan, with the place in the Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(in crate::build) struct PlanError {
    /// Where.
    pub(in crate::build) span: Span,
    /// What, in BuildKit's words where it has any.
    pub(in crate::build) message: String,
    /// What to do.
    pub(in crate::build) hint: Option<String>,
}

impl PlanError {
    /// An error at `span`.
    pub(in crate::build) fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            span,
            message: message.into(),
            hint: None,
        }
    }

    /// The same with advice.
    pub(in crate::build) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// An error about a word that cannot be expanded.
    pub(super) fn expand(span: Span, err: &ExpandError) -> Self {
        Self::new(span, err.to_string())
    }
}

/// `did you mean x?` for the candidate nearest to `word`, if one is near.
pub(super) fn nearest(word: &str, candidates: &[&str]) -> Option<String> {
    let word = word.to_lowercase();
    let limit = 1 + word.len() / 4;
    candidates
        .iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}

/// Levenshtein's distance; words are short, so the quadratic form is enough.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}
