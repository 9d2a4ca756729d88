//! COPY and ADD.

use std::collections::HashMap;

use super::flags::{self, Flags, Kind, Known};
use super::heredoc;
use super::instruction::{Add, Copy, CopyFlags, Heredoc};
use super::node::Node;
use super::typed::Sink;
use super::{Span, Word};

/// Reads COPY.
pub(super) fn copy(node: &Node, sink: &mut Sink<'_>) -> Option<Copy> {
    const FLAGS: Known = &[
        ("chown", Kind::Text),
        ("from", Kind::Text),
        ("chmod", Kind::Text),
        ("link", Kind::Switch),
        ("exclude", Kind::List),
        ("parents", Kind::Switch),
    ];
    let flags = flags::read(node, FLAGS, sink);
    let from = flags.text("from");
    let mut is_valid = flags.are_valid;
    if let Some(word) = from.as_ref().filter(|word| has_variable(&word.text)) {
        is_valid = false;
        sink.error(
            word.span,
            "variable expansion is not supported for --from, define a new stage with FROM using \
             ARG from global scope as a workaround",
        );
    }
    let paths = paths(node, "COPY", sink)?;
    is_valid.then(|| Copy {
        from,
        flags: shared(&flags),
        parents: flags.switch("parents"),
        sources: paths.sources,
        heredocs: paths.heredocs,
        destination: paths.destination,
    })
}

/// Reads ADD.
pub(super) fn add(node: &Node, sink: &mut Sink<'_>) -> Option<Add> {
    const FLAGS: Known = &[
        ("chown", Kind::Text),
        ("chmod", Kind::Text),
        ("link", Kind::Switch),
        ("keep-git-dir", Kind::Switch),
        ("checksum", Kind::Text),
        ("unpack", Kind::Switch),
        ("exclude", Kind::List),
    ];
    let flags = flags::read(node, FLAGS, sink);
    let paths = paths(node, "ADD", sink)?;
    flags.are_valid.then(|| Add {
        flags: shared(&flags),
        checksum: flags.text("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
        sources: paths.sources,
        heredocs: paths.heredocs,
        destination: paths.destination,
    })
}

fn shared(flags: &Flags) -> CopyFlags {
    CopyFlags {
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.switch("link"),
        exclude: flags.list("exclude"),
    }
}

/// Whether expansion would change a word; a `$` that names nothing would stay.
fn has_variable(text: &str) -> bool {
    struct Empty;
    impl super::Scope for Empty {
        fn get(&self, _: &str) -> Option<String> {
            None
        }
    }
    super::expand(text, '\\', &Empty).map_or(true, |expanded| expanded.text != text)
}

struct Paths {
    sources: Vec<Word>,
    heredocs: Vec<Heredoc>,
    destination: Word,
}

fn paths(node: &Node, name: &str, sink: &mut Sink<'_>) -> Option<Paths> {
    let Some((destination, sources)) = node.args.split_last().filter(|(_, rest)| !rest.is_empty())
    else {
        let span = node.args.first().map_or(node.head, |word| word.span);
        sink.error(
            span,
            format!(
                "{name} requires at least two arguments, but only one was provided. Destination \
                 could not be determined"
            ),
        );
        return None;
    };
    let opening = |word: &Word| heredoc::opening(&word.text).ok().flatten();
    if opening(destination).is_some() {
        let message = format!("{name} cannot accept a heredoc as a destination");
        sink.error(destination.span, message);
        return None;
    }
    // Where two heredocs have one name, both sources are the last of them.
    let bodies: HashMap<_, _> = node
        .heredocs
        .iter()
        .map(|heredoc| (heredoc.name.as_str(), heredoc))
        .collect();
    let mut paths = Paths {
        sources: Vec::new(),
        heredocs: Vec::new(),
        destination: destination.clone(),
    };
    for word in sources {
        let Some(opening) = opening(word) else {
            paths.sources.push(word.clone());
            continue;
        };
        let body = bodies.get(opening.name.as_str());
        paths.heredocs.push(Heredoc {
            content: body.map(|body| body.content.clone()).unwrap_or_default(),
            raw: body.map(|body| body.raw.clone()).unwrap_or_default(),
            span: body.map_or(Span::new(word.span.end, word.span.end), |body| body.span),
            name: opening.name,
            expand: opening.expand,
            chomp: opening.chomp,
            fd: opening.fd,
        });
    }
    Some(paths)
}
