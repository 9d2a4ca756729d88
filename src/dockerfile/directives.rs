//! Parser directives: `# escape=`, `# syntax=`, `# check=`.

use super::lines::{Line, Lines};
use super::{Located, Span};

/// The names that are directives; any other comment ends the search for them.
const KNOWN: [&str; 3] = ["check", "escape", "syntax"];

/// A directive as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Directive {
    /// Its name, in lower case.
    pub(super) name: &'static str,
    /// Everything after `=`, blanks around it removed.
    pub(super) value: String,
}

/// Looks for directives line by line, as long as they may stand there.
#[derive(Debug)]
pub(super) struct Search {
    mark: &'static str,
    seen: Vec<&'static str>,
    is_over: bool,
}

impl Search {
    /// Directives in comments that start with `mark`.
    pub(super) const fn new(mark: &'static str) -> Self {
        Self {
            mark,
            seen: Vec::new(),
            is_over: false,
        }
    }

    /// Reads one line. The first that is no directive ends the search for good.
    ///
    /// # Errors
    /// When the directive was there before.
    pub(super) fn line(&mut self, line: &str) -> Result<Option<Directive>, String> {
        if self.is_over {
            return Ok(None);
        }
        let Some(directive) = line.strip_prefix(self.mark).and_then(parse) else {
            self.is_over = true;
            return Ok(None);
        };
        let name = directive.name;
        if self.seen.contains(&name) {
            return Err(format!("only one {name} parser directive can be used"));
        }
        self.seen.push(name);
        Ok(Some(directive))
    }
}

/// Reads `name = value` of a known directive.
pub(super) fn parse(comment: &str) -> Option<Directive> {
    let comment = comment.trim_start();
    let (name, value) = comment.split_once('=')?;
    let name = name.trim_end_matches(|char: char| char.is_ascii_whitespace());
    let name = name.to_ascii_lowercase();
    let name = KNOWN.into_iter().find(|known| *known == name)?;
    let trimmed = value.trim_matches(|char: char| char.is_ascii_whitespace());
    if !trimmed.is_empty() {
        return Some(Directive {
            name,
            value: trimmed.to_owned(),
        });
    }
    // A value of nothing but blanks is one blank: BuildKit's expression asks
    // for at least one character.
    let value = value.chars().next_back()?;
    Some(Directive {
        name,
        value: value.to_string(),
    })
}

/// Finds the directive `name` at the head of a text, a `#!` line skipped.
pub(super) fn find(text: &str, name: &str) -> Option<Located<String>> {
    search(text, name, "#")
}

/// Finds the frontend that a text asks for: `# syntax=`, and for files of other
/// languages `// syntax=` and a JSON object with a key `syntax`.
pub(super) fn find_syntax(text: &str) -> Option<Located<String>> {
    search(text, "syntax", "#")
        .or_else(|| search(text, "syntax", "//"))
        .or_else(|| in_json(text))
}

fn search(text: &str, name: &str, mark: &'static str) -> Option<Located<String>> {
    let mut search = Search::new(mark);
    let mut lines = Lines::new(text).peekable();
    lines.next_if(|line| line.raw.starts_with("#!"));
    for line in lines {
        // A directive that stands there twice ends the search, the first one
        // counts.
        let directive = search.line(line.content()).ok()?;
        if let Some(directive) = directive.filter(|directive| directive.name == name) {
            return Some(located(&line, directive));
        }
        if search.is_over {
            return None;
        }
    }
    None
}

fn located(line: &Line<'_>, directive: Directive) -> Located<String> {
    // What follows the first word is meant for the frontend, or for people.
    let word = directive.value.split(' ').next().unwrap_or_default();
    Located {
        span: line.span(),
        name: directive.name.to_owned(),
        comments: Vec::new(),
        value: word.to_owned(),
        text: directive.value,
    }
}

fn in_json(text: &str) -> Option<Located<String>> {
    let json = text.trim_start_matches('\u{feff}');
    if !json.trim_start().starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).ok()?;
    let syntax = object.get("syntax")?.as_str()?.to_owned();
    Some(Located {
        span: Span::new(0, text.find('\n').unwrap_or(text.len())),
        name: "syntax".to_owned(),
        comments: Vec::new(),
        text: syntax.clone(),
        value: syntax,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, name: &str, want: Option<(&str, &str, usize)>) {
        let got = if name == "syntax" {
            find_syntax(text)
        } else {
            find(text, name)
        };
        let got = got.map(|found| {
            (
                found.value.clone(),
                found.text.clone(),
                found.span.line(text),
            )
        });
        let want = want.map(|(value, text, line)| (value.to_owned(), text.to_owned(), line));
        assert_eq!(got, want, "{text}");
    }

    #[test]
    fn directives_are_found_at_the_head() {
        check("# syntax=a", "syntax", Some(("a", "a", 1)));
        check("#SynTax = a  b \n", "syntax", Some(("a", "a  b", 1)));
        check(
            "# escape=`\n# check=skip=all\n",
            "check",
            Some(("skip=all", "skip=all", 2)),
        );
        check("#!/bin/x\n# syntax=a\n", "syntax", Some(("a", "a", 2)));
        check("\u{feff}# syntax=a\n", "syntax", Some(("a", "a", 1)));
        check("#syntax=a\r\n#escape=`\r\n", "escape", Some(("`", "`", 2)));
    }

    #[test]
    fn anything_else_ends_the_search() {
        for text in [
            "",
            "\n# syntax=a",
            "# a comment\n# syntax=a",
            "# other=x\n# syntax=a",
            "FROM x\n# syntax=a",
            "# escape=`\n# escape=`\n# syntax=a",
            "# syntax=",
            "# syn tax=a",
            "#!/bin/x\n\n# syntax=a",
        ] {
            check(text, "syntax", None);
        }
    }

    #[test]
    fn syntax_of_other_languages() {
        check("// syntax=a b\nx", "syntax", Some(("a", "a b", 1)));
        check("//syntax=a", "check", None);
        check("{\"syntax\": \"a\"}", "syntax", Some(("a", "a", 1)));
        check("{\"syntax\": 1}", "syntax", None);
        check("{", "syntax", None);
    }

    #[test]
    fn value_of_blanks_is_one_blank() {
        check("# escape=  ", "escape", Some(("", " ", 1)));
    }
}
