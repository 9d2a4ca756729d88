//! Why something cannot be had from elsewhere.

use std::io;
use std::time::Duration;

use super::Checksum;
use crate::fs::PathError;
use crate::http::{HttpError, UrlError};
use crate::sys::command::CommandError;

/// Why something cannot be had from elsewhere. Addresses in it are without credentials.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is malformed.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The server cannot be talked to.
    #[error("cannot download `{url}`")]
    Unreachable {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: Box<HttpError>,
    },
    /// The server refused.
    #[error("cannot download `{url}`: invalid response status {status}")]
    Status {
        /// The address.
        url: String,
        /// HTTP's status code.
        status: u16,
    },
    /// The server sends from one place to the next.
    #[error("cannot download `{url}`: stopped after {limit} redirects")]
    Redirects {
        /// Where it began.
        url: String,
        /// Most redirects that are followed.
        limit: usize,
    },
    /// A redirect leads where it may not.
    #[error("cannot download `{url}`: it redirects to {to:?}, {why}")]
    Redirect {
        /// The address.
        url: String,
        /// Where it leads.
        to: String,
        /// Why that is refused.
        why: &'static str,
    },
    /// It has more bytes than are allowed.
    #[error("`{what}` has more than {limit_bytes} bytes")]
    TooLarge {
        /// The address.
        what: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// The connection broke.
    #[error("cannot download `{url}`")]
    Broken {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The download ended early.
    #[error("cannot download `{url}`: the connection was closed after {got} of {want} bytes")]
    Short {
        /// The address.
        url: String,
        /// Bytes that came.
        got: u64,
        /// Bytes that were promised.
        want: u64,
    },
    /// The server sends nothing, or next to nothing.
    #[error("cannot download `{url}`: no progress within {time:?}")]
    Stalled {
        /// The address.
        url: String,
        /// How long was waited.
        time: Duration,
    },
    /// The bytes are not the expected ones.
    #[error("digest mismatch for {url}: {got} (expected: {want})")]
    Mismatch {
        /// The address.
        url: String,
        /// What came.
        got: Checksum,
        /// What was asked for.
        want: Checksum,
    },
    /// A secret cannot be part of a request.
    #[error("the secret for `{url}` has bytes that a header cannot have")]
    Credentials {
        /// The address.
        url: String,
    },
    /// The build was stopped.
    #[error("canceled")]
    Canceled,
    /// There is no `git`.
    #[error("cannot fetch `{remote}`: the program `git` was not found")]
    NoGit {
        /// The repository.
        remote: String,
    },
    /// The address of a repository is not one that may be fetched from.
    #[error("cannot fetch `{remote}`: {why}")]
    Remote {
        /// The repository.
        remote: String,
        /// Why not.
        why: String,
    },
    /// `git` refused.
    #[error("failed to {action} {remote}: git: {message}")]
    Git {
        /// What it should do.
        action: &'static str,
        /// The repository.
        remote: String,
        /// What it said.
        message: String,
    },
    /// The branch, tag or commit is not there.
    #[error("repository does not contain ref {reference}, output: {output:?}")]
    NoReference {
        /// The reference.
        reference: String,
        /// What the server answered.
        output: String,
    },
    /// The commit is another one.
    #[error("expected checksum to match {want}, got {got}")]
    Commit {
        /// What was asked for.
        want: String,
        /// What the repository has.
        got: String,
    },
    /// The commit's name is malformed.
    #[error("invalid checksum {0} for Git URL, expected hex commit hash")]
    CommitName(String),
    /// A commit by name needs one that is complete.
    #[error("fetch-by-commit requires {0}")]
    ByCommit(String),
    /// The directory in the repository is not there.
    #[error("invalid subdir {subdir}: {why}")]
    Subdir {
        /// The directory.
        subdir: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The repository's tree is refused.
    #[error("cannot check out `{remote}`: {why}")]
    Tree {
        /// The repository.
        remote: String,
        /// Why.
        why: String,
    },
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file refused.
    #[error(transparent)]
    File(#[from] PathError),
}

impl Error {
    /// What can be done about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoGit { .. } => Some("install git, for example with `apt-get install git`"),
            Self::Unreachable { source, .. } if matches!(**source, HttpError::Tls { .. }) => Some(
                "authorities are those of the system, or of the PEM file that SSL_CERT_FILE names",
            ),
            Self::TooLarge { .. } => Some("`--max-download` raises the limit"),
            Self::Status {
                status: 401 | 403, ..
            } => Some(
                "credentials are given by `--secret id=HTTP_AUTH_TOKEN_<host>` or `HTTP_AUTH_HEADER_<host>`",
            ),
            _ => None,
        }
    }
}
