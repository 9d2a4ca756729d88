//! Physical lines, and instructions put together from several of them.

use super::{Span, Word};

/// Bytes a physical line may have, its line break not counted.
///
/// Source: BuildKit reads lines through a scanner whose buffer holds 64 KiB.
pub(super) const MAX_LINE: usize = 65_535;

/// A physical line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'t> {
    /// The line with its line break.
    pub(super) raw: &'t str,
    /// Where it starts in the text.
    pub(super) start: usize,
    /// Its number, from 1.
    pub(super) number: usize,
}

impl<'t> Line<'t> {
    /// The line without its line break.
    pub(super) fn content(&self) -> &'t str {
        self.raw.trim_end_matches(['\r', '\n'])
    }

    /// The place of the line without its line break.
    pub(super) fn span(&self) -> Span {
        Span::new(self.start, self.start + self.content().len())
    }
}

/// Whether the first character that is not blank is `#`.
pub(super) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// Takes the lines of a text one after the other.
#[derive(Debug)]
pub(super) struct Lines<'t> {
    text: &'t str,
    at: usize,
    number: usize,
    /// The line that was too long, where reading stopped.
    pub(super) too_long: Option<Span>,
}

impl<'t> Lines<'t> {
    /// The lines of `text`, a leading byte-order mark left out.
    pub(super) fn new(text: &'t str) -> Self {
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self {
            text,
            at,
            number: 0,
            too_long: None,
        }
    }

    /// Where the last line that was taken ends, its line break not counted, and
    /// its number.
    pub(super) fn read_to(&self) -> (usize, usize) {
        let read = &self.text[..self.at];
        let line = read.strip_suffix('\n').unwrap_or(read);
        (line.trim_end_matches('\r').len(), self.number)
    }
}

impl<'t> Iterator for Lines<'t> {
    type Item = Line<'t>;

    fn next(&mut self) -> Option<Line<'t>> {
        let rest = &self.text[self.at..];
        if rest.is_empty() || self.too_long.is_some() {
            return None;
        }
        let (content, length) = match rest.find('\n') {
            Some(end) => (end, end + 1),
            None => (rest.len(), rest.len()),
        };
        if content > MAX_LINE {
            self.too_long = Some(Span::new(self.at, self.at + content));
            return None;
        }
        let start = self.at;
        self.at += length;
        self.number += 1;
        Some(Line {
            raw: &rest[..length],
            start,
            number: self.number,
        })
    }
}

/// The part of a line that stays when the escape character ends it, or `None`
/// when the instruction ends with this line.
///
/// The escape character may have spaces and tabs after it; one that stands
/// behind another escape character does not continue the line.
pub(super) fn continued(line: &str, escape: char) -> Option<&str> {
    let kept = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!kept.ends_with(escape)).then_some(kept)
}

/// An instruction on one line: continuations joined, and for each byte the
/// place in the file that it came from.
#[derive(Debug, Clone, Default)]
pub(super) struct Logical {
    text: String,
    /// Offset in `text`, offset in the file; ascending in both.
    pieces: Vec<(usize, usize)>,
}

impl Logical {
    /// Appends a part of the file that starts at `from`.
    pub(super) fn push(&mut self, part: &str, from: usize) {
        if !part.is_empty() || self.pieces.is_empty() {
            self.pieces.push((self.text.len(), from));
        }
        self.text.push_str(part);
    }

    /// The joined text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The whole line.
    pub(super) fn all(&self) -> Slice<'_> {
        Slice {
            line: self,
            start: 0,
            end: self.text.len(),
        }
    }

    fn place(&self, at: usize) -> usize {
        let index = self.pieces.partition_point(|(start, _)| *start <= at);
        match index
            .checked_sub(1)
            .and_then(|index| self.pieces.get(index))
        {
            Some((start, from)) => from + (at - start),
            None => at,
        }
    }
}

/// A part of a joined line that knows its place in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice<'l> {
    line: &'l Logical,
    start: usize,
    end: usize,
}

impl<'l> Slice<'l> {
    /// The text.
    pub(super) fn text(self) -> &'l str {
        &self.line.text[self.start..self.end]
    }

    /// The part between two byte offsets of this part.
    pub(super) fn part(self, start: usize, end: usize) -> Self {
        Self {
            line: self.line,
            start: self.start + start,
            end: self.start + end,
        }
    }

    /// What follows a byte offset of this part.
    pub(super) fn after(self, start: usize) -> Self {
        self.part(start, self.end - self.start)
    }

    /// The part without blanks on either side.
    pub(super) fn trim(self) -> Self {
        let text = self.text();
        let trimmed = text.trim_start();
        let start = text.len() - trimmed.len();
        self.part(start, start + trimmed.trim_end().len())
    }

    /// Its place in the file.
    pub(super) fn span(self) -> Span {
        let start = self.line.place(self.start);
        if self.start == self.end {
            return Span::new(start, start);
        }
        // The end belongs to the piece of the last byte: the next piece may
        // start some lines further down.
        Span::new(start, self.line.place(self.end - 1) + 1)
    }

    /// The text with its place.
    pub(super) fn word(self) -> Word {
        Word {
            text: self.text().to_owned(),
            span: self.span(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_at_the_end_continues() {
        assert_eq!(continued(r"foo \", '\\'), Some("foo "));
        assert_eq!(continued("foo \\ \t", '\\'), Some("foo "));
        assert_eq!(continued(r"\", '\\'), Some(""));
        assert_eq!(continued(r"foo \\", '\\'), None);
        assert_eq!(continued(r"foo \\\", '\\'), None);
        assert_eq!(continued("foo `", '`'), Some("foo "));
        assert_eq!(continued("foo", '\\'), None);
        assert_eq!(continued("", '\\'), None);
    }

    #[test]
    fn joined_parts_keep_their_places() {
        let mut line = Logical::default();
        line.push("RUN a", 10);
        line.push(" b", 20);
        assert_eq!(line.all().part(4, 5).span(), Span::new(14, 15));
        assert_eq!(line.all().part(5, 7).span(), Span::new(20, 22));
        assert_eq!(line.all().span(), Span::new(10, 22));
        assert_eq!(line.all().after(5).trim().span(), Span::new(21, 22));
    }

    #[test]
    fn reading_stops_at_a_line_that_is_too_long() {
        let longest = "a".repeat(MAX_LINE);
        let text = format!("x\n{longest}\n");
        assert_eq!(Lines::new(&text).count(), 2);
        let text = format!("x\n{longest}a\ny\n");
        let mut lines = Lines::new(&text);
        assert_eq!(lines.by_ref().count(), 1);
        assert_eq!(lines.too_long, Some(Span::new(2, 2 + MAX_LINE + 1)));
    }

    #[test]
    fn byte_order_mark_is_left_out() {
        let lines: Vec<_> = Lines::new("\u{feff}FROM x\r\nRUN").collect();
        assert_eq!(lines[0].content(), "FROM x");
        assert_eq!(lines[0].span(), Span::new(3, 9));
        assert_eq!(lines[1].number, 2);
    }
}
