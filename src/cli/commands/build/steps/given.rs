//! Secrets and agents that the command line gives.

use std::io::Read;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rbuild::build::{Secret, SshAgent};
use rbuild::dockerfile::csv_fields;
use rbuild::engine::Config;

use crate::cli::report::Failure;

/// Where the caller's own agent is.
const AGENT_VARIABLE: &str = "SSH_AUTH_SOCK";
/// The agent that has no name.
const DEFAULT_AGENT: &str = "default";

/// Where a secret comes from.
#[derive(Debug, PartialEq, Eq)]
struct Spec {
    id: String,
    source: Source,
}

#[derive(Debug, PartialEq, Eq)]
enum Source {
    File(String),
    Variable(String),
    /// The variable of that name if there is one, else the file.
    Either,
}

/// `id=ID[,src=FILE][,env=NAME][,type=file|env]`; nothing for a variable that is not
/// set, which is only missed by a step that needs the secret.
pub(super) fn secret(text: &str, config: &Config) -> Result<Option<(String, Secret)>, Failure> {
    let Spec { id, source } = parse(text)
        .map_err(|why| Failure::new(1, format!("could not parse secrets: [{text}]: {why}")))?;
    let variable = |name: &str| {
        config
            .environment
            .get(name)
            .map(|value| value.as_bytes().to_vec())
    };
    let value = match source {
        Source::Variable(name) => variable(&name),
        Source::Either if config.environment.contains_key(&id) => variable(&id),
        Source::Either => Some(read(&id, &config.working_directory.join(&id))?),
        Source::File(path) => Some(read(&id, &config.working_directory.join(path))?),
    };
    match value {
        Some(value) if value.len() > Secret::LIMIT => Err(too_big(&id)),
        value => Ok(value.map(|value| (id, Secret::new(value)))),
    }
}

fn too_big(id: &str) -> Failure {
    Failure::new(1, format!("secret {id} too big. max size 500KB"))
}

/// Reads a secret, one byte more than may be at most.
fn read(id: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |err: std::io::Error| {
        let message = match err.kind() {
            std::io::ErrorKind::NotFound => {
                format!(
                    "failed to stat {}: no such file or directory",
                    path.display()
                )
            }
            _ => format!(
                "cannot read the secret {id} from `{}`: {err}",
                path.display()
            ),
        };
        Failure::new(1, message)
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut value = Vec::new();
    file.take(Secret::LIMIT as u64 + 1)
        .read_to_end(&mut value)
        .map_err(failed)?;
    Ok(value)
}

/// The words are those of buildx.
fn parse(text: &str) -> Result<Spec, String> {
    let (mut id, mut file, mut variable) = (String::new(), String::new(), String::new());
    let mut kind = String::new();
    for field in csv_fields(text)? {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        let place = match key.to_lowercase().as_str() {
            "id" => &mut id,
            "source" | "src" => &mut file,
            "env" => &mut variable,
            "type" if matches!(value, "file" | "env") => &mut kind,
            "type" => return Err(format!("unsupported secret type {value:?}")),
            key => return Err(format!("unexpected key '{key}' in '{field}'")),
        };
        value.clone_into(place);
    }
    if id.is_empty() {
        return Err("secret missing ID".to_owned());
    }
    if kind == "env" && variable.is_empty() {
        variable = std::mem::take(&mut file);
    }
    let source = match (variable.is_empty(), file.is_empty(), kind.as_str()) {
        (false, ..) => Source::Variable(variable),
        (true, false, _) => Source::File(file),
        (true, true, "file") => Source::File(id.clone()),
        (true, true, "env") => Source::Variable(id.clone()),
        _ => Source::Either,
    };
    Ok(Spec { id, source })
}

/// `default` or `ID[=SOCKET]`.
pub(super) fn agent(text: &str, config: &Config) -> Result<(String, SshAgent), Failure> {
    let (id, path) = text.split_once('=').unwrap_or((text, ""));
    let id = if id.is_empty() { DEFAULT_AGENT } else { id };
    let socket = match path {
        "" => own_agent(config)?,
        path if path.contains(',') => return Err(no_keys(id, path)),
        path => config.working_directory.join(path),
    };
    let found = std::fs::metadata(&socket).map_err(|err| {
        let message = format!(
            "cannot use the SSH agent {id} at `{}`: {err}",
            socket.display()
        );
        Failure::new(1, message).with_hint("start one: `eval $(ssh-agent)`, then `ssh-add`")
    })?;
    if !found.file_type().is_socket() {
        return Err(no_keys(id, path));
    }
    Ok((id.to_owned(), SshAgent { socket }))
}

fn own_agent(config: &Config) -> Result<PathBuf, Failure> {
    match config.environment.get(AGENT_VARIABLE) {
        Some(path) if !path.is_empty() => Ok(config.working_directory.join(path)),
        _ => {
            let message = "invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set";
            Err(Failure::new(1, message)
                .with_hint("start an agent: `eval $(ssh-agent)`, then `ssh-add`"))
        }
    }
}

/// Keys are left to an agent, which knows every format and asks for passphrases.
fn no_keys(id: &str, path: &str) -> Failure {
    let message =
        format!("--ssh {id}={path}: not the socket of an agent, and key files are not read");
    let hint = format!(
        "give the key to an agent: `eval $(ssh-agent) && ssh-add {}`, then `--ssh {id}`",
        path.split(',').next().unwrap_or(path)
    );
    Failure::new(1, message).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_parsed_as_buildx_does() {
        let spec = |id: &str, source| {
            Ok(Spec {
                id: id.to_owned(),
                source,
            })
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(parse("id=a"), spec("a", Source::Either));
        assert_eq!(parse("id=a,type=file"), spec("a", Source::File(text("a"))));
        assert_eq!(parse("src=f,ID=a"), spec("a", Source::File(text("f"))));
        assert_eq!(parse("id=a,env=E"), spec("a", Source::Variable(text("E"))));
        assert_eq!(
            parse("type=env,id=a,src=E"),
            spec("a", Source::Variable(text("E")))
        );
        assert_eq!(
            parse("id=a,\"src=a,b\""),
            spec("a", Source::File(text("a,b")))
        );
        for (wrong, why) in [
            ("src=f", "secret missing ID"),
            ("id", "must be a key=value pair"),
            ("id=a,type=x", "unsupported secret type \"x\""),
            ("id=a,x=y", "unexpected key 'x' in 'x=y'"),
        ] {
            assert!(parse(wrong).unwrap_err().contains(why), "{wrong}");
        }
    }
}
