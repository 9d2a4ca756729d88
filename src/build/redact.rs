//! Secret values are replaced in everything that is shown.
//!
//! What is looked for is a secret's whole value, without the line break that
//! files end with, and each longer line of a value that has several. Values
//! shorter than four bytes are left alone: they would be found everywhere.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::step_options::Secret;
use crate::progress::{Event, Outcome, Sink};

/// What is shown instead.
const MASK: &[u8] = b"****";
/// Shortest value that is replaced.
const SHORTEST: usize = 4;
/// Shortest line of a value that is replaced by itself.
const SHORTEST_LINE: usize = 8;

/// Finds secret values.
#[derive(Debug, Clone)]
pub(super) struct Redactor {
    search: Search,
}

impl Redactor {
    /// For these secrets.
    pub(super) fn new(secrets: &BTreeMap<String, Secret>) -> Self {
        let mut texts: Vec<Vec<u8>> = Vec::new();
        for secret in secrets.values() {
            let whole = secret.value().trim_ascii();
            if whole.len() >= SHORTEST {
                texts.push(whole.to_vec());
            }
            // The borders of keys in PEM form are no secret.
            let lines = whole.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            let lines = lines.filter(|line| !line.starts_with(b"-----"));
            texts.extend(
                lines
                    .filter(|line| line.len() >= SHORTEST_LINE)
                    .map(<[u8]>::to_vec),
            );
        }
        Self {
            search: Search::new(texts),
        }
    }

    /// A text with its secrets replaced.
    pub(super) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.search.find(text.as_bytes()).is_none() {
            return Cow::Borrowed(text);
        }
        let mut stream = self.stream();
        let mut bytes = stream.feed(text.as_bytes());
        bytes.extend(stream.finish());
        Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// For bytes that come in pieces.
    pub(super) fn stream(&self) -> RedactedStream<'_> {
        RedactedStream {
            search: &self.search,
            held: Vec::new(),
        }
    }

    /// An event with its secrets replaced; output of programs comes in pieces and
    /// is the business of [`Redactor::stream`].
    fn event(&self, mut event: Event) -> Event {
        let text = match &mut event {
            Event::Started { name, .. } | Event::Transfer { name, .. } => name,
            Event::Note { text, .. }
            | Event::Warning(text)
            | Event::Finished {
                outcome: Outcome::Failed(text),
                ..
            } => text,
            _ => return event,
        };
        if let Cow::Owned(clean) = self.text(text) {
            *text = clean;
        }
        event
    }
}

/// Passes events on without secrets.
pub(super) struct RedactedSink<'a> {
    pub(super) redactor: &'a Redactor,
    pub(super) sink: &'a dyn Sink,
}

impl Sink for RedactedSink<'_> {
    fn event(&self, event: Event) {
        self.sink.event(self.redactor.event(event));
    }
}

/// A stream of bytes whose secrets are replaced, wherever its pieces are cut.
#[derive(Debug)]
pub(super) struct RedactedStream<'a> {
    search: &'a Search,
    /// The end of what came so far, as far as it could be the beginning of a secret.
    held: Vec<u8>,
}

impl RedactedStream<'_> {
    /// Takes a piece; returns what can be shown.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        if self.search.texts.is_empty() {
            return piece.to_vec();
        }
        let mut bytes = std::mem::take(&mut self.held);
        bytes.extend_from_slice(piece);
        let mut shown = Vec::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        loop {
            let held = rest.len() - self.search.beginning(rest);
            match self.search.find(rest) {
                // A longer secret may begin before this one and not be whole yet.
                Some((at, length)) if at < held => {
                    shown.extend_from_slice(&rest[..at]);
                    shown.extend_from_slice(MASK);
                    rest = &rest[at + length..];
                }
                _ => {
                    shown.extend_from_slice(&rest[..held]);
                    self.held = rest[held..].to_vec();
                    return shown;
                }
            }
        }
    }

    /// What was held back when nothing more comes. A secret may be whole in it
    /// that was also the beginning of a longer one.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.held);
        let mut shown = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some((at, length)) = self.search.find(rest) {
            shown.extend_from_slice(&rest[..at]);
            shown.extend_from_slice(MASK);
            rest = &rest[at + length..];
        }
        shown.extend_from_slice(rest);
        shown
    }
}

/// Looks for several texts at once.
#[derive(Debug, Clone)]
pub(super) struct Search {
    /// Longest first, none twice; never empty ones.
    texts: Vec<Vec<u8>>,
    /// Which bytes a text begins with.
    first: Box<[bool; 256]>,
}

impl Search {
    /// For these texts; empty ones are left out.
    pub(super) fn new(mut texts: Vec<Vec<u8>>) -> Self {
        texts.retain(|text| !text.is_empty());
        texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        texts.dedup();
        let mut first = Box::new([false; 256]);
        for text in &texts {
            first[usize::from(text[0])] = true;
        }
        Self { texts, first }
    }

    /// The first place of any text, and the length of the longest one there.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        if self.texts.is_empty() {
            return None;
        }
        let mut from = 0;
        while let Some(next) = bytes[from..]
            .iter()
            .position(|byte| self.first[usize::from(*byte)])
        {
            let at = from + next;
            let here = &bytes[at..];
            if let Some(text) = self.texts.iter().find(|text| here.starts_with(text)) {
                return Some((at, text.len()));
            }
            from = at + 1;
        }
        None
    }

    /// How many bytes at the end are the beginning of a text and not all of it.
    pub(super) fn beginning(&self, bytes: &[u8]) -> usize {
        let longest = self.texts.first().map_or(0, Vec::len);
        let from = bytes.len().saturating_sub(longest.saturating_sub(1));
        let is_beginning = |at: &usize| {
            let end = &bytes[*at..];
            self.first[usize::from(end[0])]
                && self
                    .texts
                    .iter()
                    .any(|text| text.len() > end.len() && text.starts_with(end))
        };
        let found = (from..bytes.len()).find(is_beginning);
        found.map_or(0, |at| bytes.len() - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(values: &[&str]) -> Redactor {
        let secrets = values.iter().enumerate().map(|(number, value)| {
            let secret = Secret::new(value.as_bytes());
            (number.to_string(), secret)
        });
        Redactor::new(&secrets.collect())
    }

    /// The stream's output for every way of cutting a text in two, and in single bytes.
    fn check(values: &[&str], text: &str, expected: &str) {
        let redactor = redactor(values);
        let cut = |pieces: &[&[u8]]| {
            let mut stream = redactor.stream();
            let mut shown: Vec<u8> = pieces.iter().flat_map(|piece| stream.feed(piece)).collect();
            shown.extend(stream.finish());
            String::from_utf8(shown).unwrap()
        };
        let bytes = text.as_bytes();
        for at in 0..=bytes.len() {
            assert_eq!(cut(&[&bytes[..at], &bytes[at..]]), expected, "cut at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(cut(&single), expected);
        assert_eq!(redactor.text(text), expected);
    }

    #[test]
    fn a_value_is_replaced_wherever_it_is_cut() {
        check(&["hunter2\n"], "a hunter2, b\n", "a ****, b\n");
        check(&["hunter2"], "hunter2hunter2", "********");
        check(&["aab!"], "aaab!aab", "a****aab");
        check(&["hunter2"], "hunter", "hunter");
    }

    #[test]
    fn of_several_values_at_one_place_the_longest_is_replaced() {
        check(
            &["token", "token-1234"],
            "token-1234 token-12",
            "**** ****-12",
        );
        check(&["abcdef", "cdef12345"], "abcdef12345", "****12345");
    }

    #[test]
    fn short_values_and_borders_of_keys_stay() {
        check(&["abc"], "abc", "abc");
        check(
            &["-----BEGIN KEY-----\nMIIEvgIBADAN\n-----END KEY-----\n"],
            "-----BEGIN KEY-----\nx MIIEvgIBADAN\n",
            "-----BEGIN KEY-----\nx ****\n",
        );
    }

    #[test]
    fn what_cannot_begin_a_secret_is_shown_at_once() {
        let redactor = redactor(&["hunter2"]);
        let mut stream = redactor.stream();
        assert_eq!(stream.feed(b"50% h"), b"50% ");
        assert_eq!(stream.feed(b"ello"), b"hello");
    }
}
