//! The upper level of the parser: nodes to typed instructions.

use super::flags::{self, Kind, Known};
use super::instruction::{Arg, From, Instruction, Onbuild, Pair};
use super::node::Node;
use super::{Diagnostic, Level, Span, Word, command, copy, suggest};

/// The names of all instructions.
pub(super) const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Takes the diagnostics of the instructions.
#[derive(Debug)]
pub(super) struct Sink<'d>(pub(super) &'d mut Vec<Diagnostic>);

impl Sink<'_> {
    /// Notes an error.
    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.error_with(span, message, None);
    }

    /// Notes an error with what to do about it.
    pub(super) fn error_with(
        &mut self,
        span: Span,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.0.push(Diagnostic {
            level: Level::Error,
            span,
            message: message.into(),
            hint,
        });
    }
}

/// What a node is.
#[derive(Debug)]
pub(super) enum Read {
    /// `FROM`.
    From(From),
    /// Any other instruction.
    Instruction(Instruction),
}

/// Reads a node. `None` when it has an error, which the sink has then.
pub(super) fn read(node: &Node, sink: &mut Sink<'_>) -> Option<Read> {
    let name = node.name.text.to_ascii_uppercase();
    Some(Read::Instruction(match name.as_str() {
        "FROM" => return from(node, sink).map(Read::From),
        "ADD" => Instruction::Add(copy::add(node, sink)?),
        "ARG" => Instruction::Arg(arg(node, sink)?),
        "CMD" => Instruction::Cmd(command::plain_command(node, sink)?),
        "COPY" => Instruction::Copy(copy::copy(node, sink)?),
        "ENTRYPOINT" => Instruction::Entrypoint(command::plain_command(node, sink)?),
        "ENV" => Instruction::Env(pairs(node, "ENV", sink)?),
        "EXPOSE" => Instruction::Expose(expose(node, sink)?),
        "HEALTHCHECK" => Instruction::Healthcheck(command::healthcheck(node, sink)?),
        "LABEL" => Instruction::Label(pairs(node, "LABEL", sink)?),
        "MAINTAINER" => Instruction::Maintainer(single(node, "MAINTAINER", sink)?),
        "ONBUILD" => Instruction::Onbuild(onbuild(node, sink)?),
        "RUN" => Instruction::Run(command::run(node, sink)?),
        "SHELL" => Instruction::Shell(command::shell(node, sink)?),
        "STOPSIGNAL" => Instruction::Stopsignal(stopsignal(node, sink)?),
        "USER" => Instruction::User(single(node, "USER", sink)?),
        "VOLUME" => Instruction::Volume(volume(node, sink)?),
        "WORKDIR" => Instruction::Workdir(single(node, "WORKDIR", sink)?),
        _ => {
            unknown(&node.name, sink);
            return None;
        }
    }))
}

fn unknown(name: &Word, sink: &mut Sink<'_>) {
    let message = format!("unknown instruction: {}", name.text);
    let hint = suggest::closest(&name.text, &NAMES).map(|name| format!("did you mean {name}?"));
    sink.error_with(name.span, message, hint);
}

/// The flags of an instruction that has none.
const NO_FLAGS: Known = &[];

/// Notes the flags of an instruction that has none. True when there are none.
pub(super) fn has_no_flags(node: &Node, sink: &mut Sink<'_>) -> bool {
    flags::read(node, NO_FLAGS, sink).are_valid
}

/// The message for an instruction that stands alone.
pub(super) fn needs_one(name: &str) -> String {
    format!("{name} requires at least one argument")
}

/// The one argument of MAINTAINER, USER or WORKDIR.
fn single(node: &Node, name: &str, sink: &mut Sink<'_>) -> Option<Word> {
    let is_valid = has_no_flags(node, sink);
    let [word] = node.args.as_slice() else {
        sink.error(node.head, format!("{name} requires exactly one argument"));
        return None;
    };
    is_valid.then(|| word.clone())
}

fn stopsignal(node: &Node, sink: &mut Sink<'_>) -> Option<Word> {
    // BuildKit looks at the flags of neither STOPSIGNAL nor ARG.
    let word = node.args.first().cloned();
    if word.is_none() {
        sink.error(node.head, "STOPSIGNAL requires exactly one argument");
    }
    word
}

fn from(node: &Node, sink: &mut Sink<'_>) -> Option<From> {
    const FLAGS: Known = &[("platform", Kind::Text), ("after", Kind::List)];
    let flags = flags::read(node, FLAGS, sink);
    let (base, as_keyword, name) = match node.args.as_slice() {
        [base] => (base, None, None),
        [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => {
            (base, Some(keyword), Some(name))
        }
        args => {
            let span = args.get(1).map_or(node.head, |word| word.span);
            let hint = match args {
                [_, keyword, _] => Some(format!("write AS where `{}` stands", keyword.text)),
                _ => None,
            };
            sink.error_with(span, "FROM requires either one or three arguments", hint);
            return None;
        }
    };
    if let Some(word) = name.filter(|word| !is_stage_name(&word.text.to_lowercase())) {
        let quoted = super::quote(&word.text);
        sink.error(
            word.span,
            format!(
                "invalid name for build stage: {quoted}, name can't start with a number or contain symbols"
            ),
        );
        return None;
    }
    flags.are_valid.then(|| From {
        platform: flags.text("platform"),
        after: flags.list("after"),
        base: base.clone(),
        as_keyword: as_keyword.cloned(),
        name: name.map(|word| Word {
            text: word.text.to_lowercase(),
            span: word.span,
        }),
        written_name: name.map(|word| word.text.clone()),
    })
}

fn is_stage_name(name: &str) -> bool {
    let is_rest = |char: char| {
        char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '_' | '.')
    };
    name.starts_with(|char: char| char.is_ascii_lowercase()) && name.chars().all(is_rest)
}

/// The rest of a comment above that starts with the name it describes.
pub(super) fn description(comments: &[String], name: &str) -> Option<String> {
    let prefix = format!("{name} ");
    let comment = comments
        .iter()
        .find_map(|comment| comment.strip_prefix(&prefix))?;
    Some(comment.to_owned())
}

fn arg(node: &Node, sink: &mut Sink<'_>) -> Option<Vec<Arg>> {
    if node.args.is_empty() {
        sink.error(node.head, needs_one("ARG"));
        return None;
    }
    let mut args = Vec::with_capacity(node.args.len());
    for word in &node.args {
        let (name, default) = match word.text.split_once('=') {
            Some((name, default)) => (name, Some(default)),
            None => (word.text.as_str(), None),
        };
        if name.is_empty() {
            sink.error(word.span, "ARG names can not be blank");
            return None;
        }
        // A word over several lines has bytes between its parts.
        let is_joined = word.span.end - word.span.start != word.text.len();
        let place = |start: usize, end: usize| {
            if is_joined {
                word.span
            } else {
                Span::new(word.span.start + start, word.span.start + end)
            }
        };
        args.push(Arg {
            description: description(&node.comments, name),
            name: Word {
                text: name.to_owned(),
                span: place(0, name.len()),
            },
            default: default.map(|text| Word {
                text: text.to_owned(),
                span: place(name.len() + 1, word.text.len()),
            }),
        });
    }
    Some(args)
}

fn pairs(node: &Node, name: &str, sink: &mut Sink<'_>) -> Option<Vec<Pair>> {
    let is_valid = has_no_flags(node, sink);
    if node.args.is_empty() {
        sink.error(node.head, needs_one(name));
        return None;
    }
    let mut pairs = Vec::with_capacity(node.args.len() / 3);
    for words in node.args.chunks_exact(3) {
        if words[0].text.is_empty() {
            sink.error(words[0].span, format!("{name} names can not be blank"));
            return None;
        }
        pairs.push(Pair {
            key: words[0].clone(),
            value: words[1].clone(),
            legacy: words[2].text.is_empty(),
        });
    }
    is_valid.then_some(pairs)
}

fn expose(node: &Node, sink: &mut Sink<'_>) -> Option<Vec<Word>> {
    let is_valid = has_no_flags(node, sink);
    if node.args.is_empty() {
        sink.error(node.head, needs_one("EXPOSE"));
        return None;
    }
    let mut ports = node.args.clone();
    ports.sort_by(|a, b| a.text.cmp(&b.text));
    is_valid.then_some(ports)
}

fn volume(node: &Node, sink: &mut Sink<'_>) -> Option<Vec<Word>> {
    let mut is_valid = has_no_flags(node, sink);
    if node.args.is_empty() {
        sink.error(node.head, needs_one("VOLUME"));
        return None;
    }
    let mut volumes = Vec::with_capacity(node.args.len());
    for word in &node.args {
        let text = word.text.trim();
        if text.is_empty() {
            sink.error(word.span, "VOLUME specified can not be an empty string");
            is_valid = false;
        }
        volumes.push(Word {
            text: text.to_owned(),
            span: word.span,
        });
    }
    is_valid.then_some(volumes)
}

fn onbuild(node: &Node, sink: &mut Sink<'_>) -> Option<Onbuild> {
    let is_valid = has_no_flags(node, sink);
    let Some(child) = &node.child else {
        sink.error(node.head, needs_one("ONBUILD"));
        return None;
    };
    let name = child.name.text.trim().to_uppercase();
    let message = match name.as_str() {
        "ONBUILD" => "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned(),
        "MAINTAINER" | "FROM" => format!("{name} isn't allowed as an ONBUILD trigger"),
        _ => {
            let mut child = Node::clone(child);
            child.heredocs.clone_from(&node.heredocs);
            let Read::Instruction(instruction) = read(&child, sink)? else {
                return None;
            };
            return is_valid.then(|| Onbuild {
                trigger: trigger(node),
                instruction: Box::new(instruction),
            });
        }
    };
    sink.error(child.name.span, message);
    None
}

/// The text that the image keeps.
fn trigger(node: &Node) -> String {
    let text = node.text.trim_start();
    let text = text.get(node.name.text.len()..).unwrap_or_default();
    let mut trigger = text.trim_start().to_owned();
    for heredoc in &node.heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.raw);
        trigger.push_str(&heredoc.name);
    }
    trigger
}

#[cfg(test)]
#[path = "tests/typed.rs"]
mod tests;
