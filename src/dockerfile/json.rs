//! The JSON arrays of the exec form.
//!
//! A parser of its own, since the exec form needs the place of each string,
//! and the answer to one odd question: is a text that is no array of strings
//! still valid JSON (an error), or no JSON at all (the shell form)?
//! Agrees with Go's `encoding/json`, not with stricter parsers: a lone
//! surrogate is read as U+FFFD.

use std::ops::Range;

/// How deep arrays and objects may nest; deeper is no JSON.
///
/// Source: the limit of Go's `encoding/json`.
const MAX_DEPTH: usize = 10_000;

/// What a text is, read as an array of strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Array {
    /// An array of strings, each with the bytes it was written in.
    Strings(Vec<(String, Range<usize>)>),
    /// An array with something else in it.
    Mixed,
    /// No JSON array.
    Other,
}

/// Reads a text as an array of strings.
pub(super) fn array(text: &str) -> Array {
    let start = text.len() - text.trim_start().len();
    if !text[start..].starts_with('[') {
        return Array::Other;
    }
    let mut scan = Scan { text, at: start };
    match scan.strings() {
        Some(array) if scan.is_finished() => array,
        _ => Array::Other,
    }
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn is_finished(&mut self) -> bool {
        self.skip_blanks();
        self.at == self.text.len()
    }

    /// The outermost array; `None` when it is malformed.
    fn strings(&mut self) -> Option<Array> {
        let mut strings = Vec::new();
        let mut mixed = false;
        self.at += 1;
        self.skip_blanks();
        if self.take(b']') {
            return Some(Array::Strings(strings));
        }
        loop {
            self.skip_blanks();
            if self.peek() == Some(b'"') {
                let start = self.at;
                let string = self.string()?;
                strings.push((string, start..self.at));
            } else {
                mixed = true;
                self.value()?;
            }
            self.skip_blanks();
            if self.take(b']') {
                break;
            }
            self.take(b',').then_some(())?;
        }
        Some(if mixed {
            Array::Mixed
        } else {
            Array::Strings(strings)
        })
    }

    /// Steps over one value of any kind, without recursion.
    fn value(&mut self) -> Option<()> {
        let mut open = Vec::new();
        loop {
            self.skip_blanks();
            match self.peek()? {
                b'[' => {
                    self.at += 1;
                    self.skip_blanks();
                    if !self.take(b']') {
                        open.push(b']');
                        (open.len() < MAX_DEPTH).then_some(())?;
                        continue;
                    }
                }
                b'{' => {
                    self.at += 1;
                    self.skip_blanks();
                    if !self.take(b'}') {
                        open.push(b'}');
                        (open.len() < MAX_DEPTH).then_some(())?;
                        self.key()?;
                        continue;
                    }
                }
                b'"' => {
                    self.string()?;
                }
                b't' => self.word("true")?,
                b'f' => self.word("false")?,
                b'n' => self.word("null")?,
                _ => self.number()?,
            }
            if self.close(&mut open)? {
                return Some(());
            }
        }
    }

    /// After a value: closes what ends here. True when nothing is open.
    fn close(&mut self, open: &mut Vec<u8>) -> Option<bool> {
        while let Some(end) = open.last().copied() {
            self.skip_blanks();
            if self.take(b',') {
                if end == b'}' {
                    self.key()?;
                }
                return Some(false);
            }
            self.take(end).then_some(())?;
            open.pop();
        }
        Some(true)
    }

    fn key(&mut self) -> Option<()> {
        self.skip_blanks();
        self.string()?;
        self.skip_blanks();
        self.take(b':').then_some(())
    }

    fn word(&mut self, word: &str) -> Option<()> {
        self.text[self.at..].starts_with(word).then_some(())?;
        self.at += word.len();
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let number: f64 = self.text[start..self.at].parse().ok()?;
        number.is_finite().then_some(())
    }

    fn string(&mut self) -> Option<String> {
        self.take(b'"').then_some(())?;
        let mut string = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.find(|char: char| matches!(char, '"' | '\\') || char < ' ')?;
            string.push_str(&rest[..end]);
            self.at += end + 1;
            match rest.as_bytes()[end] {
                b'"' => return Some(string),
                b'\\' => string.push(self.escaped()?),
                _ => return None,
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => self.unit()?,
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<char> {
        let first = self.hex()?;
        if let Some(char) = char::from_u32(first) {
            return Some(char);
        }
        let before = self.at;
        if (0xd800..0xdc00).contains(&first) && self.take(b'\\') && self.take(b'u') {
            let second = self.hex()?;
            if (0xdc00..0xe000).contains(&second) {
                return char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00));
            }
        }
        // A surrogate without its partner.
        self.at = before;
        Some(char::REPLACEMENT_CHARACTER)
    }

    fn hex(&mut self) -> Option<u32> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |number, digit| {
            Some(number * 16 + char::from(*digit).to_digit(16)?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &[&str]) {
        match array(text) {
            Array::Strings(strings) => {
                let strings: Vec<_> = strings.into_iter().map(|(string, _)| string).collect();
                assert_eq!(strings, want, "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn arrays_of_strings() {
        check("[]", &[]);
        check(" [ ] ", &[]);
        check(r#"["a", "b c"]"#, &["a", "b c"]);
        check(r#"["\"\\\/\b\f\n\r\t"]"#, &["\"\\/\u{8}\u{c}\n\r\t"]);
        check(r#"["\u00e9\ud83d\ude00é"]"#, &["é😀é"]);
        check(r#"["\ud800x", "\udc00"]"#, &["\u{fffd}x", "\u{fffd}"]);
        check(r#"["\ud800\u0041"]"#, &["\u{fffd}A"]);
    }

    #[test]
    fn strings_know_their_bytes() {
        assert_eq!(
            array(r#"["a", "é"]"#),
            Array::Strings(vec![("a".into(), 1..4), ("é".into(), 6..10)])
        );
    }

    #[test]
    fn other_elements_make_the_array_mixed() {
        for text in [
            "[1]",
            "[-0.5e+3]",
            r#"["a", null]"#,
            r#"[{"a": [1, {}], "b": {"c": []}}]"#,
            "[[[]]]",
            "[true, false]",
        ] {
            assert_eq!(array(text), Array::Mixed, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_array() {
        for text in [
            "",
            "a",
            "[",
            "['a']",
            r#"["a""#,
            r#"["a",]"#,
            r#"["a"] x"#,
            r#"["a" "b"]"#,
            "[01]",
            "[1e999]",
            "[.5]",
            "[1.]",
            "[tru]",
            "[\"\t\"]",
            r#"["\x"]"#,
            r#"["\u12"]"#,
            r#"[{"a"}]"#,
            "[{a:1}]",
            "[[}]",
            r#"{"a":1}"#,
        ] {
            assert_eq!(array(text), Array::Other, "{text}");
        }
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        assert_eq!(array(&"[".repeat(200_000)), Array::Other);
        let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
        assert_eq!(array(&deep), Array::Mixed);
    }
}
