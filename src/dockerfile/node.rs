//! The lower level of the parser: text to nodes, one for each instruction.
//!
//! A node has a name, builder flags, words and heredocs; what they mean is the
//! business of the [upper level](super::typed). BuildKit has the same two
//! levels, and the golden trees of the fixtures show this one.

use super::directives::Search;
use super::heredoc;
use super::json::{self, Array};
use super::lines::{Line, Lines, Logical, MAX_LINE, Slice, continued, is_comment};
use super::words::{FlagWord, split_blank, split_first, split_flags, split_quoted};
use super::{Diagnostic, Heredoc, Level, Span, Word};

/// Errors after which reading stops: nobody reads more, and a file may have
/// millions of lines.
pub(super) const MAX_DIAGNOSTICS: usize = 256;

/// An instruction, taken apart.
#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    /// Its name as written.
    pub(super) name: Word,
    /// Its builder flags.
    pub(super) flags: Vec<FlagWord>,
    /// Its words. ENV and LABEL have three for each pair: key, value and `=`,
    /// which is empty in the old form.
    pub(super) args: Vec<Word>,
    /// The words stood in a JSON array.
    pub(super) json: bool,
    /// The instruction that ONBUILD keeps.
    pub(super) child: Option<Box<Node>>,
    /// Its heredocs.
    pub(super) heredocs: Vec<Heredoc>,
    /// The instruction on one line, without heredoc bodies.
    pub(super) text: String,
    /// The bytes of the instruction without heredoc bodies.
    pub(super) head: Span,
    /// The bytes of the instruction, heredocs included.
    pub(super) span: Span,
    /// Its first and last line.
    #[cfg_attr(not(test), allow(dead_code, reason = "only the goldens show it"))]
    pub(super) lines: (usize, usize),
    /// The comments above.
    pub(super) comments: Vec<String>,
    /// It has an error, and its words are missing.
    pub(super) is_broken: bool,
}

/// A file as nodes.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) escape: Option<char>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

/// Reads the nodes of a file.
pub(super) fn read(text: &str) -> Tree {
    let mut reader = Reader {
        lines: Lines::new(text),
        directives: Search::new("#"),
        escape: None,
        comments: Vec::new(),
        tree: Tree {
            nodes: Vec::new(),
            escape: None,
            diagnostics: Vec::new(),
        },
    };
    if text.is_empty() {
        reader.error(Span::default(), "the Dockerfile cannot be empty");
        return reader.tree;
    }
    reader.read();
    let mut tree = reader.tree;
    tree.escape = reader.escape;
    if tree.nodes.is_empty() && tree.diagnostics.is_empty() {
        let span = Span::new(text.len(), text.len());
        tree.diagnostics
            .push(error(span, "file with no instructions"));
    }
    tree
}

fn error(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        level: Level::Error,
        span,
        message: message.into(),
        hint: None,
    }
}

struct Reader<'t> {
    lines: Lines<'t>,
    directives: Search,
    escape: Option<char>,
    comments: Vec<String>,
    tree: Tree,
}

impl<'t> Reader<'t> {
    fn error(&mut self, span: Span, message: impl Into<String>) {
        self.tree.diagnostics.push(error(span, message));
    }

    fn read(&mut self) {
        while self.tree.diagnostics.len() < MAX_DIAGNOSTICS {
            let Some(line) = self.lines.next() else {
                break;
            };
            let content = line.content().trim_start();
            self.directive(content, line.span());
            if !content.is_empty() && !is_comment(content) && !self.instruction(&line) {
                break;
            }
        }
        if let Some(span) = self.lines.too_long {
            self.error(
                span,
                format!("dockerfile line greater than max allowed size of {MAX_LINE}"),
            );
        }
    }

    /// Looks at a line for what only comments have: directives, descriptions.
    fn directive(&mut self, content: &str, span: Span) {
        match self.directives.line(content) {
            Ok(Some(directive)) => {
                if directive.name == "escape" {
                    self.set_escape(&directive.value, span);
                }
            }
            Ok(None) if content.starts_with('#') => {
                let comment = content[1..].trim();
                if comment.is_empty() {
                    self.comments.clear();
                } else {
                    self.comments.push(comment.to_owned());
                }
            }
            Ok(None) => {}
            Err(message) => self.error(span, message),
        }
    }

    fn set_escape(&mut self, value: &str, span: Span) {
        match value {
            "\\" => self.escape = Some('\\'),
            "`" => self.escape = Some('`'),
            _ => self.error(
                span,
                format!("invalid escape token '{value}' does not match ` or \\"),
            ),
        }
    }

    /// Reads the instruction that starts with `first`. False when nothing can
    /// be read after it.
    fn instruction(&mut self, first: &Line<'t>) -> bool {
        let escape = self.escape.unwrap_or('\\');
        let (line, last, has_gap) = self.join(first, escape);
        let head = Span::new(
            first.span().end - first.content().trim_start().len(),
            last.span().end,
        );
        if has_gap {
            self.tree.diagnostics.push(Diagnostic {
                level: Level::Warning("NoEmptyContinuation"),
                // BuildKit points at the last line of the instruction.
                span: last.span(),
                message: "Empty continuation line".to_owned(),
                hint: Some("remove the empty line: it will become an error".to_owned()),
            });
        }
        let mut node = match node(line.all(), escape, false) {
            Ok(node) => node,
            Err((name, diagnostic)) => {
                self.tree.diagnostics.push(diagnostic);
                Node {
                    name,
                    is_broken: true,
                    ..Node::default()
                }
            }
        };
        line.text().clone_into(&mut node.text);
        node.head = head;
        node.span = head;
        node.lines = (first.number, last.number);
        node.comments = std::mem::take(&mut self.comments);
        let is_closed = self.heredocs(&mut node);
        self.tree.nodes.push(node);
        is_closed
    }

    /// Joins the lines of an instruction. Returns them with the last one, and
    /// whether an empty line stood among them.
    fn join(&mut self, first: &Line<'t>, escape: char) -> (Logical, Line<'t>, bool) {
        let mut line = Logical::default();
        let mut last = *first;
        let mut has_gap = false;
        // Blanks in front of an instruction are dropped, those in front of its
        // further lines are kept.
        let content = first.content().trim_start();
        let start = first.span().end - content.len();
        let Some(part) = continued(content, escape) else {
            line.push(content, start);
            return (line, last, has_gap);
        };
        line.push(part, start);
        for next in self.lines.by_ref() {
            last = next;
            let content = next.content();
            if is_comment(content) {
                continue;
            }
            if content.trim_start().is_empty() {
                has_gap = true;
                continue;
            }
            let part = continued(content, escape);
            line.push(part.unwrap_or(content), next.start);
            if part.is_none() {
                break;
            }
        }
        (line, last, has_gap)
    }

    /// Reads the heredocs that the node opens. False when one does not end.
    fn heredocs(&mut self, node: &mut Node) -> bool {
        let holder = node.child.as_deref().unwrap_or(node);
        let name = holder.name.text.to_ascii_lowercase();
        if node.is_broken || holder.json || !matches!(name.as_str(), "add" | "copy" | "run") {
            return true;
        }
        let openings = match heredoc::openings(&node.text) {
            Ok(openings) => openings,
            Err(message) => {
                node.is_broken = true;
                self.error(node.head, message);
                return true;
            }
        };
        for opening in openings {
            let name = opening.name.clone();
            let Some(heredoc) = heredoc::body(opening, &mut self.lines) else {
                node.is_broken = true;
                self.tree.diagnostics.push(Diagnostic {
                    hint: Some(format!("no line has `{name}` and nothing else")),
                    ..error(node.head, "unterminated heredoc")
                });
                return false;
            };
            node.heredocs.push(heredoc);
        }
        if !node.heredocs.is_empty() {
            (node.span.end, node.lines.1) = self.lines.read_to();
        }
        true
    }
}

/// Reads one joined line. On an error, the name of the instruction comes with
/// it.
fn node(line: Slice<'_>, escape: char, is_nested: bool) -> Result<Node, (Word, Diagnostic)> {
    let (name, rest) = split_first(line.trim());
    let mut node = Node {
        name: name.word(),
        text: line.text().to_owned(),
        head: line.span(),
        span: line.span(),
        ..Node::default()
    };
    let Some(rest) = rest else {
        return Ok(node);
    };
    let (flags, rest) = split_flags(rest, escape);
    node.flags = flags;
    match arguments(&mut node, rest.trim(), escape, is_nested) {
        Ok(()) => Ok(node),
        Err(diagnostic) => Err((node.name, diagnostic)),
    }
}

fn arguments(
    node: &mut Node,
    rest: Slice<'_>,
    escape: char,
    is_nested: bool,
) -> Result<(), Diagnostic> {
    if rest.text().is_empty() {
        return Ok(());
    }
    match node.name.text.to_ascii_lowercase().as_str() {
        "add" | "copy" | "volume" => {
            node.args = json_words(node, rest)?.unwrap_or_else(|| split_blank(rest));
        }
        "cmd" | "entrypoint" | "run" | "shell" => {
            node.args = json_words(node, rest)?.unwrap_or_else(|| vec![rest.word()]);
        }
        "expose" | "from" => node.args = split_blank(rest),
        "maintainer" | "stopsignal" | "user" | "workdir" => node.args = vec![rest.word()],
        "arg" => {
            let words = split_quoted(rest, escape);
            node.args = words.into_iter().map(Slice::word).collect();
        }
        "env" | "label" => node.args = pairs(node, rest, escape)?,
        "healthcheck" => healthcheck(node, rest)?,
        // A chain of ONBUILDs is an error whatever it ends with; not reading it
        // keeps the recursion flat.
        "onbuild" if !is_nested => {
            let child = self::node(rest, escape, true).map_err(|(_, diagnostic)| diagnostic)?;
            node.child = Some(Box::new(child));
        }
        _ => {}
    }
    Ok(())
}

/// The words of a JSON array, which the node is told that it has; `None` when
/// the text is no array.
fn json_words(node: &mut Node, rest: Slice<'_>) -> Result<Option<Vec<Word>>, Diagnostic> {
    let strings = match json::array(rest.text()) {
        Array::Strings(strings) => strings,
        Array::Other => return Ok(None),
        Array::Mixed => {
            return Err(error(
                rest.span(),
                "when using JSON array syntax, arrays must be comprised of strings only",
            ));
        }
    };
    node.json = true;
    let word = |(text, range): (String, std::ops::Range<usize>)| Word {
        text,
        span: rest.part(range.start, range.end).span(),
    };
    Ok(Some(strings.into_iter().map(word).collect()))
}

fn pairs(node: &Node, rest: Slice<'_>, escape: char) -> Result<Vec<Word>, Diagnostic> {
    let words = split_quoted(rest, escape);
    let separator = |text: &str| Word {
        text: text.to_owned(),
        span: rest.span(),
    };
    let Some(first) = words.first() else {
        return Ok(Vec::new());
    };
    if !first.text().contains('=') {
        let (key, value) = split_first(rest);
        let Some(value) = value else {
            let name = node.name.text.to_uppercase();
            return Err(Diagnostic {
                hint: Some(format!("write `{name} {}=value`", key.text())),
                ..error(rest.span(), format!("{name} must have two arguments"))
            });
        };
        return Ok(vec![key.word(), value.word(), separator("")]);
    }
    let mut pairs = Vec::with_capacity(words.len() * 3);
    for word in words {
        let Some(at) = word.text().find('=') else {
            let quoted = super::quote(word.text());
            return Err(Diagnostic {
                hint: Some("quote a value that has blanks: name=\"a value\"".to_owned()),
                ..error(
                    word.span(),
                    format!(
                        "Syntax error - can't find = in {quoted}. Must be of the form: name=value"
                    ),
                )
            });
        };
        pairs.extend([
            word.part(0, at).word(),
            word.after(at + 1).word(),
            separator("="),
        ]);
    }
    Ok(pairs)
}

fn healthcheck(node: &mut Node, rest: Slice<'_>) -> Result<(), Diagnostic> {
    let text = rest.text();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    node.args.push(rest.part(0, end).word());
    let command = rest.after(end).trim();
    if !command.text().is_empty() {
        let words = json_words(node, command)?.unwrap_or_else(|| vec![command.word()]);
        node.args.extend(words);
    }
    Ok(())
}

#[cfg(test)]
#[path = "tests/node.rs"]
mod tests;
