//! Ignore-file patterns and matching. Pure.
//!
//! A pattern is anchored at the root. `*` and `?` stay within a component,
//! `**` stands for any number of components, `[a-z]` for one character, and
//! `\` makes the next character ordinary. A path is ignored when the last
//! pattern that matches it or one of its parents has no `!`.
//!
//! Source: moby patternmatcher; `.dockerignore` in the Dockerfile reference.

mod glob;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use glob::{Glob, Goal};

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
    lines: Vec<Line>,
    has_exclusions: bool,
}

/// A line of an ignore file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreLine {
    /// Its number, counted from 1.
    pub number: usize,
    /// Its text, as written.
    pub text: String,
}

#[derive(Debug, Clone)]
struct Line {
    origin: IgnoreLine,
    /// The pattern without its `!`.
    text: String,
    glob: Glob,
    /// A `!` stood in front: what matches is not ignored.
    is_exclusion: bool,
}

/// What the patterns say of one path, for use with the paths beneath it.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// Whether the path is ignored.
    pub is_ignored: bool,
    matched: Vec<bool>,
    /// The line that decided, by its index; `None` where no line matches.
    decided: Option<usize>,
}

impl Patterns {
    /// Reads an ignore file: comments and blank lines dropped, paths cleaned.
    /// Returns the cleaned patterns as text.
    pub fn read(text: &str) -> Vec<String> {
        numbered(text).map(|(pattern, _)| pattern).collect()
    }

    /// Reads and compiles an ignore file, whose lines [`Patterns::decided`] then names.
    ///
    /// # Errors
    /// [`IgnoreError::LoneExclusion`], [`IgnoreError::Syntax`].
    pub fn of_text(text: &str) -> Result<Self, IgnoreError> {
        Self::compile(numbered(text))
    }

    /// Compiles cleaned patterns.
    ///
    /// # Errors
    /// [`IgnoreError::LoneExclusion`], [`IgnoreError::Syntax`].
    pub fn new(lines: &[String]) -> Result<Self, IgnoreError> {
        Self::compile(lines.iter().enumerate().map(|(index, line)| {
            let origin = IgnoreLine {
                number: index + 1,
                text: line.clone(),
            };
            (line.clone(), origin)
        }))
    }

    fn compile(lines: impl Iterator<Item = (String, IgnoreLine)>) -> Result<Self, IgnoreError> {
        let mut patterns = Self::default();
        for (line, origin) in lines {
            let (is_exclusion, pattern) = match line.trim().strip_prefix('!') {
                Some("") => return Err(IgnoreError::LoneExclusion),
                Some(pattern) => (true, pattern),
                None => (false, line.trim()),
            };
            if pattern.is_empty() {
                continue;
            }
            let text = cleaned(pattern);
            let glob = Glob::new(&text).ok_or_else(|| IgnoreError::Syntax(pattern.to_owned()))?;
            patterns.has_exclusions |= is_exclusion;
            patterns.lines.push(Line {
                origin,
                text,
                glob,
                is_exclusion,
            });
        }
        Ok(patterns)
    }

    /// Whether there are no patterns.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether any pattern has a `!`.
    pub fn has_exclusions(&self) -> bool {
        self.has_exclusions
    }

    /// Whether one of the patterns takes the whole context with it, which is
    /// named `path` (`.` or `/`).
    pub fn leaves_out_everything(&self, path: &str) -> bool {
        self.lines.iter().any(|line| {
            let text = line.text.as_str();
            !line.is_exclusion && (matches!(text, "**" | "**/*") || (text == "*" && path == "."))
        })
    }

    /// Whether `path` (relative, cleaned, `/`-separated) or one of its parents is matched: ignored.
    pub fn matches(&self, path: &Path) -> bool {
        let path = path.as_os_str().as_bytes();
        if self.lines.is_empty() || matches!(path, b"" | b".") {
            return false;
        }
        let ends = glob::ends(path);
        if !self.has_exclusions {
            let mut lines = self.lines.iter();
            return lines.any(|line| line.glob.matches(path, Goal::PathOrParent(&ends)));
        }
        let mut verdict = None;
        for end in ends {
            if end > 0 {
                verdict = Some(self.judge_bytes(&path[..end], verdict.as_ref()));
            }
        }
        verdict.is_some_and(|verdict| verdict.is_ignored)
    }

    /// Judges one path; `parent` is the verdict on the directory it stands in,
    /// `None` at the root. A walk that keeps the verdicts of open directories
    /// looks at every component once, where [`Self::matches`] looks at all of
    /// a path's each time.
    pub fn judge(&self, path: &Path, parent: Option<&Verdict>) -> Verdict {
        self.judge_bytes(path.as_os_str().as_bytes(), parent)
    }

    fn judge_bytes(&self, path: &[u8], parent: Option<&Verdict>) -> Verdict {
        let mut is_ignored = false;
        let mut decided = None;
        let mut matched = Vec::with_capacity(self.lines.len());
        for (index, line) in self.lines.iter().enumerate() {
            let from_parent = parent.is_some_and(|parent| parent.matched[index]);
            // A pattern that would change nothing is not asked, and so counts
            // as no match for what lies beneath: BuildKit's walk does the same.
            let is_match = from_parent
                || (line.is_exclusion == is_ignored && line.glob.matches(path, Goal::Path));
            if is_match {
                is_ignored = !line.is_exclusion;
                decided = Some(index);
            }
            matched.push(is_match);
        }
        Verdict {
            is_ignored,
            matched,
            decided,
        }
    }

    /// The line that a verdict is owed to; `None` where no line matches.
    pub fn decided(&self, verdict: &Verdict) -> Option<&IgnoreLine> {
        Some(&self.lines.get(verdict.decided?)?.origin)
    }

    /// Whether a pattern without `!` matches `dir`, or may match something beneath it.
    pub fn may_match_below(&self, dir: &Path) -> bool {
        let dir = dir.as_os_str().as_bytes();
        let ends = glob::ends(dir);
        let beneath = [dir, b"/"].concat();
        let mut lines = self.lines.iter().filter(|line| !line.is_exclusion);
        lines.any(|line| {
            line.glob.matches(dir, Goal::PathOrParent(&ends))
                || line.glob.matches(&beneath, Goal::Beneath)
        })
    }

    /// Whether a directory that is ignored must still be walked because a later
    /// `!` pattern may bring something beneath it back.
    pub fn may_reinclude_below(&self, dir: &Path) -> bool {
        if !self.has_exclusions {
            return false;
        }
        let mut beneath = dir.as_os_str().as_bytes().to_vec();
        beneath.push(b'/');
        let mut exclusions = self.lines.iter().filter(|line| line.is_exclusion);
        exclusions.any(|line| line.glob.matches(&beneath, Goal::Beneath))
    }
}

/// The cleaned patterns of an ignore file, with the lines that they are.
fn numbered(text: &str) -> impl Iterator<Item = (String, IgnoreLine)> + '_ {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.starts_with('#'))
        .map(|(index, line)| (index, line.trim()))
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            let pattern = match line.strip_prefix('!') {
                Some(pattern) => format!("!{}", rooted(pattern.trim())),
                None => rooted(line),
            };
            let origin = IgnoreLine {
                number: index + 1,
                text: line.to_owned(),
            };
            (pattern, origin)
        })
}

/// A cleaned pattern without the one leading `/` that is tolerated.
fn rooted(pattern: &str) -> String {
    if pattern.is_empty() {
        return String::new();
    }
    let pattern = cleaned(pattern);
    match pattern.strip_prefix('/') {
        Some(rest) if !rest.is_empty() => rest.to_owned(),
        _ => pattern,
    }
}

/// The shortest path that means the same: no `.`, no `//`, `a/..` gone.
fn cleaned(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                None if is_absolute => {}
                None | Some(&"..") => parts.push(part),
                Some(_) => {
                    parts.pop();
                }
            },
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (is_absolute, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests;
