//! Build checks that look at what an instruction means where it stands: with
//! its variables, its base and its context.
//!
//! They are made while the plan is, so a build and `--check` say the same.
//!
//! Source: "Build checks" in the Dockerfile reference.

mod from;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::Path;

use super::stage::StageState;
use crate::context::Patterns;
use crate::dockerfile::{
    CheckOptions, Command, Diagnostic, ExposedPorts, Form, Instruction, Level, Located, Pair, Span,
    closest_exact, git_reference, is_secret_name, quote,
};

/// The checks of one plan: which are wanted, and what they have found.
#[derive(Debug)]
pub(in crate::build) struct Checks<'a> {
    /// The choice of rules for the whole file.
    options: &'a CheckOptions,
    /// What the ignore file leaves out of the context.
    ignored: &'a Patterns,
    /// Where the plan is, with the choice of rules there.
    here: RefCell<Here>,
    found: RefCell<Vec<Diagnostic>>,
}

/// An instruction while it is planned.
#[derive(Debug, Clone, Default)]
pub(super) struct Here {
    span: Span,
    /// The choice of rules where comments change it.
    options: Option<CheckOptions>,
    /// Variables that were asked for and not set: the word, the name, a name
    /// that may have been meant.
    unset: Vec<(Span, String, Option<String>)>,
}

/// What the checks remember of a stage.
#[derive(Debug, Clone, Default)]
pub(super) struct StageChecks {
    /// A working directory was set in this file.
    has_workdir: bool,
    /// The base image is not known, so nothing is said of its variables.
    pub(super) is_base_unknown: bool,
    /// The last CMD, ENTRYPOINT and HEALTHCHECK of this very stage.
    last: [Option<Span>; 3],
}

impl StageChecks {
    /// What a stage takes over from the one that it is built from.
    pub(super) fn inherited(&self) -> Self {
        Self {
            last: [None; 3],
            ..self.clone()
        }
    }
}

impl<'a> Checks<'a> {
    /// Checks of a plan that was not begun yet.
    pub(in crate::build) fn new(options: &'a CheckOptions, ignored: &'a Patterns) -> Self {
        Self {
            options,
            ignored,
            here: RefCell::default(),
            found: RefCell::default(),
        }
    }

    /// What was found so far, in the order of the text.
    pub(in crate::build) fn found(&self) -> Vec<Diagnostic> {
        let mut found = self.found.borrow().clone();
        found.sort_by_key(|found| found.span.start);
        found
    }

    /// Goes to an instruction; returns the one that the plan was at.
    pub(super) fn enter<T>(&self, place: &Located<T>, span: Span) -> Here {
        let has_say = !place.comments.is_empty();
        self.here.replace(Here {
            span,
            options: has_say.then(|| self.options.with_comments(&place.comments)),
            unset: Vec::new(),
        })
    }

    /// Leaves the instruction for the one that the plan was at before.
    pub(super) fn leave(&self, before: Here) {
        self.here.replace(before);
    }

    /// Adds what a rule has found at the instruction.
    pub(super) fn add(&self, rule: &'static str, message: String) {
        let span = self.here.borrow().span;
        self.add_at(rule, span, message);
    }

    fn add_at(&self, rule: &'static str, span: Span, message: String) {
        let here = self.here.borrow();
        if here.options.as_ref().unwrap_or(self.options).wants(rule) {
            self.push(rule, span, message);
        }
    }

    /// As [`Self::add`], for a rule that the comments above have no say in.
    pub(super) fn add_globally(&self, rule: &'static str, message: String) {
        if self.options.wants(rule) {
            let span = self.here.borrow().span;
            self.push(rule, span, message);
        }
    }

    fn push(&self, rule: &'static str, span: Span, message: String) {
        self.found.borrow_mut().push(Diagnostic {
            level: Level::Warning(rule),
            span,
            message,
            hint: None,
        });
    }

    /// Notes the variables of a word that are not set. A word that is expanded
    /// again is counted once.
    pub(super) fn unset<'n>(&self, word: Span, names: &[String], known: impl Fn() -> Vec<&'n str>) {
        if names.is_empty() {
            return;
        }
        let known = known();
        let mut here = self.here.borrow_mut();
        for name in names {
            let is_noted = |(span, noted, _): &(Span, String, _)| *span == word && noted == name;
            if !here.unset.iter().any(is_noted) {
                let meant = closest_exact(name, &known);
                here.unset.push((word, name.clone(), meant));
            }
        }
    }

    /// Reports the variables noted so far, those left out that are declared.
    pub(super) fn report_unset(&self, stage: &StageState) {
        let unset = std::mem::take(&mut self.here.borrow_mut().unset);
        if stage.checks.is_base_unknown {
            return;
        }
        for (_, name, meant) in unset {
            let is_declared = stage.args.iter().any(|(own, _)| *own == name);
            if is_declared || NOT_VARIABLES.contains(&name.as_str()) {
                continue;
            }
            let meant = meant.map_or_else(String::new, |name| format!(" (did you mean ${name}?)"));
            let message = format!("Usage of undefined variable '${name}'{meant}");
            self.add("UndefinedVar", message);
        }
    }

    /// ENV and LABEL without `=`.
    pub(super) fn pairs(&self, name: &str, pairs: &[Pair]) {
        for _ in pairs.iter().filter(|pair| pair.legacy) {
            let message = format!(
                "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
            );
            self.add("LegacyKeyValueFormat", message);
        }
    }

    /// A key of ENV or ARG.
    pub(super) fn secret(&self, instruction: &str, key: &str) {
        if is_secret_name(key) {
            let key = quote(key);
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {key})"
            );
            self.add("SecretsUsedInArgOrEnv", message);
        }
    }

    /// A word of EXPOSE, variables replaced.
    pub(super) fn port(&self, text: &str, ports: &ExposedPorts) {
        if ports.has_odd_case {
            let message =
                format!("Defined protocol '{text}' in EXPOSE instruction should be lowercase");
            self.add("ExposeProtoCasing", message);
        }
        if ports.has_host {
            let message = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found \
                 '{text}'"
            );
            self.add("ExposeInvalidFormat", message);
        }
    }

    /// CMD, ENTRYPOINT and HEALTHCHECK: only the last of a stage counts, and the
    /// first two should not depend on a shell that nobody chose.
    pub(super) fn command(&self, stage: &mut StageState, place: &Located<Instruction>) {
        let (kind, command) = match &place.value {
            Instruction::Cmd(command) => (0, Some(command)),
            Instruction::Entrypoint(command) => (1, Some(command)),
            Instruction::Healthcheck(_) => (2, None),
            _ => return,
        };
        let name = &place.name;
        let span = self.here.borrow().span;
        if let Some(ignored) = stage.checks.last[kind].replace(span) {
            let message = format!(
                "Multiple {name} instructions should not be used in the same stage because only \
                 the last one will be used"
            );
            self.add_at("MultipleInstructionsDisallowed", ignored, message);
        }
        let is_shell = |command: &Command| matches!(command.form, Form::Shell(_));
        if command.is_some_and(is_shell) && stage.config.config.shell.is_empty() {
            let message = format!(
                "JSON arguments recommended for {name} to prevent unintended behavior related to \
                 OS signals"
            );
            self.add("JSONArgsRecommended", message);
        }
    }

    /// WORKDIR, variables replaced: the first of a file should be absolute.
    pub(super) fn workdir(&self, stage: &mut StageState, path: &str) {
        if !stage.checks.has_workdir && !path.starts_with('/') {
            let message = format!(
                "Relative workdir {} can have unexpected results if the base image changes",
                quote(path)
            );
            self.add("WorkdirRelativePath", message);
        }
        stage.checks.has_workdir = true;
    }

    /// A source of COPY or ADD in the main context, variables replaced. `verb`
    /// is `Copy` or `Add`.
    pub(super) fn source(&self, verb: &str, text: &str) {
        // Where `!` brings something back, what is left out is not known without
        // looking at the files.
        if self.ignored.is_empty() || self.ignored.has_exclusions() || is_remote(text) {
            return;
        }
        let path = cleaned(text);
        let is_ignored = match path.as_str() {
            "." | "/" => self.ignored.leaves_out_everything(&path),
            _ => self.ignored.matches(Path::new(&path)),
        };
        if is_ignored {
            let message = format!(
                "Attempting to {verb} file {} that is excluded by .dockerignore",
                quote(&path)
            );
            self.add("CopyIgnoredFile", message);
        }
    }
}

/// Names that configure the builder, and are never set.
const NOT_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

fn is_remote(text: &str) -> bool {
    text.starts_with("http://")
        || text.starts_with("https://")
        || git_reference(text)
            .is_ok_and(|found| found.is_some_and(|git| !git.indistinguishable_from_local))
}

/// The shortest path that means the same.
fn cleaned(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if is_absolute && parts.is_empty() => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    match (is_absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}
