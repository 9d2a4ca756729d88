//! The instructions that hold a command: RUN, CMD, ENTRYPOINT, SHELL and
//! HEALTHCHECK.

use super::flags::{self, Kind, Known};
use super::instruction::{Command, Form, Healthcheck, Run, RunFlags};
use super::node::Node;
use super::typed::{Sink, has_no_flags, needs_one};
use super::{Span, Word, go, mount};

/// Reads CMD or ENTRYPOINT.
pub(super) fn plain_command(node: &Node, sink: &mut Sink<'_>) -> Option<Command> {
    has_no_flags(node, sink).then(|| command(node, 0))
}

/// Reads SHELL.
pub(super) fn shell(node: &Node, sink: &mut Sink<'_>) -> Option<Vec<String>> {
    let is_valid = has_no_flags(node, sink);
    match command(node, 0).form {
        _ if node.args.is_empty() => sink.error(node.head, needs_one("SHELL")),
        Form::Exec(words) => return is_valid.then_some(words),
        Form::Shell(_) => sink.error_with(
            command(node, 0).span,
            "SHELL requires the arguments to be in JSON form",
            Some("write SHELL [\"/bin/sh\", \"-c\"], with double quotes".to_owned()),
        ),
    }
    None
}

/// Reads RUN.
pub(super) fn run(node: &Node, sink: &mut Sink<'_>) -> Option<Run> {
    const FLAGS: Known = &[
        ("mount", Kind::List),
        ("network", Kind::Text),
        ("security", Kind::Text),
        ("device", Kind::List),
    ];
    let flags = flags::read(node, FLAGS, sink);
    let mut is_valid = flags.are_valid;
    let mut check = |word: &Word, result: Result<(), String>| {
        if let Err(message) = result {
            is_valid = false;
            sink.error(word.span, message);
        }
    };
    let mounts = flags.list("mount");
    for word in &mounts {
        check(word, mount::check_unexpanded(&word.text));
    }
    let devices = flags.list("device");
    for word in &devices {
        check(word, mount::device_request(&word.text).map(|_| ()));
    }
    let network = flags.any_text("network");
    if let Some(word) = &network {
        let is_known = matches!(word.text.as_str(), "default" | "none" | "host");
        let message = || format!("invalid network mode {}", super::quote(&word.text));
        check(word, is_known.then_some(()).ok_or_else(message));
    }
    let security = flags.any_text("security");
    if let Some(word) = &security {
        let is_known = matches!(word.text.as_str(), "sandbox" | "insecure");
        let message = || format!("security {} is not valid", super::quote(&word.text));
        check(word, is_known.then_some(()).ok_or_else(message));
    }
    is_valid.then(|| Run {
        flags: RunFlags {
            mounts,
            network,
            security,
            devices,
        },
        command: command(node, 0),
        heredocs: node.heredocs.clone(),
    })
}

/// Reads HEALTHCHECK.
pub(super) fn healthcheck(node: &Node, sink: &mut Sink<'_>) -> Option<Healthcheck> {
    const FLAGS: Known = &[
        ("interval", Kind::Text),
        ("timeout", Kind::Text),
        ("start-period", Kind::Text),
        ("start-interval", Kind::Text),
        ("retries", Kind::Text),
    ];
    let Some(kind) = node.args.first() else {
        sink.error(node.head, needs_one("HEALTHCHECK"));
        return None;
    };
    let name = kind.text.to_uppercase();
    if name == "NONE" {
        if let Some(word) = node.args.get(1) {
            sink.error(word.span, "HEALTHCHECK NONE takes no arguments");
            return None;
        }
        return Some(Healthcheck::None);
    }
    let flags = flags::read(node, FLAGS, sink);
    if name != "CMD" {
        let quoted = super::quote(&name);
        let message = format!("Unknown type {quoted} in HEALTHCHECK (try CMD)");
        sink.error(kind.span, message);
        return None;
    }
    let mut is_valid = flags.are_valid;
    if node.args.len() == 1 {
        sink.error(kind.span, "Missing command after HEALTHCHECK CMD");
        is_valid = false;
    }
    let mut number = |name: &str, read: fn(&str, &str) -> Result<i64, String>| {
        let word = flags.text(name)?;
        read(name, &word.text)
            .map_err(|message| {
                is_valid = false;
                sink.error(word.span, message);
            })
            .ok()
    };
    let interval = number("interval", duration).unwrap_or(0);
    let timeout = number("timeout", duration).unwrap_or(0);
    let start_period = number("start-period", duration).unwrap_or(0);
    let start_interval = number("start-interval", duration).unwrap_or(0);
    let retries = number("retries", retries).unwrap_or(0);
    is_valid.then(|| Healthcheck::Cmd {
        interval,
        timeout,
        start_period,
        start_interval,
        retries,
        command: command(node, 1),
    })
}

fn duration(name: &str, text: &str) -> Result<i64, String> {
    const MIN: i64 = 1_000_000;
    let duration = go::duration(text)?;
    if duration != 0 && duration < MIN {
        let name = super::quote(name);
        return Err(format!("Interval {name} cannot be less than 1ms"));
    }
    Ok(duration)
}

fn retries(_: &str, text: &str) -> Result<i64, String> {
    let retries = go::integer(text)?;
    if retries < 0 {
        return Err(format!("--retries cannot be negative ({retries})"));
    }
    Ok(retries.into())
}

/// The command in the words from `first` on.
fn command(node: &Node, first: usize) -> Command {
    let words = node.args.get(first..).unwrap_or_default();
    let span = match (words.first(), words.last()) {
        (Some(first), Some(last)) => Span::new(first.span.start, last.span.end),
        _ => Span::new(node.head.end, node.head.end),
    };
    let texts = words.iter().map(|word| word.text.clone());
    Command {
        form: if node.json {
            Form::Exec(texts.collect())
        } else {
            Form::Shell(texts.collect::<Vec<_>>().join(" "))
        },
        span,
    }
}
