//! Text in quotes, as error messages and image history show it.

use std::fmt::Write;

/// Puts a text in double quotes as Go's `%q` does: line breaks, quotes and
/// whatever cannot be seen are escaped.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            ' '..='~' => quoted.push(char),
            _ if is_printable(char) => quoted.push(char),
            _ => push_code(&mut quoted, u32::from(char)),
        }
    }
    quoted.push('"');
    quoted
}

fn push_code(quoted: &mut String, code: u32) {
    let written = match code {
        0..=0x7f => write!(quoted, "\\x{code:02x}"),
        0x80..=0xffff => write!(quoted, "\\u{code:04x}"),
        _ => write!(quoted, "\\U{code:08x}"),
    };
    debug_assert!(written.is_ok(), "a String takes what is written to it");
}

fn is_printable(char: char) -> bool {
    // Behind another character, `escape_debug` of a text escapes what cannot
    // be printed and leaves combining marks alone, as Go does.
    !char.is_control() && format!("a{char}").escape_debug().eq(['a', char])
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn quotes_like_go() {
        assert_eq!(quote("a b"), r#""a b""#);
        assert_eq!(quote("a\"\\'\n\t\r"), r#""a\"\\'\n\t\r""#);
        assert_eq!(quote("\u{0}\u{7f}\u{1b}"), r#""\x00\x7f\x1b""#);
        assert_eq!(quote("é♥😀e\u{301}"), "\"é♥😀e\u{301}\"");
        assert_eq!(
            quote("\u{a0}\u{200b}\u{e0001}"),
            r#""\u00a0\u200b\U000e0001""#
        );
    }
}
