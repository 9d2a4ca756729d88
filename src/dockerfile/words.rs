//! Taking the text of an instruction apart: name, builder flags, words.

use super::Word;
use super::lines::Slice;

/// Blanks between the words of a line. Unicode blanks belong to words.
pub(super) const BLANKS: [char; 5] = ['\t', '\u{b}', '\u{c}', '\r', ' '];

/// Splits at the first run of blanks; the second part is `None` without one.
pub(super) fn split_first(slice: Slice<'_>) -> (Slice<'_>, Option<Slice<'_>>) {
    let text = slice.text();
    let Some(end) = text.find(BLANKS) else {
        return (slice, None);
    };
    let rest = text[end..].trim_start_matches(BLANKS);
    (
        slice.part(0, end),
        Some(slice.after(text.len() - rest.len())),
    )
}

/// Splits at every run of blanks, without regard to quotes.
pub(super) fn split_blank(slice: Slice<'_>) -> Vec<Word> {
    let mut words = Vec::new();
    if slice.text().is_empty() {
        return words;
    }
    let mut rest = Some(slice);
    while let Some(slice) = rest {
        let (word, after) = split_first(slice);
        words.push(word.word());
        rest = after;
    }
    words
}

/// Where a scan over quoted words stands.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Blank,
    Word,
    Quote(char),
}

/// Splits into words at blanks that are neither quoted nor escaped. Quotes and
/// escapes stay in the words.
pub(super) fn split_quoted(slice: Slice<'_>, escape: char) -> Vec<Slice<'_>> {
    let text = slice.text();
    let mut words = Vec::new();
    let mut phase = Phase::Blank;
    let mut start = 0;
    let mut end = text.len();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        if phase == Phase::Blank {
            if char.is_whitespace() {
                continue;
            }
            phase = Phase::Word;
            start = at;
        }
        match phase {
            Phase::Word if char.is_whitespace() => {
                words.push(slice.part(start, at));
                phase = Phase::Blank;
                continue;
            }
            Phase::Word if matches!(char, '\'' | '"') => phase = Phase::Quote(char),
            Phase::Quote(quote) if char == quote => phase = Phase::Word,
            // Nothing can be escaped within single quotes.
            Phase::Quote('\'') => continue,
            _ => {}
        }
        if char == escape && chars.next().is_none() {
            // An escape with nothing behind it is dropped.
            end = at;
        }
    }
    if phase != Phase::Blank && start < end {
        words.push(slice.part(start, end));
    }
    words
}

/// A builder flag, `--name` or `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FlagWord {
    /// The whole word, quotes and escapes removed.
    pub(super) word: Word,
    /// The place of what follows `=`.
    pub(super) value: super::Span,
}

/// Takes the builder flags off the front of an instruction's text and returns
/// them with what is left. A lone `--` ends the flags.
pub(super) fn split_flags(slice: Slice<'_>, escape: char) -> (Vec<FlagWord>, Slice<'_>) {
    let mut flags = Vec::new();
    let mut rest = slice;
    loop {
        rest = rest.after(rest.text().len() - rest.text().trim_start().len());
        if !rest.text().starts_with("--") {
            return (flags, rest);
        }
        let (text, length) = unquoted_word(rest.text(), escape);
        let raw = rest.part(0, length);
        rest = rest.after(length);
        if text == "--" {
            return (flags, rest);
        }
        let equals = raw.text().find('=').map_or(length, |at| at + 1);
        flags.push(FlagWord {
            word: Word {
                text,
                span: raw.span(),
            },
            value: raw.after(equals).span(),
        });
    }
}

/// The first word of `text` without its quotes and escapes, and its length as
/// written.
fn unquoted_word(text: &str, escape: char) -> (String, usize) {
    let mut word = String::new();
    let mut phase = Phase::Word;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match phase {
            Phase::Quote(quote) if char == quote => phase = Phase::Word,
            Phase::Quote(_) => {
                if char != escape {
                    word.push(char);
                } else if let Some((_, escaped)) = chars.next() {
                    word.push(escaped);
                }
            }
            _ if char.is_whitespace() => return (word, at),
            _ if matches!(char, '\'' | '"') => phase = Phase::Quote(char),
            _ if char == escape => {
                if let Some((_, escaped)) = chars.next() {
                    word.push(escaped);
                }
            }
            _ => word.push(char),
        }
    }
    (word, text.len())
}

#[cfg(test)]
mod tests {
    use super::super::lines::Logical;
    use super::*;

    fn line(text: &str) -> Logical {
        let mut line = Logical::default();
        line.push(text, 0);
        line
    }

    fn quoted(text: &str, escape: char) -> Vec<String> {
        let line = line(text);
        split_quoted(line.all(), escape)
            .into_iter()
            .map(|word| word.text().to_owned())
            .collect()
    }

    #[test]
    fn quoted_words_keep_quotes_and_escapes() {
        assert_eq!(quoted("a b", '\\'), ["a", "b"]);
        assert_eq!(quoted(r"a\ b  c", '\\'), [r"a\ b", "c"]);
        assert_eq!(
            quoted(r#"k="a b" j='c "d'"#, '\\'),
            [r#"k="a b""#, r#"j='c "d'"#]
        );
        assert_eq!(quoted(r#""a\"b" c"#, '\\'), [r#""a\"b""#, "c"]);
        assert_eq!(quoted(r"'a\' b", '\\'), [r"'a\'", "b"]);
        assert_eq!(quoted("a` b", '`'), ["a` b"]);
        assert_eq!(quoted(r#""" x"#, '\\'), [r#""""#, "x"]);
    }

    #[test]
    fn escape_at_the_end_of_words_is_dropped() {
        assert_eq!(quoted(r"a b\", '\\'), ["a", "b"]);
        assert_eq!(quoted(r#"a "b\"#, '\\'), ["a", r#""b"#]);
        assert_eq!(quoted(r"a \", '\\'), ["a"]);
        assert_eq!(quoted(r#"a "b"#, '\\'), ["a", r#""b"#]);
        assert_eq!(quoted("", '\\'), [""; 0]);
    }

    fn flags(text: &str) -> (Vec<String>, String) {
        let line = line(text);
        let (flags, rest) = split_flags(line.all(), '\\');
        (
            flags.into_iter().map(|flag| flag.word.text).collect(),
            rest.text().to_owned(),
        )
    }

    #[test]
    fn flags_are_peeled_off_the_front() {
        let check = |text: &str, want: &[&str], rest: &str| {
            let (got, left) = flags(text);
            assert_eq!(got, want, "{text}");
            assert_eq!(left, rest, "{text}");
        };
        check("--a=1 --b c --d", &["--a=1", "--b"], "c --d");
        check("--a -- --b", &["--a"], " --b");
        check("-- x", &[], " x");
        check("-a b", &[], "-a b");
        check(r#"--a="b c" d"#, &["--a=b c"], "d");
        check(r"--a='b c'd e", &["--a=b cd"], "e");
        check(r"--a=b\ c d", &["--a=b c"], "d");
        check(r"--a=b\", &["--a=b"], "");
        check("--a", &["--a"], "");
        check("--", &[], "");
        check("", &[], "");
    }

    #[test]
    fn flag_value_has_its_own_place() {
        let line = line("--from=x y");
        let (flags, _) = split_flags(line.all(), '\\');
        assert_eq!(flags[0].value, super::super::Span::new(7, 8));
    }
}
