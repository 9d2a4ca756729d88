//! `--change`: Dockerfile instructions applied to a configuration.

use super::Error;
use crate::dockerfile::{
    Expanded, Form, Healthcheck, Instruction, Pair, Scope, Word, expand, expand_words,
    parse_trigger,
};
use crate::oci::{self, ContainerConfig};

/// Applies instructions that only change the configuration, as `import
/// --change` and `commit --change` take them.
///
/// # Errors
/// [`Error::Invalid`] for an instruction that cannot be read, or that would
/// need a build.
pub fn apply_changes(config: &mut ContainerConfig, changes: &[String]) -> Result<(), Error> {
    for change in changes {
        let located = parse_trigger(change).map_err(|diagnostics| {
            let first = diagnostics.into_iter().next();
            let why = first.map_or_else(|| "empty instruction".to_owned(), |d| d.message);
            Error::Invalid(format!("invalid change `{change}`: {why}"))
        })?;
        apply(config, &located.value)
            .map_err(|why| Error::Invalid(format!("invalid change `{change}`: {why}")))?;
    }
    Ok(())
}

/// The variables of the configuration itself.
struct Environment<'a>(&'a [String]);

impl Scope for Environment<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let found = self.0.iter().rev().filter_map(|pair| pair.split_once('='));
        found
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.to_owned())
    }
}

fn apply(config: &mut ContainerConfig, instruction: &Instruction) -> Result<(), String> {
    let env = config.env.clone();
    let scope = Environment(&env);
    let text = |word: &Word| -> Result<String, String> {
        let Expanded { text, .. } = expand(&word.text, '\\', &scope).map_err(|err| err.0)?;
        Ok(text)
    };
    let pair = |pair: &Pair| Ok::<_, String>((text(&pair.key)?, text(&pair.value)?));
    match instruction {
        Instruction::Cmd(command) => config.cmd = Some(argv(config, &command.form)),
        Instruction::Entrypoint(command) => {
            config.entrypoint = Some(argv(config, &command.form));
        }
        Instruction::Env(pairs) => {
            for entry in pairs {
                let (key, value) = pair(entry)?;
                set_env(&mut config.env, &key, &value);
            }
        }
        Instruction::Label(pairs) => {
            for entry in pairs {
                let (key, value) = pair(entry)?;
                config.labels.insert(key, value);
            }
        }
        Instruction::Expose(ports) => {
            for word in ports {
                for port in expand_words(&word.text, '\\', &scope).map_err(|err| err.0)? {
                    let port = if port.contains('/') {
                        port
                    } else {
                        format!("{port}/tcp")
                    };
                    config.exposed_ports.insert(port, serde_json::Map::new());
                }
            }
        }
        Instruction::Volume(paths) => {
            for path in paths {
                config.volumes.insert(text(path)?, serde_json::Map::new());
            }
        }
        Instruction::User(word) => config.user = text(word)?,
        Instruction::Workdir(word) => {
            let path = text(word)?;
            let base = std::path::Path::new("/").join(&config.working_dir);
            config.working_dir = base.join(path).to_string_lossy().into_owned();
        }
        Instruction::Stopsignal(word) => config.stop_signal = Some(text(word)?),
        Instruction::Shell(words) => config.shell.clone_from(words),
        Instruction::Onbuild(onbuild) => config.on_build.push(onbuild.trigger.clone()),
        Instruction::Healthcheck(check) => config.healthcheck = Some(healthcheck(check)),
        _ => return Err("the instruction is not a valid change command".to_owned()),
    }
    Ok(())
}

/// The argument vector of a command; the shell form goes through the shell.
fn argv(config: &ContainerConfig, form: &Form) -> Vec<String> {
    match form {
        Form::Exec(words) => words.clone(),
        Form::Shell(text) => {
            let mut words = config.shell.clone();
            if words.is_empty() {
                words = vec!["/bin/sh".to_owned(), "-c".to_owned()];
            }
            words.push(text.clone());
            words
        }
    }
}

fn set_env(env: &mut Vec<String>, key: &str, value: &str) {
    let entry = format!("{key}={value}");
    let same = |known: &&mut String| known.split_once('=').is_some_and(|(name, _)| name == key);
    match env.iter_mut().find(same) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}

fn healthcheck(check: &Healthcheck) -> oci::Healthcheck {
    match check {
        Healthcheck::None => oci::Healthcheck {
            test: vec!["NONE".to_owned()],
            ..oci::Healthcheck::default()
        },
        Healthcheck::Cmd {
            interval,
            timeout,
            start_period,
            start_interval,
            retries,
            command,
        } => {
            let mut test = Vec::new();
            match &command.form {
                Form::Exec(words) => {
                    test.push("CMD".to_owned());
                    test.extend(words.iter().cloned());
                }
                Form::Shell(text) => test.extend(["CMD-SHELL".to_owned(), text.clone()]),
            }
            oci::Healthcheck {
                test,
                interval: *interval,
                timeout: *timeout,
                start_period: *start_period,
                start_interval: *start_interval,
                retries: *retries,
            }
        }
    }
}
