//! Places in the text, and what is said of them.

/// A half-open range of bytes in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// The range from `start` to before `end`.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The line that the range starts in, counted from 1.
    pub fn line(&self, text: &str) -> usize {
        let end = self.start.min(text.len());
        // Splitting yields one part more than there are line breaks.
        text.as_bytes()[..end].split(|byte| *byte == b'\n').count()
    }
}

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The build cannot go on.
    Error,
    /// A build check, by the name of its rule.
    Warning(&'static str),
}

/// Something wrong with a place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How grave.
    pub level: Level,
    /// Where.
    pub span: Span,
    /// What, in BuildKit's words where it has any: `unknown instruction: FRMO`.
    pub message: String,
    /// What to do: `did you mean FROM?`
    pub hint: Option<String>,
}
