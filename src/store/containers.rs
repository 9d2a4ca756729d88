//! The register of containers: what must be unique or found. Everything else of
//! a container is in its directory.

use super::{Error, SnapshotId, Store};
use crate::oci::ImageId;

/// A container as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRow {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// The image that it was made from.
    pub image: ImageId,
    /// The snapshot under its writable tree; `None` for an empty image.
    pub snapshot: Option<SnapshotId>,
    /// When it was made, nanoseconds since 1970.
    pub created_at: i64,
}

impl Store {
    /// Registers a container.
    ///
    /// # Errors
    /// [`Error::NameTaken`] when the name is another container's.
    pub fn container_put(&self, row: &ContainerRow) -> Result<(), Error> {
        let _ = row;
        todo!()
    }

    /// Finds a container by exact name, full ID, or unique ID prefix; several
    /// matches of a prefix are all returned (two at most).
    pub fn container_find(&self, text: &str) -> Result<Vec<ContainerRow>, Error> {
        let _ = text;
        todo!()
    }

    /// Every container, newest first.
    pub fn container_list(&self) -> Result<Vec<ContainerRow>, Error> {
        todo!()
    }

    /// Forgets a container; whether it was there.
    pub fn container_remove(&self, id: &str) -> Result<bool, Error> {
        let _ = id;
        todo!()
    }
}
