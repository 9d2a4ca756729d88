//! A new top of a stack, being written.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::Error;
use super::stack::root_dir;
use crate::fs::{At, PathError, remove_tree};
use crate::oci::{DiffId, Digest};
use crate::store::{SnapshotId, SnapshotRow, Store};

/// A snapshot being written by this process. Dropping it uncommitted removes it.
#[derive(Debug)]
pub struct Active<'a> {
    store: &'a Store,
    id: SnapshotId,
    dir: PathBuf,
    /// Whether dropping it leaves it alone.
    committed: bool,
}

impl<'a> Active<'a> {
    /// Makes an empty top on `parent`: `snapshots/<id>/{fs,work}`, `fs` with mode 0755, root-owned
    /// unless the parent's root directory says otherwise.
    pub fn begin(store: &'a Store, parent: Option<SnapshotId>) -> Result<Self, Error> {
        let id = store.snapshot_begin(parent)?;
        let active = Self {
            store,
            id,
            dir: store.paths().snapshots().join(id.to_string()),
            committed: false,
        };
        // A power cut can take back that a number was given, but not its directory.
        remove_tree(&active.dir)?;
        // Only the owner may enter: a layer's setuid programs are not the host's.
        make_dir(&active.dir, 0o700)?;
        make_dir(&active.fs(), 0o755)?;
        make_dir(&active.work(), 0o700)?;
        if let Some(root) = root_dir(store, parent)? {
            take_after(&active.fs(), &root)?;
        }
        Ok(active)
    }

    /// A top whose content is that of `layer`: nothing is left to write.
    pub(super) fn begin_with(
        store: &'a Store,
        parent: Option<SnapshotId>,
        layer: SnapshotId,
    ) -> Result<Self, Error> {
        let id = store.snapshot_begin_with(parent, Some(layer))?;
        let active = Self {
            store,
            id,
            dir: store.paths().snapshots().join(id.to_string()),
            committed: false,
        };
        remove_tree(&active.dir)?;
        make_dir(&active.dir, 0o700)?;
        let target = Path::new("..").join(layer.to_string()).join("fs");
        std::os::unix::fs::symlink(target, active.fs()).at("create", active.fs())?;
        Ok(active)
    }

    /// Its name.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// The store it belongs to.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// The directory to write the layer into, in overlayfs spelling (`upperdir`).
    pub fn fs(&self) -> PathBuf {
        self.dir.join("fs")
    }

    /// overlayfs' `workdir`, on the same file system.
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Leaves it as it is, for [`Active::resume`] in this process. Until then
    /// nobody removes it; once the process is gone it is the collector's.
    pub fn pause(mut self) -> SnapshotId {
        self.committed = true;
        self.id
    }

    /// Goes on with what [`Active::pause`] left.
    pub fn resume(store: &'a Store, id: SnapshotId) -> Self {
        Self {
            store,
            id,
            dir: store.paths().snapshots().join(id.to_string()),
            committed: false,
        }
    }

    /// Makes [`Active::work`] as if it had never been used: after an overlay of
    /// which the kernel synced nothing, it refuses to mount another one there.
    pub fn renew_work(&self) -> Result<(), Error> {
        remove_tree(&self.work())?;
        make_dir(&self.work(), 0o700)?;
        Ok(())
    }

    /// The snapshot's own directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Commits: from here on it never changes. `bytes` is the size of its regular
    /// files; `diff` and `tree` are recorded where they are known already.
    ///
    /// Nothing may be mounted on it any more. Whoever needs it for more than a
    /// minute before anything in the store refers to it pins it
    /// ([`Store::pin`]).
    pub fn commit(
        mut self,
        bytes: u64,
        diff: Option<(DiffId, u64)>,
        tree: Option<Digest>,
    ) -> Result<SnapshotRow, Error> {
        remove_tree(&self.work())?;
        let row = self.store.snapshot_commit(self.id, bytes, diff, tree)?;
        self.committed = true;
        Ok(row)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        // What cannot be removed now is an orphan once this process is gone,
        // and the collector's.
        if !self.committed && remove_tree(&self.dir).is_ok() {
            self.store.snapshot_forget(self.id).ok();
        }
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), PathError> {
    std::fs::DirBuilder::new()
        .mode(mode)
        .create(path)
        .at("create", path)?;
    // Again, as the umask may have narrowed it.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .at("set the mode of", path)
}

/// Gives `dir` the mode and owner of `parent`: overlayfs shows the root of the
/// topmost layer.
fn take_after(dir: &Path, parent: &Path) -> Result<(), PathError> {
    let own = std::fs::metadata(dir).at("read", dir)?;
    let meta = std::fs::metadata(parent).at("read", parent)?;
    if (meta.uid(), meta.gid()) != (own.uid(), own.gid()) {
        std::os::unix::fs::chown(dir, Some(meta.uid()), Some(meta.gid()))
            .at("set the owner of", dir)?;
    }
    if meta.mode() != own.mode() {
        std::fs::set_permissions(dir, meta.permissions()).at("set the mode of", dir)?;
    }
    Ok(())
}
