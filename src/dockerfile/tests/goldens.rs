//! Dockerfiles in `testdata/dockerfile/<case>` with what they parse to.
//!
//! `tree.txt` has the nodes, then the stages with their instructions, then the
//! diagnostics. `RBUILD_BLESS=1` rewrites it.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::super::dump::dump;
use super::super::{Diagnostic, Heredoc, Instruction, Level, lint, node, parse};

#[test]
fn files_parse_to_their_trees() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/dockerfile"));
    #[allow(
        clippy::disallowed_methods,
        reason = "a switch of the tests, which have no main"
    )]
    let is_blessing = std::env::var_os("RBUILD_BLESS").is_some();
    let mut count = 0;
    for entry in fs::read_dir(root).unwrap() {
        let case = entry.unwrap().path();
        let text = fs::read_to_string(case.join("Dockerfile")).unwrap();
        let got = render(&text);
        let golden = case.join("tree.txt");
        if is_blessing {
            fs::write(&golden, &got).unwrap();
        }
        let want = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(got, want, "{}", case.display());
        count += 1;
    }
    assert!(count > 10, "the goldens are missing");
}

fn render(text: &str) -> String {
    let parsed = parse(text);
    let file = &parsed.dockerfile;
    let mut out = dump(&node::read(text).nodes);
    let mut line = |text: String| writeln!(out, "{text}").unwrap();
    line("--".to_owned());
    for (name, value) in [("syntax", &file.syntax), ("check", &file.check)] {
        if let Some(value) = value {
            line(format!("{name} {:?}", value.value));
        }
    }
    if let Some(escape) = file.escape {
        line(format!("escape {escape:?}"));
    }
    for args in &file.global_args {
        line(format!("{}: global {}", args.span.line(text), args.text));
    }
    for stage in &file.stages {
        let name = stage
            .from
            .value
            .name
            .as_ref()
            .map(|name| name.text.as_str());
        line(format!(
            "{}: stage {} from {:?}",
            stage.from.span.line(text),
            name.unwrap_or("-"),
            stage.from.value.base.text,
        ));
        if let Some(description) = &stage.description {
            line(format!("  # {description}"));
        }
        for place in &stage.instructions {
            line(format!("{}: {:?}", place.span.line(text), place.text));
            for part in parts(&place.value) {
                line(format!("  {part}"));
            }
        }
    }
    line("--".to_owned());
    let found = lint(file);
    for diagnostic in parsed.diagnostics.iter().chain(&found) {
        line(show(diagnostic, text));
    }
    out
}

/// What the text of an instruction does not show.
fn parts(instruction: &Instruction) -> Vec<String> {
    let heredocs = match instruction {
        Instruction::Run(run) => &run.heredocs,
        Instruction::Copy(copy) => &copy.heredocs,
        Instruction::Add(add) => &add.heredocs,
        Instruction::Onbuild(onbuild) => return vec![format!("trigger {:?}", onbuild.trigger)],
        Instruction::Healthcheck(healthcheck) => return vec![format!("{healthcheck:?}")],
        _ => return Vec::new(),
    };
    let show = |heredoc: &Heredoc| {
        let kind = if heredoc.expand {
            "expanded"
        } else {
            "literal"
        };
        format!(
            "heredoc {:?} {} {kind} {:?}",
            heredoc.name, heredoc.fd, heredoc.content
        )
    };
    heredocs.iter().map(show).collect()
}

fn show(diagnostic: &Diagnostic, text: &str) -> String {
    let span = diagnostic.span;
    let level = match diagnostic.level {
        Level::Error => "error",
        Level::Warning(rule) => rule,
    };
    let hint = diagnostic.hint.as_ref().map(|hint| format!(" ({hint})"));
    format!(
        "{}: {level}: {}{} at {:?}",
        span.line(text),
        diagnostic.message,
        hint.unwrap_or_default(),
        &text[span.start..span.end],
    )
}
