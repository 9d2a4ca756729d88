//! The life of a container.

/// What can go wrong with containers.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No container has this name or ID.
    #[error("No such container: {0}")]
    NotFound(String),
}
