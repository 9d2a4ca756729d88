//! Kinds of errors; every lower error finds its kind here.

use std::net::SocketAddr;

use crate::{build, container, depot, image, network, registry, serve, snapshot, store, transfer};

/// What kind of thing went wrong: the sole source of exit codes and HTTP statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is malformed.
    InvalidInput,
    /// Something named is not there.
    NotFound,
    /// Something is in the way.
    Conflict,
    /// It is forbidden.
    Denied,
    /// Something outside does not answer.
    Unavailable,
    /// It cannot be done here.
    Unsupported,
    /// Our own failure, or the system's.
    Internal,
}

/// Any error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request that makes no sense, with the message.
    #[error("{0}")]
    Invalid(String),
    /// A request that something else stands against, with the message.
    #[error("{0}")]
    Conflict(String),
    /// Something that cannot be done here, with the message.
    #[error("{0}")]
    Unsupported(String),
    /// No item of the build cache.
    #[error("no such item in the build cache: {0}")]
    NoCacheItem(String),
    /// The build cache cannot be listed or pruned.
    #[error(transparent)]
    BuildCache(#[from] build::usage::Error),
    /// The build failed.
    #[error(transparent)]
    Build(#[from] build::Error),
    /// A container verb failed.
    #[error(transparent)]
    Container(#[from] container::Error),
    /// An image verb failed.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The network refused.
    #[error(transparent)]
    Network(#[from] network::Error),
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A registry refused.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// A transfer failed.
    #[error(transparent)]
    Transfer(#[from] transfer::Error),
    /// Nobody can listen there.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or its key is of no use.
    #[error(transparent)]
    Tls(#[from] serve::TlsError),
    /// The users of a registry cannot be told.
    #[error(transparent)]
    Access(#[from] depot::AccessError),
    /// A file refused.
    #[error(transparent)]
    File(#[from] crate::fs::PathError),
}

impl Error {
    /// What the user can do about it, where that is known and is not in the text.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Registry(error) | Self::Transfer(transfer::Error::Registry(error)) => {
                error.hint()
            }
            _ => None,
        }
    }

    /// The kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Network(network::Error::Refused(_)) => ErrorKind::InvalidInput,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::NoCacheItem(_)
            | Self::Image(image::Error::NotFound(_))
            | Self::Network(network::Error::NotFound(_)) => ErrorKind::NotFound,
            Self::Image(image::Error::Ambiguous(_) | image::Error::Reference(_)) => {
                ErrorKind::InvalidInput
            }
            Self::Conflict(_)
            | Self::Image(image::Error::NameInUse { .. } | image::Error::InUse { .. })
            | Self::Store(store::Error::NameTaken { .. }) => ErrorKind::Conflict,
            Self::Container(error) => container_kind(error),
            _ => ErrorKind::Internal,
        }
    }
}

fn container_kind(error: &container::Error) -> ErrorKind {
    use container::Error;
    match error {
        Error::NotFound(_) | Error::NoVolume(_) | Error::Network(network::Error::NotFound(_)) => {
            ErrorKind::NotFound
        }
        Error::Ambiguous(_)
        | Error::Invalid(_)
        | Error::InvalidName(_)
        | Error::NoCommand
        | Error::User(_)
        | Error::NotStarted {
            code: 126 | 127, ..
        } => ErrorKind::InvalidInput,
        Error::NameTaken { .. }
        | Error::NotRunning(_)
        | Error::CannotKill { .. }
        | Error::StillRunning { .. }
        | Error::Paused(_)
        | Error::AlreadyPaused(_)
        | Error::NotPaused(_)
        | Error::Restarting(_)
        | Error::StartPaused
        | Error::AttachPaused
        | Error::AttachRestarting
        | Error::AttachStopped
        | Error::VolumeInUse { .. }
        | Error::Busy(_) => ErrorKind::Conflict,
        _ => ErrorKind::Internal,
    }
}
