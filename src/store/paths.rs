//! The directory tree of a data root and of the runtime directory.

use std::path::{Path, PathBuf};

/// Where a store keeps its files. `data` survives a reboot, `run` does not.
///
/// ```text
/// <data>/index.sqlite   blobs/sha256/<hex>   snapshots/<id>/{fs,work}
///        containers/<id>/{request,state}.json, log, fs, work    contexts/<hash>    tmp/    mnt/    stubs/
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

    /// `<data>/contexts`, what is remembered of build contexts.
    pub fn contexts(&self) -> PathBuf {
        self.data.join("contexts")
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

    /// `<run>/containers`.
    pub fn container_run(&self) -> PathBuf {
        self.run.join("containers")
    }
}
