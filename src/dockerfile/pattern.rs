//! The patterns of `${name#pattern}`, `${name%pattern}` and `${name/pattern/}`.
//!
//! `*` is any run of characters, `?` any one, and `\` makes `*`, `?`, `\`, `/`
//! and `}` ordinary. There are no bracket classes, and a wildcard does not
//! cross a line break.

use std::borrow::Cow;

use regex::{NoExpand, Regex, RegexBuilder};

/// Bytes a pattern may have: longer ones are not even looked at.
const MAX_LENGTH: usize = 16 << 10;

/// Bytes a compiled pattern may take; a pattern that needs more is refused.
const MAX_COMPILED: usize = 1 << 20;

enum Token {
    Any,
    One,
    Char(char),
}

/// A parsed pattern.
pub(super) struct Pattern<'p> {
    text: &'p str,
    tokens: Vec<Token>,
}

type Result<T> = std::result::Result<T, String>;

impl<'p> Pattern<'p> {
    /// Reads a pattern.
    pub(super) fn new(text: &'p str) -> Result<Self> {
        if text.len() > MAX_LENGTH {
            return Err(format!("a pattern has more than {MAX_LENGTH} bytes"));
        }
        let mut tokens = Vec::new();
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            tokens.push(match char {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(escaped @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(escaped),
                    other => {
                        let other = other.map(String::from).unwrap_or_default();
                        return Err(invalid(text, &format!("invalid escape '\\{other}'")));
                    }
                },
                char => Token::Char(char),
            });
        }
        Ok(Self { text, tokens })
    }

    /// The value without the shortest prefix that matches, or the longest.
    pub(super) fn without_prefix(&self, mut value: String, greedy: bool) -> Result<String> {
        let regex = self.compile(self.tokens.iter(), true, greedy)?;
        if let Some(found) = regex.find(&value) {
            let end = found.end();
            value.drain(..end);
        }
        Ok(value)
    }

    /// The value without the shortest suffix that matches, or the longest.
    pub(super) fn without_suffix(&self, mut value: String, greedy: bool) -> Result<String> {
        // A search finds the leftmost match, which is not the shortest suffix:
        // both sides are turned round and the suffix is a prefix.
        let regex = self.compile(self.tokens.iter().rev(), true, greedy)?;
        let reversed: String = value.chars().rev().collect();
        if let Some(found) = regex.find(&reversed) {
            value.truncate(value.len() - found.end());
        }
        Ok(value)
    }

    /// The value with the first match replaced, or all; wildcards take as much
    /// as they can.
    pub(super) fn replace(
        &self,
        value: String,
        replacement: &str,
        all: bool,
        max_bytes: usize,
    ) -> Result<String> {
        let regex = self.compile(self.tokens.iter(), false, true)?;
        // To `replacen`, 0 is no limit.
        let limit = usize::from(!all);
        let matches = regex
            .find_iter(&value)
            .take(if all { usize::MAX } else { 1 });
        let size = matches.count().saturating_mul(replacement.len());
        if size.saturating_add(value.len()) > max_bytes {
            return Err(format!("the result is larger than {max_bytes} bytes"));
        }
        let replaced = match regex.replacen(&value, limit, NoExpand(replacement)) {
            Cow::Borrowed(_) => None,
            Cow::Owned(replaced) => Some(replaced),
        };
        Ok(replaced.unwrap_or(value))
    }

    fn compile<'a>(
        &self,
        tokens: impl Iterator<Item = &'a Token>,
        anchored: bool,
        greedy: bool,
    ) -> Result<Regex> {
        let mut source = String::from(if anchored { "^" } else { "" });
        for token in tokens {
            match token {
                Token::Any => source.push_str(if greedy { ".*" } else { ".*?" }),
                Token::One => source.push('.'),
                Token::Char(char) => {
                    // A code point escape needs no list of special characters.
                    source.extend(char.escape_unicode());
                }
            }
        }
        RegexBuilder::new(&source)
            .size_limit(MAX_COMPILED)
            .build()
            .map_err(|_| invalid(self.text, "pattern is too large"))
    }
}

fn invalid(pattern: &str, why: &str) -> String {
    format!("invalid pattern ({pattern}) in substitution: {why}")
}
