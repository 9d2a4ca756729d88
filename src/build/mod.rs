//! The life of a build: Dockerfile to graph, graph to keys, what is missing is
//! run, the result becomes an image.

mod request;

pub use request::{BuildRequest, BuildResult, Cancel, ContextSource, DockerfileSource, RunNetwork};

/// What can go wrong in a build.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The snapshots refused.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::Error),
}
