//! Both levels together: text to a file of stages.

use super::instruction::{Dockerfile, Instruction, Located, Stage};
use super::node::{self, Node};
use super::typed::{self, Read, Sink, description};
use super::{Diagnostic, Level, Parsed, Span, directives};

/// Parses a Dockerfile. Never fails: what could be read is in the tree, what
/// is wrong in the diagnostics.
///
/// The diagnostics are all errors, and the warning `NoEmptyContinuation`; see
/// [`lint`](super::lint()) for the others. BuildKit shows an error as
/// `dockerfile parse error on line N: <message>`.
pub fn parse(text: &str) -> Parsed {
    let tree = node::read(text);
    let mut diagnostics = tree.diagnostics;
    let mut file = Dockerfile {
        escape: tree.escape,
        syntax: directives::find_syntax(text),
        check: directives::find(text, "check"),
        ..Dockerfile::default()
    };
    // Instructions that belong to no stage are read for their errors only.
    let mut place = Place::Head;
    for node in &tree.nodes {
        if diagnostics.len() >= node::MAX_DIAGNOSTICS {
            break;
        }
        let read = if node.is_broken {
            None
        } else {
            typed::read(node, &mut Sink(&mut diagnostics))
        };
        place = add(&mut file, node, read, place, &mut diagnostics);
    }
    let is_sound = |diagnostic: &Diagnostic| diagnostic.level != Level::Error;
    if file.stages.is_empty() && diagnostics.iter().all(is_sound) {
        let end = text.trim_end().len();
        let mut sink = Sink(&mut diagnostics);
        sink.error(
            Span::new(end, end),
            "dockerfile contains no stages to build",
        );
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    Parsed {
        dockerfile: file,
        diagnostics,
    }
}

/// Where in a file the next instruction stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Before the first stage.
    Head,
    /// In the last stage of the list.
    Stage,
    /// Nowhere: behind something that may have been meant as a `FROM`, or
    /// behind an instruction that should have had one.
    Lost,
}

fn add(
    file: &mut Dockerfile,
    node: &Node,
    read: Option<Read>,
    place: Place,
    diagnostics: &mut Vec<Diagnostic>,
) -> Place {
    match read {
        None => {
            let name = node.name.text.to_ascii_uppercase();
            let may_be_from =
                name == "FROM" || (place == Place::Head && !typed::NAMES.contains(&name.as_str()));
            if may_be_from { Place::Lost } else { place }
        }
        Some(Read::From(from)) => {
            let name = from.name.as_ref().map(|name| name.text.as_str());
            let description = name.and_then(|name| description(&node.comments, name));
            file.stages.push(Stage {
                description,
                from: located(node, from),
                instructions: Vec::new(),
            });
            Place::Stage
        }
        Some(Read::Instruction(instruction)) => match (place, instruction) {
            (Place::Head, Instruction::Arg(args)) => {
                file.global_args.push(located(node, args));
                Place::Head
            }
            (Place::Head, _) => {
                Sink(diagnostics).error_with(
                    node.head,
                    "no build stage in current context",
                    Some("begin with FROM; only ARG may stand before it".to_owned()),
                );
                Place::Lost
            }
            (Place::Stage, instruction) => {
                if let Some(stage) = file.stages.last_mut() {
                    stage.instructions.push(located(node, instruction));
                }
                Place::Stage
            }
            (Place::Lost, _) => Place::Lost,
        },
    }
}

fn located<T>(node: &Node, value: T) -> Located<T> {
    let text = node.text.trim();
    let (name, rest) = text.split_at(node.name.text.len().min(text.len()));
    Located {
        span: node.span,
        text: format!("{}{rest}", name.to_uppercase()),
        name: node.name.text.clone(),
        comments: node.comments.clone(),
        value,
    }
}

/// Parses the instruction that an `ONBUILD` of a base image carries, such as
/// `RUN make`; heredocs may follow on further lines. `escape` is `\`.
///
/// # Errors
/// When it is no instruction, more than one, or one that has errors.
pub fn parse_trigger(text: &str) -> Result<Located<Instruction>, Vec<Diagnostic>> {
    let tree = node::read(text);
    let mut errors = tree.diagnostics;
    errors.retain(|diagnostic| diagnostic.level == Level::Error);
    let mut sink = Sink(&mut errors);
    let mut trigger = None;
    for (index, node) in tree.nodes.iter().enumerate() {
        if index > 0 {
            sink.error(node.head, "onbuild trigger should be a single expression");
            break;
        }
        if node.is_broken {
            continue;
        }
        match typed::read(node, &mut sink) {
            Some(Read::Instruction(instruction)) => trigger = Some(located(node, instruction)),
            Some(Read::From(_)) => {
                sink.error(node.head, "FROM isn't allowed as an ONBUILD trigger");
            }
            None => {}
        }
    }
    match trigger {
        Some(trigger) if errors.is_empty() => Ok(trigger),
        _ => Err(errors),
    }
}
