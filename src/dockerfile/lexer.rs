//! The scanner behind [`expand`](super::expand()): quotes, escapes, `$`.

use super::expand::{Expanded, Scope};
use super::pattern::Pattern;

/// Bytes that one expansion may yield. Values that grow from line to line
/// (`ENV a=$a$a`) stop here; the kernel passes no string over 128 KiB anyway.
const MAX_EXPANDED: usize = 16 << 20;

/// Bytes that the patterns of one expansion may go over, results included:
/// nested ones would multiply each other's work.
const MAX_MATCHED: usize = 1 << 20;

/// How deep `${a:-${b:-...}}` may nest.
const MAX_DEPTH: usize = 128;

/// How a text is to be read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mode {
    /// Quotes stay in the result.
    pub(super) keep_quotes: bool,
    /// Escape characters stay in the result.
    pub(super) keep_escapes: bool,
    /// Quotes are ordinary characters.
    pub(super) ignore_quotes: bool,
    /// Variables that are not set stay as written.
    pub(super) keep_unset: bool,
}

/// Reads one text from left to right.
pub(super) struct Lexer<'t> {
    rest: &'t str,
    escape: char,
    mode: Mode,
    scope: &'t dyn Scope,
    matched: Vec<String>,
    unmatched: Vec<String>,
    depth: usize,
    /// Bytes that patterns may still go over.
    left: usize,
}

type Result<T> = std::result::Result<T, String>;

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str, escape: char, mode: Mode, scope: &'t dyn Scope) -> Self {
        Self {
            rest: text,
            escape,
            mode,
            scope,
            matched: Vec::new(),
            unmatched: Vec::new(),
            depth: 0,
            left: MAX_MATCHED,
        }
    }

    /// The whole text as one.
    pub(super) fn expanded(mut self) -> Result<Expanded> {
        let text = self.until(None, &mut Words::default())?;
        Ok(Expanded {
            text,
            matched: self.matched,
            unmatched: self.unmatched,
        })
    }

    /// The text split at blanks that are neither quoted nor escaped.
    pub(super) fn words(mut self) -> Result<Vec<String>> {
        let mut words = Words {
            is_wanted: true,
            ..Words::default()
        };
        self.until(None, &mut words)?;
        Ok(words.finish())
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let char = chars.next();
        self.rest = chars.as_str();
        char
    }

    fn take(&mut self, char: char) -> bool {
        let rest = self.rest.strip_prefix(char);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Reads up to `stop`, which is swallowed, or to the end of the text.
    fn until(&mut self, stop: Option<char>, words: &mut Words) -> Result<String> {
        let mut result = String::new();
        while let Some(char) = self.next() {
            if stop == Some(char) {
                return Ok(result);
            }
            match char {
                '$' => {
                    let value = self.dollar()?;
                    bounded(&result, &value)?;
                    result.push_str(&value);
                    words.push_text(&value);
                }
                '<' => {
                    let opening = self.possible_heredoc();
                    result.push_str(&opening);
                    words.push_whole(&opening);
                }
                '\'' | '"' if !self.mode.ignore_quotes => {
                    let quoted = self.quoted(char)?;
                    bounded(&result, &quoted)?;
                    result.push_str(&quoted);
                    words.push_whole(&quoted);
                }
                _ if char == self.escape => {
                    if self.mode.keep_escapes {
                        result.push(char);
                        words.push_escaped(char);
                    }
                    // At the end of the text there is nothing to escape.
                    if let Some(escaped) = self.next() {
                        result.push(escaped);
                        words.push_escaped(escaped);
                    }
                }
                _ => {
                    result.push(char);
                    words.push(char);
                }
            }
        }
        match stop {
            None => Ok(result),
            Some(stop) => Err(format!(
                "unexpected end of statement while looking for matching {stop}"
            )),
        }
    }

    /// What follows a `<`: the blanks between `<<` and its word belong to one
    /// word with it.
    fn possible_heredoc(&mut self) -> String {
        if !self.take('<') {
            return "<".to_owned();
        }
        let word = self.rest.trim_start_matches(['\t', '\r', ' ']);
        let blanks = &self.rest[..self.rest.len() - word.len()];
        self.rest = word;
        format!("<<{blanks}")
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let mut result = String::new();
        let keep = self.mode.keep_quotes.then_some(quote);
        result.extend(keep);
        if quote == '\'' {
            let end = self.rest.find('\'').ok_or_else(|| unclosed("single"))?;
            result.push_str(&self.rest[..end]);
            self.rest = &self.rest[end + 1..];
        } else {
            self.double_quoted(&mut result)?;
        }
        result.extend(keep);
        Ok(result)
    }

    fn double_quoted(&mut self, result: &mut String) -> Result<()> {
        loop {
            match self.next().ok_or_else(|| unclosed("double"))? {
                '"' => return Ok(()),
                '$' => {
                    let value = self.dollar()?;
                    bounded(result, &value)?;
                    result.push_str(&value);
                }
                char if char == self.escape => {
                    if self.mode.keep_escapes {
                        result.push(char);
                    }
                    // Only these can be escaped; before any other character
                    // the escape character is an ordinary one.
                    match self.peek() {
                        Some(escaped) if matches!(escaped, '"' | '$') || escaped == char => {
                            self.next();
                            result.push(escaped);
                        }
                        Some(_) => result.push(char),
                        None => {}
                    }
                }
                char => result.push(char),
            }
        }
    }

    /// What follows a `$`.
    fn dollar(&mut self) -> Result<String> {
        if self.take('{') {
            if self.depth == MAX_DEPTH {
                return Err("substitutions are nested too deeply".to_owned());
            }
            self.depth += 1;
            let value = self.braced();
            self.depth -= 1;
            return value;
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        match self.look_up(&name) {
            None if self.mode.keep_unset => Ok(format!("${name}")),
            value => Ok(value.unwrap_or_default()),
        }
    }

    /// What follows a `${`.
    fn braced(&mut self) -> Result<String> {
        match self.peek() {
            None => return Err(MISSING_BRACE.to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            None => Err(MISSING_BRACE.to_owned()),
            Some('}') => match self.look_up(&name) {
                None if self.mode.keep_unset => Ok(format!("${{{name}}}")),
                value => Ok(value.unwrap_or_default()),
            },
            Some(':') => {
                let modifier = self.next().ok_or(MISSING_BRACE)?;
                if matches!(modifier, '#' | '%') {
                    return Err(unsupported(true, modifier));
                }
                self.modified(&name, true, modifier)
            }
            Some(modifier @ ('+' | '-' | '?' | '#' | '%')) => self.modified(&name, false, modifier),
            Some('/') => self.replaced(&name),
            Some(modifier) => Err(unsupported(false, modifier)),
        }
    }

    /// The word of a modifier, up to `stop`.
    fn modifier_word(
        &mut self,
        stop: char,
        keep_escapes: bool,
        missing: &'static str,
    ) -> Result<String> {
        let before = std::mem::replace(&mut self.mode.keep_escapes, keep_escapes);
        let word = self.until(Some(stop), &mut Words::default());
        self.mode.keep_escapes = before;
        word.map_err(|error| {
            if self.rest.is_empty() {
                missing.to_owned()
            } else {
                error
            }
        })
    }

    fn modified(&mut self, name: &str, empty_is_unset: bool, modifier: char) -> Result<String> {
        // The escapes of a pattern are the pattern's own.
        let is_pattern = matches!(modifier, '#' | '%');
        let word = self.modifier_word('}', is_pattern, MISSING_BRACE)?;
        let value = self.look_up(name);
        if value.is_none() && self.mode.keep_unset {
            let colon = if empty_is_unset { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let is_set = value.is_some();
        let value = value.unwrap_or_default();
        let counts = is_set && !(empty_is_unset && value.is_empty());
        match modifier {
            '-' => Ok(if counts { value } else { word }),
            '+' => Ok(if counts { word } else { String::new() }),
            '?' if counts => Ok(value),
            '?' => {
                let default = if is_set { "empty" } else { "unset" };
                let default = format!("is not allowed to be {default}");
                let message = if word.is_empty() { &default } else { &word };
                Err(format!("{name}: {message}"))
            }
            '#' | '%' => {
                let (pattern, greedy) = match word.strip_prefix(modifier) {
                    Some(pattern) => (pattern, true),
                    None => (word.as_str(), false),
                };
                let compiled = Pattern::new(pattern)?;
                self.spend(value.len())?;
                if modifier == '#' {
                    compiled.without_prefix(value, greedy)
                } else {
                    compiled.without_suffix(value, greedy)
                }
            }
            _ => Err(unsupported(empty_is_unset, modifier)),
        }
    }

    /// `${name/pattern/replacement}`, after the first `/`.
    fn replaced(&mut self, name: &str) -> Result<String> {
        let all = self.take('/');
        let missing = "syntax error: missing '/' in ${}";
        let pattern = self.modifier_word('/', true, missing)?;
        let replacement = self.modifier_word('}', true, MISSING_BRACE)?;
        let value = match self.look_up(name) {
            None if self.mode.keep_unset => {
                return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
            }
            value => value.unwrap_or_default(),
        };
        let compiled = Pattern::new(&pattern)?;
        self.spend(value.len())?;
        let replaced = compiled.replace(value, &replacement, all, self.left)?;
        self.spend(replaced.len())?;
        Ok(replaced)
    }

    /// Counts bytes that a pattern goes over.
    fn spend(&mut self, bytes: usize) -> Result<()> {
        let left = self.left.checked_sub(bytes);
        self.left = left
            .ok_or_else(|| format!("its patterns would go over more than {MAX_MATCHED} bytes"))?;
        Ok(())
    }

    /// Reads a name: letters, digits and `_`, digits only, or one special
    /// character. Empty when none follows.
    fn name(&mut self) -> String {
        let Some(first) = self.peek() else {
            return String::new();
        };
        let length = if first.is_ascii_digit() {
            self.rest.find(|char: char| !char.is_ascii_digit())
        } else if matches!(first, '@' | '*' | '#' | '?' | '-' | '$' | '!') {
            Some(1)
        } else {
            self.rest
                .find(|char: char| !char.is_alphanumeric() && char != '_')
        };
        let (name, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        self.rest = rest;
        name.to_owned()
    }

    fn look_up(&mut self, name: &str) -> Option<String> {
        let value = self.scope.get(name);
        let names = if value.is_some() {
            &mut self.matched
        } else {
            &mut self.unmatched
        };
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        value
    }
}

const MISSING_BRACE: &str = "syntax error: missing '}'";

fn unclosed(kind: &str) -> String {
    format!("unexpected end of statement while looking for matching {kind}-quote")
}

fn unsupported(colon: bool, modifier: char) -> String {
    let colon = if colon { ":" } else { "" };
    format!("unsupported modifier ({colon}{modifier}) in substitution")
}

fn bounded(result: &str, more: &str) -> Result<()> {
    if result.len() + more.len() > MAX_EXPANDED {
        return Err(format!("the result is larger than {MAX_EXPANDED} bytes"));
    }
    Ok(())
}

/// The words of a text while it is read.
#[derive(Default)]
struct Words {
    is_wanted: bool,
    done: Vec<String>,
    current: String,
}

impl Words {
    /// A character that may end a word.
    fn push(&mut self, char: char) {
        if !self.is_wanted {
            return;
        }
        if !char.is_whitespace() {
            self.current.push(char);
        } else if !self.current.is_empty() {
            self.done.push(std::mem::take(&mut self.current));
        }
    }

    fn push_text(&mut self, text: &str) {
        if self.is_wanted {
            text.chars().for_each(|char| self.push(char));
        }
    }

    /// A character that is part of a word, whatever it is.
    fn push_escaped(&mut self, char: char) {
        if self.is_wanted {
            self.current.push(char);
        }
    }

    fn push_whole(&mut self, text: &str) {
        if self.is_wanted {
            self.current.push_str(text);
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}
