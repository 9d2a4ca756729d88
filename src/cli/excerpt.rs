//! Lines of a Dockerfile, shown with what is said of them.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use rbuild::dockerfile::{self, Diagnostic, Span};

/// Lines shown before and after the place.
const AROUND: usize = 2;
/// Most lines shown of the place itself; a heredoc may have thousands.
const MOST: usize = 20;

/// The lines of `span` marked with `>>>` among their neighbours, in BuildKit's form.
pub(crate) fn marked(name: &str, text: &str, span: Span) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = span.line(text);
    let last = last_line(text, span).min(first + MOST - 1);
    let from = first.saturating_sub(AROUND).max(1);
    let to = (last + AROUND).min(lines.len());
    let rule = "--------------------\n";
    let mut out = format!("{name}:{first}\n{rule}");
    for number in from..=to {
        let mark = if (first..=last).contains(&number) {
            ">>> "
        } else {
            "    "
        };
        let line = lines.get(number - 1).copied().unwrap_or("");
        let row = format!("{number:4} | {mark}{}", printable(line));
        out.push_str(row.trim_end());
        out.push('\n');
    }
    out.push_str(rule);
    out
}

/// The line that the last visible character of `span` is on, counted from 1.
pub(crate) fn last_line(text: &str, span: Span) -> usize {
    let range = in_bounds(text, span);
    let inside = text[range.clone()].trim_end();
    let end = range.start + inside.len();
    Span::new(end.saturating_sub(1).max(range.start), end).line(text)
}

/// Diagnostics with their lines, places underlined and hints below.
pub(crate) fn diagnostics(
    name: &str,
    text: &str,
    diagnostics: &[Diagnostic],
    color: bool,
) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let shown = printable(text);
    let mut out = String::new();
    for diagnostic in diagnostics {
        let (level, id) = match diagnostic.level {
            dockerfile::Level::Error => (Level::ERROR, None),
            dockerfile::Level::Warning(rule) => (Level::WARNING, Some(rule)),
        };
        let place = Snippet::source(shown.as_str())
            .path(name)
            .annotation(AnnotationKind::Primary.span(in_bounds(&shown, diagnostic.span)));
        let mut title = level.primary_title(diagnostic.message.as_str());
        if let Some(id) = id {
            title = title.id(id);
        }
        let mut group = Group::with_title(title).element(place);
        if let Some(hint) = &diagnostic.hint {
            group = group.element(Level::HELP.message(hint.as_str()));
        }
        out.push_str(&renderer.render(&[group]).clone());
        out.push('\n');
    }
    out
}

/// The bytes of `span` in `text`, moved to where characters begin.
fn in_bounds(text: &str, span: Span) -> Range<usize> {
    let start = floor(text, span.start);
    let end = floor(text, span.end).max(start);
    start..end
}

fn floor(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0)
}

/// The text with control characters replaced, byte for byte so that places stay
/// right: a Dockerfile may not move the cursor either.
fn printable(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            '\n' | '\t' => char,
            char if char.is_ascii_control() => ' ',
            char => char,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "FROM busybox\nCOPY . .\n\nRUN make\nCMD x\n";

    fn span(part: &str) -> Span {
        let start = TEXT.find(part).unwrap();
        Span::new(start, start + part.len())
    }

    #[test]
    fn lines_are_marked_as_buildkit_marks_them() {
        assert_eq!(
            marked("Dockerfile", TEXT, span("RUN make\n")),
            "Dockerfile:4\n--------------------\n   2 |     COPY . .\n   3 |\n   4 | >>> RUN make\n   5 |     CMD x\n--------------------\n"
        );
    }

    #[test]
    fn places_outside_of_the_text_do_no_harm() {
        assert!(marked("Dockerfile", "", Span::new(7, 9)).contains("Dockerfile:1"));
        assert!(marked("Dockerfile", "é", Span::new(1, 9)).contains(">>>"));
        let diagnostic = Diagnostic {
            level: dockerfile::Level::Error,
            span: Span::new(100, 200),
            message: "m".to_owned(),
            hint: None,
        };
        assert!(diagnostics("Dockerfile", "x", &[diagnostic], false).contains('m'));
    }

    #[test]
    fn diagnostics_are_underlined() {
        let diagnostic = Diagnostic {
            level: dockerfile::Level::Error,
            span: span("RUN"),
            message: "unknown instruction: RUN".to_owned(),
            hint: Some("did you mean FROM?".to_owned()),
        };
        let text = diagnostics("Dockerfile", TEXT, &[diagnostic], false);
        for part in ["Dockerfile:4:1", "RUN make", "^^^", "did you mean FROM?"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
