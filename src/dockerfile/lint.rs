//! The build checks that need nothing but the file, and are made of all of it.
//!
//! The others look at what an instruction means where it stands, so they are
//! made when the plan is, of the stages that it reaches.
//!
//! Source: "Build checks" in the Dockerfile reference.

use std::collections::HashSet;

use super::instruction::{Arg, Dockerfile, From, Instruction, Located, Stage};
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
            Instruction::Arg(args) => self.descriptions(place, "ARG", &names(args)),
            _ => {}
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
pub fn is_secret_name(key: &str) -> bool {
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
