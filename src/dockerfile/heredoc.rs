//! Heredocs: the words that open them, and their bodies.

use super::expand::Scope;
use super::instruction::Heredoc;
use super::lexer::{Lexer, Mode};
use super::lines::Lines;
use super::span::Span;

/// The word that opens a heredoc, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    /// The word, quotes removed.
    pub(super) name: String,
    /// No part of the word was quoted.
    pub(super) expand: bool,
    /// `<<-`.
    pub(super) chomp: bool,
    /// The number before `<<`.
    pub(super) fd: u32,
}

/// A scope in which nothing is set.
struct Empty;

impl Scope for Empty {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}

/// Splits without replacing anything. The escape character is `\`, whatever
/// the file says.
fn words(text: &str, keep_quotes: bool, keep_escapes: bool) -> Result<Vec<String>, String> {
    let mode = Mode {
        keep_quotes,
        keep_escapes,
        keep_unset: true,
        ..Mode::default()
    };
    Lexer::new(text, '\\', mode, &Empty).words()
}

/// Takes a word apart as `[fd]<<[-]word`; `None` when it is something else.
///
/// # Errors
/// When a quote in the word is not closed.
pub(super) fn opening(word: &str) -> Result<Option<Opening>, String> {
    let unnumbered = word.trim_start_matches(|char: char| char.is_ascii_digit());
    let digits = &word[..word.len() - unnumbered.len()];
    let Some(rest) = unnumbered.strip_prefix("<<") else {
        return Ok(None);
    };
    let (chomp, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = rest.trim_start_matches(|char: char| char.is_ascii_whitespace());
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let plain = words(rest, false, false)?;
    let [name] = plain.as_slice() else {
        return Ok(None);
    };
    let quoted = words(rest, true, false)?;
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    // The word was quoted when quotes went missing with them removed.
    let expand = quoted.iter().map(|word| quotes(word)).sum::<usize>() == quotes(name);
    Ok(Some(Opening {
        name: name.clone(),
        expand,
        chomp,
        fd: match digits {
            "" => 0,
            digits => digits.parse().unwrap_or(u32::MAX),
        },
    }))
}

/// The heredocs that an instruction opens, in order. An instruction whose
/// quotes or variables do not fit together opens none: its text may be meant
/// for another shell than ours.
///
/// # Errors
/// When a quote in an opening word is not closed.
pub(super) fn openings(line: &str) -> Result<Vec<Opening>, String> {
    if !line.contains("<<") {
        return Ok(Vec::new());
    }
    let mut openings = Vec::new();
    for word in words(line, true, true).unwrap_or_default() {
        openings.extend(opening(&word)?);
    }
    Ok(openings)
}

/// Reads the body that belongs to an opening word, terminator included; `None`
/// when the lines end before it does.
pub(super) fn body(opening: Opening, lines: &mut Lines<'_>) -> Option<Heredoc> {
    let mut raw = String::new();
    let mut span: Option<Span> = None;
    loop {
        let line = lines.next()?;
        let content = line.content();
        let word = if opening.chomp {
            content.trim_start_matches('\t')
        } else {
            content
        };
        if word == opening.name {
            return Some(Heredoc {
                content: if opening.chomp {
                    chomped(&raw)
                } else {
                    raw.clone()
                },
                raw,
                name: opening.name,
                expand: opening.expand,
                chomp: opening.chomp,
                fd: opening.fd,
                span: span.unwrap_or(Span::new(line.start, line.start)),
            });
        }
        raw.push_str(line.raw);
        let start = span.map_or(line.start, |span| span.start);
        span = Some(Span::new(start, line.start + line.raw.len()));
    }
}

/// The text without the tabs that its lines start with.
fn chomped(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| line.trim_start_matches('\t'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_words() {
        for word in [
            "<<EOF",
            "<<'EOF'",
            "<<\"EOF\"",
            "<<E\"OF\"",
            "<<-EOF",
            "<<-'EOF'",
            "<< EOF",
            "<<- EOF",
            "3<<EOF",
        ] {
            let opening = opening(word).unwrap().unwrap();
            assert_eq!(opening.name, "EOF", "{word}");
            assert_eq!(opening.expand, !word.contains(['\'', '"']), "{word}");
            assert_eq!(opening.chomp, word.contains('-'), "{word}");
            assert_eq!(opening.fd, u32::from(word.starts_with('3')) * 3, "{word}");
        }
    }

    #[test]
    fn other_words_open_nothing() {
        for word in [
            "", "EOF", "<<", "<<-", "<EOF", "<<<EOF", "<<EOF sh", "a<<EOF", "<<A<<B",
        ] {
            assert_eq!(opening(word), Ok(None), "{word}");
        }
    }

    #[test]
    fn open_quotes_are_errors() {
        for word in ["<<'EOF", "<<\"EOF", "<<EOF'"] {
            assert!(opening(word).is_err(), "{word}");
        }
    }

    fn names(line: &str) -> Vec<String> {
        let openings = openings(line).unwrap();
        openings.into_iter().map(|opening| opening.name).collect()
    }

    #[test]
    fn openings_of_a_line() {
        assert_eq!(names("RUN <<EOF"), ["EOF"]);
        assert_eq!(names("RUN cat 3<<A && cat <<-B >x"), ["A", "B"]);
        assert_eq!(names("COPY <<'a b' <<\"c\" /"), ["a b", "c"]);
        assert_eq!(names("RUN echo '<<A' \"<<B\" \\<<C"), [""; 0]);
        assert_eq!(names("RUN echo it's <<EOF"), [""; 0]);
        assert_eq!(names("RUN echo ${x^^} <<EOF"), [""; 0]);
        assert_eq!(names("RUN echo ${x:-y} $z <<$EOF"), ["$EOF"]);
        assert_eq!(names("RUN cat <<<EOF"), [""; 0]);
        assert_eq!(names("RUN echo $((1<<2))"), [""; 0]);
    }

    #[test]
    fn backslash_alone_does_not_quote() {
        assert!(opening(r"<<E\OF").unwrap().unwrap().expand);
    }

    #[test]
    fn bodies_lose_leading_tabs() {
        let opening = opening("<<-EOF").unwrap().unwrap();
        let body = body(opening, &mut Lines::new("\t\ta\n\t b\n\n\tEOF\nrest")).unwrap();
        assert_eq!(body.content, "a\n b\n\n");
        assert_eq!(body.raw, "\t\ta\n\t b\n\n");
        assert_eq!(body.span, Span::new(0, 9));
    }
}
