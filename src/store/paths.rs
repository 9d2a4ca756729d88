//! The directory tree of a data root and of the runtime directory.

use std::fs::{DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::fs::{At, PathError, spread_children};

/// Where a store keeps its files. `data` survives a reboot, `run` does not.
///
/// ```text
/// <data>/index.sqlite   lock   blobs/sha256/<hex>   snapshots/<id>/{fs,work}
///        containers/<id>/{request,state}.json, log, fs, work    contexts/<hash>    tmp/    mnt/    stubs/
///        caches/<id>/{lock,fs}    repositories/<hash>    events/log    volumes/<name>/_data
///        uploads/<id>
/// <run>/ containers/<id>/socket   locks/<name>
/// ```
#[derive(Debug, Clone)]
pub struct Paths {
    data: PathBuf,
    run: PathBuf,
}

impl Paths {
    /// Paths under `data` and `run`; nothing is created yet.
    pub fn new(data: PathBuf, run: PathBuf) -> Self {
        Self { data, run }
    }

    /// The data root.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The runtime directory.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// `<data>/snapshots`.
    pub fn snapshots(&self) -> PathBuf {
        self.data.join("snapshots")
    }

    /// `<data>/blobs/sha256`.
    pub fn blobs(&self) -> PathBuf {
        self.data.join("blobs/sha256")
    }

    /// `<data>/containers`.
    pub fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// `<data>/events`, the log of what happens.
    pub fn events(&self) -> PathBuf {
        self.data.join("events")
    }

    /// `<data>/volumes`.
    pub fn volumes(&self) -> PathBuf {
        self.data.join("volumes")
    }

    /// `<data>/contexts`, what is remembered of build contexts.
    pub fn contexts(&self) -> PathBuf {
        self.data.join("contexts")
    }

    /// `<data>/repositories`, what was fetched from git repositories.
    pub fn repositories(&self) -> PathBuf {
        self.data.join("repositories")
    }

    /// `<data>/caches`, the directories of `RUN --mount=type=cache`.
    pub fn caches(&self) -> PathBuf {
        self.data.join("caches")
    }

    /// `<data>/uploads`, what is being sent to the built-in registry; made when it is needed.
    pub fn uploads(&self) -> PathBuf {
        self.data.join("uploads")
    }

    /// `<data>/tmp`, on the same file system as everything else; emptied when it is safe.
    pub fn tmp(&self) -> PathBuf {
        self.data.join("tmp")
    }

    /// `<data>/mnt`, an empty directory that every sandbox mounts its root file
    /// system on, in its own mount namespace.
    pub fn mnt(&self) -> PathBuf {
        self.data.join("mnt")
    }

    /// `<data>/stubs`, the lowest layer of every root file system: the mount
    /// points `/dev`, `/proc`, `/sys`, `/etc/{hosts,hostname,resolv.conf}`, so that none of them
    /// ever enters a layer.
    pub fn stubs(&self) -> PathBuf {
        self.data.join("stubs")
    }

    /// `<run>/locks`.
    pub fn locks(&self) -> PathBuf {
        self.run.join("locks")
    }

    /// `<data>/manifests`: lists of manifests that are put together here; made
    /// with the first one.
    pub fn manifests(&self) -> PathBuf {
        self.data.join("manifests")
    }

    /// `<run>/containers`.
    pub fn container_run(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// `<data>/index.sqlite`. Only SQLite may open it: closing a descriptor of
    /// it would drop the locks that SQLite holds in this process.
    pub fn index(&self) -> PathBuf {
        self.data.join("index.sqlite")
    }

    /// `<data>/partial`: blobs of which a part has come.
    pub fn partial(&self) -> PathBuf {
        self.data.join("partial")
    }

    /// Makes the directory for them.
    pub(super) fn create_partial(&self) -> Result<(), PathError> {
        create_private(&self.partial())
    }

    /// Makes the data root itself.
    pub(super) fn create_root(&self) -> Result<(), PathError> {
        create_private(&self.data)
    }

    /// Makes everything beneath the data root but the index. What is there stays.
    pub(super) fn create_rest(&self) -> Result<(), PathError> {
        for dir in [
            self.blobs(),
            self.snapshots(),
            self.containers(),
            self.contexts(),
            self.caches(),
            self.tmp(),
        ] {
            create_private(&dir)?;
        }
        for dir in [self.snapshots(), self.tmp()] {
            spread_children(&dir);
        }
        // These two are seen inside sandboxes, by any user of the image.
        create_shared(&self.mnt())?;
        let stubs = self.stubs();
        create_shared(&stubs)?;
        for name in STUB_DIRS {
            create_shared(&stubs.join(name))?;
        }
        for name in STUB_FILES {
            let path = stubs.join(name);
            let file = File::options()
                .create(true)
                .append(true)
                .open(&path)
                .at("create", &path)?;
            file.set_permissions(Permissions::from_mode(0o644))
                .at("change the mode of", &path)?;
        }
        Ok(())
    }

    /// Makes the runtime directories.
    pub(super) fn create_run(&self) -> Result<(), PathError> {
        create_private(&self.locks())?;
        create_private(&self.container_run())
    }
}

/// Empty directories in [`Paths::stubs`].
const STUB_DIRS: [&str; 4] = ["dev", "etc", "proc", "sys"];
/// Empty files in [`Paths::stubs`].
const STUB_FILES: [&str; 3] = ["etc/hostname", "etc/hosts", "etc/resolv.conf"];

/// Makes `dir` and its missing parents for the owner alone.
fn create_private(dir: &Path) -> Result<(), PathError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(err) if err.kind() == ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(err) if err.kind() == ErrorKind::NotFound => DirBuilder::new()
            .mode(0o700)
            .recursive(true)
            .create(dir)
            .at("create", dir),
        other => other.at("create", dir),
    }
}

/// Makes `dir` with mode 0755, whatever the umask.
fn create_shared(dir: &Path) -> Result<(), PathError> {
    create_private(dir)?;
    std::fs::set_permissions(dir, Permissions::from_mode(0o755)).at("change the mode of", dir)
}
