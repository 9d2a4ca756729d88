//! A stack read as one tree, without a mount.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::Error;
use crate::fs::PathError;
use crate::layer::{Entry, Lower};
use crate::store::{SnapshotId, Store};

/// The merged tree of a stack of layers: whiteouts, opaque directories and
/// replaced entries are applied as overlayfs does. Reading only.
#[derive(Debug)]
pub struct View {
    layers: Vec<PathBuf>,
}

impl View {
    /// Opens the stack under `top`; `None` is an empty tree.
    pub fn open(store: &Store, top: Option<SnapshotId>) -> Result<Self, Error> {
        let _ = (store, top);
        todo!()
    }

    /// The layer directories, top first.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// Follows links in every component of `path` inside the tree, the last one
    /// included when `follow_last`; returns the path without links, relative to the root.
    /// Components that do not exist are kept as they are. Ends with an error after 255 links.
    pub fn resolve(&self, path: &Path, follow_last: bool) -> Result<PathBuf, PathError> {
        let _ = (path, follow_last);
        todo!()
    }

    /// The names in the directory `path` (links not followed), sorted by bytes, merged.
    pub fn list(&self, path: &Path) -> Result<Vec<std::ffi::OsString>, PathError> {
        let _ = path;
        todo!()
    }

    /// Reads the file at `path`, following links inside the tree, up to `limit`
    /// bytes; `None` when there is none.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, PathError> {
        let _ = (path, limit);
        todo!()
    }

    /// Where the entry at `path` (links not followed) lies on disk: the file in
    /// the topmost layer that has it. For opening and for hard-linking.
    pub fn locate(&self, path: &Path) -> Result<Option<PathBuf>, PathError> {
        let _ = path;
        todo!()
    }
}

impl Lower for View {
    fn entry(&self, path: &Path) -> Result<Option<Entry>, PathError> {
        let _ = path;
        todo!()
    }

    fn open(&self, path: &Path) -> Result<File, PathError> {
        let _ = path;
        todo!()
    }
}
