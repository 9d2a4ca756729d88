//! The build checks that need nothing but the file.
//!
//! Checks that need values of variables, a base image or the context are made
//! where those are known.
//!
//! Source: "Build checks" in the Dockerfile reference.

use std::collections::{HashMap, HashSet};

use super::expose::exposed_ports;
use super::instruction::{
    Arg, Command, Dockerfile, Form, From, Instruction, Located, Pair, Stage, Word,
};
use super::{CheckOptions, Diagnostic, Level, quote};

/// Runs the checks, as the `check` directive of the file wants them. One that
/// cannot be read counts as none: who runs the build refuses it.
pub fn lint(file: &Dockerfile) -> Vec<Diagnostic> {
    let directive = file.check.as_ref().map_or("", |check| check.value.as_str());
    let options = CheckOptions::read(directive).unwrap_or_default();
    lint_with(file, &options)
}

/// Runs the checks that the options want. Comments above an instruction may
/// add to them.
pub fn lint_with(file: &Dockerfile, options: &CheckOptions) -> Vec<Diagnostic> {
    let mut lint = Lint {
        options,
        found: Vec::new(),
    };
    for args in &file.global_args {
        lint.descriptions(args, "ARG", &names(&args.value));
    }
    for stage in &file.stages {
        lint.from(&stage.from);
        for instruction in &stage.instructions {
            lint.instruction(instruction);
        }
    }
    lint.stage_names(&file.stages);
    lint.casing(&file.stages);
    let mut shells = HashMap::new();
    for stage in &file.stages {
        lint.commands(stage, &mut shells);
    }
    lint.found.sort_by_key(|found| found.span.start);
    lint.found
}

fn names(args: &[Arg]) -> Vec<&str> {
    args.iter().map(|arg| arg.name.text.as_str()).collect()
}

struct Lint<'f> {
    options: &'f CheckOptions,
    found: Vec<Diagnostic>,
}

impl Lint<'_> {
    fn add<T>(&mut self, rule: &'static str, place: &Located<T>, message: String) {
        if self.options.wants(rule) {
            self.found.push(Diagnostic {
                level: Level::Warning(rule),
                span: place.span,
                message,
                hint: None,
            });
        }
    }

    /// As [`Self::add`], where the comments above have a say.
    fn add_here<T>(&mut self, rule: &'static str, place: &Located<T>, message: String) {
        let wants = if place.comments.is_empty() {
            self.options.wants(rule)
        } else {
            self.options.with_comments(&place.comments).wants(rule)
        };
        if wants {
            self.found.push(Diagnostic {
                level: Level::Warning(rule),
                span: place.span,
                message,
                hint: None,
            });
        }
    }

    fn from(&mut self, from: &Located<From>) {
        let Some(name) = &from.value.name else {
            return;
        };
        if let Some(written) = from
            .value
            .written_name
            .as_ref()
            .filter(|w| **w != name.text)
        {
            let message = format!("Stage name '{written}' should be lowercase");
            self.add_here("StageNameCasing", from, message);
        }
        if let Some(keyword) = &from.value.as_keyword {
            let (from_text, as_text) = (&from.name, &keyword.text);
            // A name in mixed case is the business of another rule.
            let odd = match Casing::of(from_text) {
                Some(Casing::Lower) => *as_text != as_text.to_lowercase(),
                Some(Casing::Upper) => *as_text != as_text.to_uppercase(),
                None => false,
            };
            if odd {
                let message =
                    format!("'{as_text}' and '{from_text}' keywords' casing do not match");
                self.add_here("FromAsCasing", from, message);
            }
        }
        self.descriptions(from, "FROM", &[&name.text]);
    }

    fn descriptions<T>(&mut self, place: &Located<T>, instruction: &str, names: &[&str]) {
        let Some(comment) = place.comments.last() else {
            return;
        };
        let first = comment.split(' ').next().unwrap_or_default();
        if names.contains(&first) {
            return;
        }
        let example = match names {
            [name] => name,
            _ => "<arg_key>",
        };
        let message = format!(
            "Comment for {instruction} should follow the format: `# {example} <description>`"
        );
        self.add_here("InvalidDefinitionDescription", place, message);
    }

    fn instruction(&mut self, place: &Located<Instruction>) {
        match &place.value {
            Instruction::Maintainer(_) => self.add_here(
                "MaintainerDeprecated",
                place,
                "Maintainer instruction is deprecated in favor of using label".to_owned(),
            ),
            Instruction::Arg(args) => {
                let names = names(args);
                self.descriptions(place, "ARG", &names);
                for name in names {
                    self.secret(place, "ARG", name);
                }
            }
            Instruction::Env(pairs) => {
                self.pairs(place, pairs);
                for pair in pairs {
                    self.secret(place, "ENV", &pair.key.text);
                }
            }
            Instruction::Label(pairs) => self.pairs(place, pairs),
            Instruction::Expose(words) => self.ports(place, words),
            _ => {}
        }
    }

    fn pairs(&mut self, place: &Located<Instruction>, pairs: &[Pair]) {
        for _ in pairs.iter().filter(|pair| pair.legacy) {
            let name = &place.name;
            let message = format!(
                "\"{name} key=value\" should be used instead of legacy \"{name} key value\" format"
            );
            self.add_here("LegacyKeyValueFormat", place, message);
        }
    }

    fn secret(&mut self, place: &Located<Instruction>, instruction: &str, key: &str) {
        if is_secret(key) {
            let key = quote(key);
            let message = format!(
                "Do not use ARG or ENV instructions for sensitive data ({instruction} {key})"
            );
            self.add_here("SecretsUsedInArgOrEnv", place, message);
        }
    }

    fn ports(&mut self, place: &Located<Instruction>, words: &[Word]) {
        for word in words {
            // A word with variables is not a port yet.
            let Ok(ports) = exposed_ports(&word.text) else {
                continue;
            };
            let text = &word.text;
            if ports.has_odd_case {
                let message =
                    format!("Defined protocol '{text}' in EXPOSE instruction should be lowercase");
                self.add_here("ExposeProtoCasing", place, message);
            }
            if ports.has_host {
                let message = format!(
                    "EXPOSE instruction should not define an IP address or host-port mapping, \
                     found '{text}'"
                );
                self.add_here("ExposeInvalidFormat", place, message);
            }
        }
    }

    fn stage_names(&mut self, stages: &[Stage]) {
        let mut seen = HashSet::new();
        for from in stages.iter().map(|stage| &stage.from) {
            let Some(name) = &from.value.name else {
                continue;
            };
            let quoted = quote(&name.text);
            if matches!(name.text.as_str(), "scratch" | "context") {
                let message =
                    format!("Stage name should not use the same name as reserved stage {quoted}");
                self.add("ReservedStageName", from, message);
            }
            if !seen.insert(&name.text) {
                let message =
                    format!("Duplicate stage name {quoted}, stage names should be unique");
                self.add("DuplicateStageName", from, message);
            }
        }
    }

    /// Instructions written in the other letter case than most.
    fn casing(&mut self, stages: &[Stage]) {
        let instructions = stages.iter().flat_map(|stage| &stage.instructions);
        let names = || {
            let from = stages.iter().map(|stage| &stage.from.name);
            from.chain(instructions.clone().map(|place| &place.name))
        };
        let count = |casing| {
            names()
                .filter(|name| Casing::of(name) == Some(casing))
                .count()
        };
        let is_lower = count(Casing::Lower) > count(Casing::Upper);
        let odd = |name: &str| {
            let (majority, fixed) = if is_lower {
                ("lowercase", name.to_lowercase())
            } else {
                ("uppercase", name.to_uppercase())
            };
            (fixed != name).then(|| {
                format!(
                    "Command '{name}' should match the case of the command majority ({majority})"
                )
            })
        };
        for stage in stages {
            if let Some(message) = odd(&stage.from.name) {
                self.add("ConsistentInstructionCasing", &stage.from, message);
            }
            for place in &stage.instructions {
                if let Some(message) = odd(&place.name) {
                    self.add("ConsistentInstructionCasing", place, message);
                }
            }
        }
    }

    /// Commands: their form, and whether there is more than one of a kind.
    /// `shells` knows of each stage read so far whether it sets a shell.
    fn commands<'s>(&mut self, stage: &'s Stage, shells: &mut HashMap<&'s str, bool>) {
        let base = stage.from.value.base.text.to_lowercase();
        let mut has_shell = shells.get(base.as_str()).copied().unwrap_or(false);
        let (mut cmd, mut entrypoint, mut healthcheck) = (None, None, None);
        for place in &stage.instructions {
            match &place.value {
                Instruction::Shell(_) => has_shell = true,
                Instruction::Cmd(command) => {
                    self.only_once(place, &mut cmd);
                    self.form(place, command, has_shell);
                }
                Instruction::Entrypoint(command) => {
                    self.only_once(place, &mut entrypoint);
                    self.form(place, command, has_shell);
                }
                Instruction::Healthcheck(_) => self.only_once(place, &mut healthcheck),
                _ => {}
            }
        }
        if let Some(name) = &stage.from.value.name {
            shells.insert(&name.text, has_shell);
        }
    }

    fn form(&mut self, place: &Located<Instruction>, command: &Command, has_shell: bool) {
        if matches!(command.form, Form::Shell(_)) && !has_shell {
            let message = format!(
                "JSON arguments recommended for {} to prevent unintended behavior related to OS \
                 signals",
                place.name
            );
            self.add_here("JSONArgsRecommended", place, message);
        }
    }

    fn only_once<'s>(
        &mut self,
        place: &'s Located<Instruction>,
        last: &mut Option<&'s Located<Instruction>>,
    ) {
        // The warning is for the one that does not count; the comments that
        // count are those of the one that does.
        if let Some(ignored) = last.replace(place) {
            let rule = "MultipleInstructionsDisallowed";
            if self.options.with_comments(&place.comments).wants(rule) {
                self.found.push(Diagnostic {
                    level: Level::Warning(rule),
                    span: ignored.span,
                    message: format!(
                        "Multiple {} instructions should not be used in the same stage because \
                         only the last one will be used",
                        place.name
                    ),
                    hint: None,
                });
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Casing {
    Lower,
    Upper,
}

impl Casing {
    fn of(name: &str) -> Option<Self> {
        if name == name.to_lowercase() {
            Some(Self::Lower)
        } else if name == name.to_uppercase() {
            Some(Self::Upper)
        } else {
            None
        }
    }
}

/// Whether a variable's name says that its value is a secret.
fn is_secret(key: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const PUBLIC: [&str; 3] = ["public", "file", "version"];
    let has = |words: &[&str]| {
        key.split('_')
            .any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
    };
    has(&SECRET) && !has(&PUBLIC)
}

#[cfg(test)]
#[path = "tests/lint.rs"]
mod tests;
