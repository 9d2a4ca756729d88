//! What can go wrong with containers.

use crate::fs::PathError;
use crate::oci::passwd::UserError;
use crate::{image, network, sandbox, snapshot, store};

/// What can go wrong with containers. Messages that Docker has are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this name or ID.
    #[error("No such container: {0}")]
    NotFound(String),
    /// An ID prefix fits several containers.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The request makes no sense, in the words of the message.
    #[error("{0}")]
    Invalid(String),
    /// The file of runtimes and devices cannot be used.
    #[error("cannot use the settings `{path}`")]
    Settings {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A name that Docker would not take.
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName(String),
    /// The name is another container's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The ID of the container that has it.
        holder: String,
    },
    /// Neither the image nor the request says what to run.
    #[error("no command specified")]
    NoCommand,
    /// The user or group is not in the image.
    #[error(transparent)]
    User(#[from] UserError),
    /// The container did not start; the shim's words and the exit code that `run` ends with.
    #[error("{message}")]
    NotStarted {
        /// Why.
        message: String,
        /// 125, 126 or 127.
        code: u8,
    },
    /// The verb needs a running container.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The verb needs a container whose processes go on.
    #[error("container {0} is paused, unpause the container before exec")]
    Paused(String),
    /// The container is paused already.
    #[error("container {0} is already paused")]
    AlreadyPaused(String),
    /// The container is not paused.
    #[error("container {0} is not paused")]
    NotPaused(String),
    /// The container ended and is started again soon.
    #[error("container {0} is restarting, wait until the container is running")]
    Restarting(String),
    /// The kernel refuses a container's cgroup.
    #[error("cannot control the processes of container {id}")]
    Freezer {
        /// Its ID.
        id: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A signal for a container that is not running.
    #[error("cannot kill container: {name}: container {id} is not running")]
    CannotKill {
        /// The container as it was named.
        name: String,
        /// Its ID.
        id: String,
    },
    /// The verb needs a stopped container.
    #[error("cannot remove container \"{name}\": {why}")]
    StillRunning {
        /// The container as it was named.
        name: String,
        /// What it does, and what to do about that.
        why: &'static str,
    },
    /// The container rests.
    #[error("cannot start a paused container, try unpause instead")]
    StartPaused,
    /// The container rests.
    #[error("You cannot attach to a paused container, unpause it first")]
    AttachPaused,
    /// The container ended and is started again soon.
    #[error("You cannot attach to a restarting container, wait until it is running")]
    AttachRestarting,
    /// Nothing to attach to.
    #[error("You cannot attach to a stopped container, start it first")]
    AttachStopped,
    /// No volume has this name.
    #[error("get {0}: no such volume")]
    NoVolume(String),
    /// Containers have the volume.
    #[error("remove {name}: volume is in use - [{users}]")]
    VolumeInUse {
        /// The volume.
        name: String,
        /// Their IDs.
        users: String,
    },
    /// Something else is being done to this container.
    #[error("container {0} is being started or removed by another command")]
    Busy(String),
    /// What a container's directory holds cannot be understood.
    #[error("the container `{id}` is damaged: cannot read its {what}")]
    Damaged {
        /// Its ID.
        id: String,
        /// Which document.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The container's shim does not answer.
    #[error("cannot {action} the shim of container {id}")]
    Shim {
        /// What was tried: `start`, `reach`, `hear from`.
        action: &'static str,
        /// The container.
        id: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The container's shim is gone.
    #[error("the shim of container {0} ended unexpectedly")]
    ShimLost(String),
    /// An archive that cannot be unpacked.
    #[error(transparent)]
    Unpack(crate::layer::UnpackError),
    /// The image refused.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The network refused.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// The sandbox refused.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The store refused.
    #[error(transparent)]
    Store(store::Error),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NameTaken { name, holder } => Self::NameTaken { name, holder },
            error => Self::Store(error),
        }
    }
}

impl Error {
    /// The exit code of `run` for a container that this kept from starting.
    pub fn run_code(&self) -> u8 {
        match self {
            Self::NotStarted { code, .. } | Self::Sandbox(sandbox::Error::Runtime { code, .. }) => {
                *code
            }
            Self::Sandbox(sandbox::Error::CommandNotFound(_)) => 127,
            Self::Sandbox(sandbox::Error::CommandNotExecutable { .. }) => 126,
            _ => 125,
        }
    }

    /// The message with its causes, on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut last = text.clone();
        let mut next = std::error::Error::source(self);
        while let Some(error) = next {
            let cause = error.to_string();
            // A transparent error repeats its source's words.
            if cause != last {
                text.push_str(": ");
                text.push_str(&cause);
            }
            last = cause;
            next = error.source();
        }
        text
    }
}
