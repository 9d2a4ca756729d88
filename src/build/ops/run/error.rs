//! Why a RUN step failed.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use super::super::AccountError;
use crate::build::Entitlement;
use crate::build::emulation::EmulationError;
use crate::dockerfile::Span;
use crate::fs::PathError;
use crate::{sandbox, snapshot, store};

/// Why a RUN step failed.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum RunError {
    /// The command ended with another code than 0.
    #[error("process {command:?} did not complete successfully: exit code: {code}{why}")]
    Exit {
        /// The command.
        command: String,
        /// Its code; 128 plus the number for a signal.
        code: i32,
        /// What is known of the reason.
        why: String,
    },
    /// The command took longer than it may.
    #[error("process {command:?} did not complete within {}: killed", human(*.limit))]
    Timeout {
        /// The command.
        command: String,
        /// `--timeout`.
        limit: Duration,
    },
    /// The command could not be started.
    #[error("process {command:?} did not complete successfully: {source}: exit code: {code}")]
    Start {
        /// The command.
        command: String,
        /// 126 or 127.
        code: i32,
        /// Why.
        source: sandbox::Error,
    },
    /// The command is another platform's, and nothing here runs it.
    #[error(transparent)]
    Emulation(#[from] EmulationError),
    /// The sandbox could not be made.
    #[error(transparent)]
    Sandbox(sandbox::Error),
    /// The network could not be made.
    #[error("{0}")]
    Network(String),
    /// Something cannot be mounted.
    #[error(transparent)]
    Mount(Box<PlacedMountError>),
    /// The layer holds a secret.
    #[error("the layer of this step would contain the secret {id:?}, in {path:?}")]
    Leak {
        /// The secret's ID.
        id: String,
        /// The file.
        path: String,
    },
    /// The build was stopped.
    #[error("canceled")]
    Canceled,
    /// The user is unknown.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

impl From<store::Error> for RunError {
    fn from(err: store::Error) -> Self {
        Self::Snapshot(err.into())
    }
}

impl RunError {
    /// The place of what is wrong, where that is nearer than the whole instruction.
    pub(in crate::build) fn span(&self) -> Option<Span> {
        match self {
            Self::Mount(mount) => mount.span,
            _ => None,
        }
    }

    /// What to do.
    pub(in crate::build) fn hint(&self) -> Option<String> {
        match self {
            Self::Mount(mount) => mount.error.hint(),
            Self::Leak { .. } => Some(format!(
                "use the secret where it is mounted and leave no copy; `--allow {}` builds it anyway",
                Entitlement::SecretsInLayers.name()
            )),
            Self::Timeout { .. } => {
                Some("`--timeout` on the command line set the limit".to_owned())
            }
            _ => None,
        }
    }
}

/// Something that cannot be mounted, and where it stands.
#[derive(Debug)]
pub(in crate::build) struct PlacedMountError {
    span: Option<Span>,
    error: MountError,
}

impl fmt::Display for PlacedMountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for PlacedMountError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Why something cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub(in crate::build) enum MountError {
    /// The source is not there. The words are BuildKit's.
    #[error("failed to calculate checksum of ref: {0:?}: not found")]
    NoSource(String),
    /// A cache begins with a file.
    #[error("a cache mount cannot begin with {0:?}: not a directory")]
    CacheOfFile(String),
    /// A secret that has to be there was not given.
    #[error("secret {0}: not found")]
    NoSecret(String),
    /// A secret cannot be a variable.
    #[error("secret {0}: a variable cannot hold its value: it has a zero byte or is not UTF-8")]
    NotAVariable(String),
    /// An agent that has to be there was not given.
    #[error("no SSH key {0:?} forwarded from the client")]
    NoAgent(String),
    /// An agent does not answer.
    #[error("the SSH agent {id:?} at `{}` does not answer", socket.display())]
    DeadAgent {
        /// Its ID.
        id: String,
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A link leads the target to a place where nothing is mounted.
    #[error("invalid mount target {target:?}: it leads to {place:?}")]
    Target {
        /// The target.
        target: String,
        /// Where it leads.
        place: String,
    },
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

impl MountError {
    /// Adds the place in the Dockerfile.
    pub(super) fn at(self, span: Option<Span>) -> RunError {
        RunError::Mount(Box::new(PlacedMountError { span, error: self }))
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSecret(id) => Some(format!(
                "give it on the command line: `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"
            )),
            Self::NoAgent(id) => Some(format!(
                "start an agent (`ssh-agent`), add a key (`ssh-add`), and give it on the command line: `--ssh {id}`"
            )),
            Self::DeadAgent { .. } => {
                Some("start an agent (`ssh-agent`) and add a key (`ssh-add`)".to_owned())
            }
            _ => None,
        }
    }
}

/// `90s` as `1m30s`.
fn human(time: Duration) -> String {
    let seconds = time.as_secs();
    if time.subsec_millis() > 0 && seconds < 60 {
        return format!("{}ms", time.as_millis());
    }
    let mut text = String::new();
    for (unit, length) in [("h", 3600), ("m", 60), ("s", 1)] {
        let count = match unit {
            "h" => seconds / length,
            "m" => seconds % 3600 / length,
            _ => seconds % 60,
        };
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_they_are_written() {
        for (milliseconds, text) in [
            (0, "0s"),
            (250, "250ms"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (3_661_000, "1h1m1s"),
        ] {
            assert_eq!(human(Duration::from_millis(milliseconds)), text);
        }
    }
}
