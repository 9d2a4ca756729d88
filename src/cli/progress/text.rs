//! Text for a terminal: nothing in it moves the cursor, and its width is known.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// A line without what could move the cursor: escape sequences and control
/// characters are dropped, and of parts that overwrite each other the last stays.
pub(crate) fn visible(line: &str) -> String {
    let line = line
        .rsplit('\r')
        .find(|part| !part.is_empty())
        .unwrap_or("");
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => skip_sequence(&mut chars),
            '\t' => text.push_str("    "),
            char if char.is_control() || turns_text(char) => {}
            char => text.push(char),
        }
    }
    text
}

/// Characters that change the direction of what follows: a log line could make
/// the rest of its row read as something else (UAX 9).
fn turns_text(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Skips the rest of an escape sequence (ECMA-48): `[` to its final byte, `]`
/// and the other strings to their terminator, or one character.
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => {
            for char in chars.by_ref() {
                if ('@'..='~').contains(&char) {
                    break;
                }
            }
        }
        Some(']' | 'P' | 'X' | '^' | '_') => {
            while let Some(char) = chars.next() {
                if char == '\u{7}' {
                    break;
                }
                if char == '\u{1b}' {
                    chars.next_if_eq(&'\\');
                    break;
                }
            }
        }
        // A character set takes one more character.
        Some('(' | ')' | '*' | '+') => {
            chars.next();
        }
        _ => {}
    }
}

/// How many columns a terminal needs for a text.
pub(super) fn width(text: &str) -> usize {
    // Sequences such as an emoji with its variation selector are wider or
    // narrower than their characters; the larger number is the safe one.
    let chars: usize = text.chars().filter_map(UnicodeWidthChar::width).sum();
    chars.max(text.width())
}

/// How many rows of `columns` a terminal breaks a text into.
pub(super) fn rows_of(text: &str, columns: usize) -> usize {
    let (mut rows, mut column) = (1, 0);
    for char_width in text.chars().filter_map(UnicodeWidthChar::width) {
        // A wide character is not broken in two.
        if column + char_width > columns {
            rows += 1;
            column = 0;
        }
        column += char_width;
    }
    rows
}

/// Cuts a text to `columns`, the last of them an ellipsis.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let mut end = 0;
    let mut wide = 0;
    for (start, char) in text.char_indices() {
        // A variation selector may widen what stands before it.
        let char_width = match char {
            '\u{fe0f}' => 1,
            char => char.width().unwrap_or(0),
        };
        if wide + char_width > room {
            break;
        }
        wide += char_width;
        end = start + char.len_utf8();
    }
    let mut cut = text[..end].to_owned();
    if columns > 0 {
        cut.push('…');
    }
    cut
}

/// A line of `columns`: the left text is cut, the right one kept.
pub(super) fn row(left: &str, right: &str, columns: usize) -> String {
    if right.is_empty() {
        return cut(left, columns);
    }
    let room = columns.saturating_sub(width(right) + 1);
    let mut row = cut(left, room);
    let gap = columns.saturating_sub(width(&row) + width(right));
    row.extend(std::iter::repeat_n(' ', gap));
    row.push_str(right);
    cut(&row, columns)
}

/// A bar of `columns` that is full when `done` is `total`.
pub(super) fn bar(done: u64, total: u64, columns: usize) -> String {
    let inside = columns.saturating_sub(2);
    let share = u128::from(done.min(total)) * inside as u128 / u128::from(total.max(1));
    let full = usize::try_from(share).unwrap_or(inside);
    let mut bar = String::from("[");
    bar.extend(std::iter::repeat_n('=', full));
    if full < inside {
        bar.push('>');
        bar.extend(std::iter::repeat_n(' ', inside - full - 1));
    }
    bar.push(']');
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_dropped() {
        assert_eq!(visible("\u{1b}[31mred\u{1b}[0m"), "red");
        assert_eq!(visible("\u{1b}]0;title\u{7}text"), "text");
        assert_eq!(visible("\u{1b}Psixel\u{1b}\\text"), "text");
        assert_eq!(visible("\u{1b}(Btext\u{1b}[2J\u{1b}[1;1H"), "text");
        assert_eq!(visible("10%\r50%\r100%"), "100%");
        assert_eq!(visible("done\r"), "done");
        assert_eq!(visible("a\u{8}b\tc\u{202e}d\u{9b}1mx"), "ab    cd1mx");
    }

    #[test]
    fn texts_are_cut_by_what_they_take_on_the_screen() {
        assert_eq!(cut("plain", 5), "plain");
        assert_eq!(cut("plain!", 5), "plai…");
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("x", 0), "");
        for text in [
            "❤️❤️❤️❤️",
            "👩‍👩‍👧‍👦 family",
            "e\u{301}e\u{301}e\u{301}",
            "한국어",
        ] {
            for columns in 0..10 {
                let cut = cut(text, columns);
                assert!(width(&cut) <= columns, "{cut:?} is wider than {columns}");
            }
        }
    }

    #[test]
    fn rows_are_counted_as_a_terminal_breaks_them() {
        assert_eq!(rows_of("", 10), 1);
        assert_eq!(rows_of(&"x".repeat(20), 10), 2);
        assert_eq!(rows_of(&"x".repeat(21), 10), 3);
        assert_eq!(rows_of("日本語", 3), 3);
        assert_eq!(rows_of("日本語", 4), 2);
    }

    #[test]
    fn rows_keep_their_right_side() {
        assert_eq!(row("name", "1.0s", 12), "name    1.0s");
        assert_eq!(row("a long name", "1.0s", 12), "a long… 1.0s");
        assert_eq!(row("日本語日本語", "1.0s", 12), "日本語… 1.0s");
        assert_eq!(row("name", "1.0s", 3).len(), "1.…".len());
    }

    #[test]
    fn bars_fill() {
        assert_eq!(bar(0, 10, 12), "[>         ]");
        assert_eq!(bar(5, 10, 12), "[=====>    ]");
        assert_eq!(bar(10, 10, 12), "[==========]");
        assert_eq!(bar(20, 10, 12), "[==========]");
        assert_eq!(bar(0, 0, 5), "[>  ]");
    }
}
