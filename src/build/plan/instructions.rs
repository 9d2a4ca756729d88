//! What each instruction does to its stage.

use super::Planner;
use super::error::PlanError;
use super::history::{duration, plain_list, quote_list};
use super::stage::StageState;
use crate::build::graph::{Op, Vertex, WorkdirOp};
use crate::dockerfile::{self, Command, Form, Healthcheck, Instruction, Located, Pair, Span, Word};
use crate::oci;

/// Ports that one EXPOSE may name: all of them for each protocol, and some twice.
const PORTS_LIMIT: usize = 4 * 65_536;

impl Planner<'_, '_> {
    /// Applies one instruction of stage `index`.
    pub(super) fn instruction(
        &mut self,
        index: usize,
        stage: &mut StageState,
        instruction: &Located<Instruction>,
        span: Span,
    ) -> Result<(), PlanError> {
        let text = &instruction.text;
        let checks = self.request.checks;
        checks.command(stage, instruction);
        match &instruction.value {
            Instruction::Add(add) => self.add(stage, add, text, span),
            Instruction::Arg(args) => self.arg(stage, args),
            Instruction::Cmd(command) => {
                let argv = argv(stage, command);
                stage.record(format!("CMD {}", quote_list(&argv)), None);
                stage.config.config.cmd = Some(argv);
                stage.config.config.args_escaped = Some(true);
                stage.cmd_set = true;
                Ok(())
            }
            Instruction::Copy(copy) => self.copy(index, stage, copy, text, span),
            Instruction::Entrypoint(command) => {
                entrypoint(stage, command);
                Ok(())
            }
            Instruction::Env(pairs) => {
                checks.pairs(&instruction.name, pairs);
                self.env(stage, pairs)
            }
            Instruction::Expose(words) => self.expose(stage, words),
            Instruction::Healthcheck(healthcheck) => {
                set_healthcheck(stage, healthcheck);
                Ok(())
            }
            Instruction::Label(pairs) => {
                checks.pairs(&instruction.name, pairs);
                self.label(stage, pairs)
            }
            Instruction::Maintainer(word) => {
                stage.config.author = Some(word.text.clone());
                stage.record(format!("MAINTAINER {}", word.text), None);
                Ok(())
            }
            Instruction::Onbuild(onbuild) => {
                stage.config.config.on_build.push(onbuild.trigger.clone());
                Ok(())
            }
            Instruction::Run(run) => self.run(index, stage, run, text, span),
            Instruction::Shell(shell) => {
                stage.record(format!("SHELL {}", plain_list(shell)), None);
                stage.config.config.shell.clone_from(shell);
                Ok(())
            }
            Instruction::Stopsignal(word) => self.stopsignal(stage, word),
            Instruction::User(word) => {
                let user = self.expand(word, &stage.scope)?;
                stage.record(format!("USER {user}"), None);
                stage.config.config.user = user;
                Ok(())
            }
            Instruction::Volume(words) => self.volume(stage, words),
            Instruction::Workdir(word) => self.workdir(stage, word, text, span),
        }
    }

    fn env(&self, stage: &mut StageState, pairs: &[Pair]) -> Result<(), PlanError> {
        let pairs = self.pairs(stage, pairs, "ENV")?;
        let mut text = "ENV".to_owned();
        for (name, value) in pairs {
            self.request.checks.secret("ENV", &name);
            text.push_str(&format!(" {name}={value}"));
            stage.scope.set(&name, &value);
            let line = format!("{name}={value}");
            let env = &mut stage.config.config.env;
            let own = |line: &&mut String| line.split('=').next() == Some(name.as_str());
            match env.iter_mut().find(own) {
                Some(old) => *old = line,
                None => env.push(line),
            }
        }
        stage.record(text, None);
        Ok(())
    }

    fn label(&self, stage: &mut StageState, pairs: &[Pair]) -> Result<(), PlanError> {
        let mut text = "LABEL".to_owned();
        for (name, value) in self.pairs(stage, pairs, "LABEL")? {
            text.push_str(&format!(" {name}={value}"));
            stage.config.config.labels.insert(name, value);
        }
        stage.record(text, None);
        Ok(())
    }

    /// Keys and values, all expanded against the scope before the instruction.
    fn pairs(
        &self,
        stage: &StageState,
        pairs: &[Pair],
        what: &str,
    ) -> Result<Vec<(String, String)>, PlanError> {
        let expand = |pair: &Pair| {
            let key = self.expand(&pair.key, &stage.scope)?;
            if key.is_empty() {
                return Err(PlanError::new(
                    pair.key.span,
                    format!("{what} names can not be blank"),
                ));
            }
            Ok((key, self.expand(&pair.value, &stage.scope)?))
        };
        pairs.iter().map(expand).collect()
    }

    fn expose(&self, stage: &mut StageState, words: &[Word]) -> Result<(), PlanError> {
        let escape = self.request.dockerfile.escape.unwrap_or('\\');
        // BuildKit sorts the words as they are written.
        let mut words: Vec<&Word> = words.iter().collect();
        words.sort_by(|a, b| a.text.cmp(&b.text));
        let mut names = Vec::new();
        for word in words {
            let expanded = dockerfile::expand_words(&word.text, escape, &stage.scope)
                .map_err(|err| PlanError::expand(word.span, &err))?;
            for text in expanded {
                let ports = dockerfile::exposed_ports(&text)
                    .map_err(|why| PlanError::new(word.span, why))?;
                self.request.checks.port(&text, &ports);
                names.extend(ports.keys());
                if names.len() > PORTS_LIMIT {
                    return Err(PlanError::new(word.span, "EXPOSE names too many ports"));
                }
            }
        }
        stage.record(format!("EXPOSE {}", plain_list(&names)), None);
        let ports = names.into_iter().map(|name| (name, serde_json::Map::new()));
        stage.config.config.exposed_ports.extend(ports);
        Ok(())
    }

    fn volume(&self, stage: &mut StageState, words: &[Word]) -> Result<(), PlanError> {
        let mut paths = Vec::new();
        for word in words {
            let path = self.expand(word, &stage.scope)?;
            if path.trim().is_empty() {
                return Err(PlanError::new(
                    word.span,
                    "VOLUME specified can not be an empty string",
                ));
            }
            paths.push(path);
        }
        stage.record(format!("VOLUME {}", plain_list(&paths)), None);
        let volumes = &mut stage.config.config.volumes;
        volumes.extend(paths.into_iter().map(|path| (path, serde_json::Map::new())));
        Ok(())
    }

    fn stopsignal(&self, stage: &mut StageState, word: &Word) -> Result<(), PlanError> {
        let signal = self.expand(word, &stage.scope)?;
        if dockerfile::signal_number(&signal).is_err() {
            return Err(PlanError::new(
                word.span,
                format!("invalid signal: {signal}"),
            ));
        }
        stage.record(format!("STOPSIGNAL {signal}"), None);
        stage.config.config.stop_signal = Some(signal);
        Ok(())
    }

    fn workdir(
        &mut self,
        stage: &mut StageState,
        word: &Word,
        text: &str,
        span: Span,
    ) -> Result<(), PlanError> {
        let written = self.expand(word, &stage.scope)?;
        self.request.checks.workdir(stage, &written);
        let path = absolute(&stage.config.config.working_dir, &written);
        // An absolute path is kept as it was written; what it names is cleaned.
        let shown = if written.starts_with('/') {
            &written
        } else {
            &path
        };
        stage.config.config.working_dir.clone_from(shown);
        let created_by = format!("WORKDIR {path}");
        let name = stage.step_name(text);
        if path == "/" {
            stage.record(created_by, None);
            return Ok(());
        }
        let vertex = self.push(Vertex {
            parent: stage.top,
            op: Op::Workdir(WorkdirOp {
                path,
                user: stage.config.config.user.clone(),
            }),
            span: Some(span),
            name,
            text: text.to_owned(),
        });
        stage.top = Some(vertex);
        stage.record(created_by, Some(vertex));
        Ok(())
    }
}

fn entrypoint(stage: &mut StageState, command: &Command) {
    let argv = argv(stage, command);
    stage.record(format!("ENTRYPOINT {}", quote_list(&argv)), None);
    let config = &mut stage.config.config;
    config.entrypoint = (!argv.is_empty()).then_some(argv);
    if !stage.cmd_set {
        config.cmd = None;
    }
    config.args_escaped = Some(true);
}

fn set_healthcheck(stage: &mut StageState, healthcheck: &Healthcheck) {
    let mut check = oci::Healthcheck::default();
    match healthcheck {
        Healthcheck::None => check.test = vec!["NONE".to_owned()],
        Healthcheck::Cmd {
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
            command,
        } => {
            check.test = match &command.form {
                Form::Exec(argv) => {
                    let head = std::iter::once("CMD".to_owned());
                    head.chain(argv.iter().cloned()).collect()
                }
                Form::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
            };
            check.interval = *interval;
            check.timeout = *timeout;
            check.start_period = *start_period;
            check.start_interval = *start_interval;
            check.retries = *retries;
        }
    }
    let text = format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        plain_list(&check.test),
        duration(check.interval),
        duration(check.timeout),
        duration(check.start_period),
        duration(check.start_interval),
        check.retries,
    );
    stage.record(text, None);
    stage.config.config.healthcheck = Some(check);
}

/// The argument vector of CMD or ENTRYPOINT: a shell form gets the shell.
pub(super) fn argv(stage: &StageState, command: &Command) -> Vec<String> {
    match &command.form {
        Form::Exec(argv) => argv.clone(),
        Form::Shell(text) => {
            let mut argv = stage.shell();
            argv.push(text.clone());
            argv
        }
    }
}

/// `path` made absolute against `base` and cleaned: no `.`, `..` or empty parts.
pub(super) fn absolute(base: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{base}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_joined_and_cleaned() {
        assert_eq!(absolute("/", "a"), "/a");
        assert_eq!(absolute("/t5/t6", "../b/./c//"), "/t5/b/c");
        assert_eq!(absolute("/a", "/b"), "/b");
        assert_eq!(absolute("/", "../.."), "/");
    }
}
